"""The scenes made for failure, and the counterfactual targets: what docs/where-clustering-fails.md rests on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("skimage")

pytestmark = pytest.mark.programs

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "digits"
COUNT = 12


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(EXAMPLE))
    try:
        import failing_scenes
        import scenes
        import selections
    finally:
        sys.path.remove(str(EXAMPLE))
    return SimpleNamespace(made=failing_scenes, scenes=scenes, selections=selections)


@pytest.fixture(scope="module")
def drawn(example):
    """A few scenes of each kind."""
    material = example.scenes.load_material("test")
    return {kind: example.made.draw_kind(material, kind, COUNT, 5) for kind in example.made.KINDS}


@pytest.fixture(scope="module")
def model():
    from sacvit import load_checkpoint

    return load_checkpoint(EXAMPLE / "model.pth").model.eval()


@pytest.fixture(scope="module")
def answered(example, drawn, model):
    """Images, the coarse pass and attention's order of all drawn scenes."""
    images = np.stack([scene.image for scenes in drawn.values() for scene in scenes])
    coarse = example.selections.run_ee(model, images)
    return images, coarse, example.selections.by_score(coarse.attention.numpy())


def contrast(scene) -> float:
    """Grey levels between the digit and what is around its strokes."""
    import cv2

    around = cv2.dilate(scene.mask.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool) & ~scene.mask
    return float(abs(scene.image[scene.mask].mean() - scene.image[around].mean()))


def test_the_mask_and_its_box_hold_the_digit(example, drawn):
    for scenes in drawn.values():
        for scene in scenes:
            x, y, w, h = example.made.box_of(scene.mask)
            assert scene.mask[y : y + h, x : x + w].sum() == scene.mask.sum() > 0


def test_each_kind_changes_what_it_says(example, drawn):
    pixels = {kind: np.mean([scene.mask.sum() for scene in scenes]) for kind, scenes in drawn.items()}
    assert pixels["small"] < 0.25 * pixels["usual"] and pixels["at the edge"] < 0.9 * pixels["usual"]
    assert np.mean([contrast(one) for one in drawn["camouflage"]]) < 0.6 * np.mean(
        [contrast(one) for one in drawn["usual"]]
    )
    edges = {
        kind: np.mean([np.abs(np.diff(one.image.astype(int), axis=0)).mean() for one in drawn[kind]]) for kind in drawn
    }
    assert edges["clutter"] > 1.5 * edges["usual"]
    assert all(one.other is not None and one.other != one.label for one in drawn["two objects"])
    for one in drawn["at the edge"]:
        x, y, w, h = example.made.box_of(one.mask)
        assert min(x, y) == 0 or x + w == 64 or y + h == 64


def test_scenes_depend_on_their_seed_alone(example, drawn):
    again = example.made.draw_kind(example.scenes.load_material("test"), "clutter", COUNT, 5)
    assert all((one.image == other.image).all() for one, other in zip(drawn["clutter"], again, strict=True))


def test_gathered_anew_with_attention_s_order_sac_answers_as_it_does(example, model, answered):
    import torch

    images, coarse, order = answered
    with torch.inference_mode():
        found = model.ee(torch.from_numpy(images))
        args = found.target_index, found.target_context, found.non_target
        expected = model.sac(torch.from_numpy(images), *args).numpy()
    assert (found.target_index.numpy() == order[:, : model.config.targets]).all()
    np.testing.assert_array_equal(example.selections.run_sac(model, images, coarse, order), expected)


def test_other_targets_are_used(example, model, answered):
    images, coarse, order = answered
    ours, others = (example.selections.run_sac(model, images, coarse, one) for one in (order, order[:, ::-1].copy()))
    assert np.abs(ours - others).max(1).min() > 0


def test_no_order_holds_more_of_the_object_than_that_from_the_mask(example, drawn, model, answered):
    masks = np.stack([scene.mask for scenes in drawn.values() for scene in scenes])
    per_block = example.selections.mask_per_block(masks, model.config.grid)
    best, found = (
        example.selections.share_inside(per_block, order, model.config.targets)
        for order in (example.selections.by_score(per_block), answered[2])
    )
    assert (best >= found - 1e-6).all() and (best > found + 0.01).any()
    np.testing.assert_allclose(per_block.sum(1), 1, rtol=1e-5)


def test_a_block_that_is_left_out_moves_the_answer_by_what_a_pass_without_it_gives(example, model, answered):
    """Against attention that hides the block from all others: the same pass in another form."""
    import torch

    images, coarse = answered[0][:3], example.selections.run_ee(model, answered[0][:3])
    moved, block = example.selections.leave_one_out(model, images, coarse), 6
    position = model.pos_embed_list[0]
    with torch.inference_mode():
        class_token = (model.cls_token + position[:, :1]).expand(3, -1, -1)
        x = torch.cat([class_token, coarse.embedding], 1)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)
        mask[:, 1 + block] = False
        for layer in model.blocks:
            x, _ = layer(x, mask)
        whole, without = coarse.logits.log_softmax(-1), model.head(model.norm(x)[:, 0]).log_softmax(-1)
        expected = (whole.exp() * (whole - without)).sum(-1).numpy()
    np.testing.assert_allclose(moved[:, block], expected, atol=1e-5)


def test_the_entropy_of_a_block_is_largest_where_the_head_is_unsure(example, model):
    import torch

    weight = model.head.weight.detach()
    context = torch.stack([torch.zeros(weight.shape[1]), 50 * weight[3] / weight[3].norm()])[None]
    coarse = example.selections.Coarse(torch.zeros(1, 10), context, context, torch.zeros(1, 2))
    unsure, sure = example.selections.token_entropy(model, coarse)[0]
    assert unsure > 0.9 * np.log(10) > sure


def test_the_script_writes_numbers_figures_and_a_sheet_below_300_kb(tmp_path):
    command = [sys.executable, EXAMPLE / "failing.py", "--out", tmp_path, "--scenes", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in tmp_path.iterdir()}
    figures = {"failing-found.png", "failing-shares.png", "failing-stages.png"}
    assert names == {"failing.json", "failing-sheet.jpg", *figures}
    assert (tmp_path / "failing-sheet.jpg").stat().st_size < 300_000


def test_pictures_with_boxes_are_written_as_sacvit_tune_reads_them(tmp_path):
    from sacvit.images.labelled import open_labelled

    command = [sys.executable, EXAMPLE / "failing_scenes.py", "--out", tmp_path, "--scenes", "2"]
    assert subprocess.run(command, check=False).returncode == 0
    found = open_labelled(tmp_path / "boxes.csv", 10, None)
    assert found.count == 12 and found.boxes is not None and found.read(11).shape == (64, 64, 3)
