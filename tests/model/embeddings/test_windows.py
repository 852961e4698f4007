"""The hierarchical embedding: what a window sees, how its tokens merge, and which networks are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sacvit.bundle.errors import CheckpointError, ConfigError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.model.checkpoint import load_checkpoint, load_plain, start_from
from sacvit.model.config import ModelConfig, preset
from sacvit.model.embeddings.windows import WindowEmbed, cut_windows, quad_order
from sacvit.model.network import PlainViT, TwoStageViT
from sacvit.model.write_checkpoint import save_checkpoint

CONFIG = preset(
    "demo", image_size=64, patch_size=8, width=32, depth=3, heads=4, hidden=48, classes=3, levels=(1, 2)
)  # 16 windows of 16 x 16 pixels, 8 x 8 tokens


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def embedding() -> WindowEmbed:
    torch.manual_seed(0)
    made = WindowEmbed(CONFIG)
    for parameter in made.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return made.eval()


def images(count: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, 64, 64, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_four_neighbours_in_the_order_of_merging_are_a_square_at_every_level() -> None:
    order = torch.tensor(quad_order(8))
    rows, columns = order // 8, order % 8
    for side in (2, 4, 8):
        squares = torch.stack([rows, columns]).view(2, -1, side * side)
        assert torch.equal(squares // side, (squares // side)[:, :, :1].expand_as(squares))


def test_the_last_four_tokens_stand_row_by_row() -> None:
    assert quad_order(2) == [0, 1, 2, 3]


def test_windows_are_the_pixels_of_the_blocks() -> None:
    image = drawn(1, 3, 64, 64)
    assert torch.equal(cut_windows(image, 4)[0, 6], image[0, :, 16:32, 32:48])


def test_a_whole_image_gives_the_tokens_of_its_windows_row_by_row(embedding: WindowEmbed) -> None:
    image = drawn(1, 3, 64, 64)
    found = embedding(image).view(8, 8, 32)
    window = embedding.of_windows(image[:, :, 16:32, 32:48])[0]
    torch.testing.assert_close(found[2:4, 4:6].reshape(4, 32), window)


def test_a_half_image_gives_one_token_per_block(embedding: WindowEmbed) -> None:
    image = drawn(1, 3, 32, 32)
    torch.testing.assert_close(embedding(image)[0, 6], embedding.of_windows(image[:, :, 8:16, 16:24])[0, 0])


def test_blocks_are_embedded_as_in_the_whole_image(embedding: WindowEmbed) -> None:
    image, index = drawn(2, 3, 64, 64), torch.tensor([[5, 0], [15, 6]])
    whole = embedding(image).view(2, 4, 2, 4, 2, 32).permute(0, 1, 3, 2, 4, 5).reshape(2, 16, 4, 32)
    expected = torch.stack([whole[0, [5, 0]], whole[1, [15, 6]]])
    torch.testing.assert_close(embedding.of_blocks(image, index), expected)


def test_a_window_does_not_depend_on_its_neighbours(embedding: WindowEmbed) -> None:
    image = drawn(1, 3, 64, 64)
    changed = image.clone()
    changed[:, :, :16, :16] = 0
    moved = (embedding(changed) - embedding(image)).abs().amax(-1).view(8, 8)
    assert moved[:2, :2].min() > 0 and moved.sum() == moved[:2, :2].sum()


def test_a_token_of_ee_gets_the_mean_place_of_the_four_that_it_covers(embedding: WindowEmbed) -> None:
    table = embedding.pos_embed.data
    torch.testing.assert_close(embedding.positions(4)[0, 3], table[0, 12:16].mean(0))
    assert torch.equal(embedding.positions(8), table)


def test_blocks_of_all_levels_count_for_class_attention() -> None:
    assert CONFIG.first_attention_block == 0
    assert replace(CONFIG, levels=(1,), heads=2).first_attention_block == 2


def test_targets_are_the_blocks_with_the_largest_features(new_model: Any) -> None:
    model = new_model(config=replace(CONFIG, selection="norm"))
    ee = model.ee(images())
    features = model.coarse_pass(images(), True).features
    largest = (features**2).sum(-1).argsort(1, descending=True)[:, :8]
    assert torch.equal(ee.target_index, largest)
    assert not torch.equal(ee.target_index, ee.class_attention.flatten(1).argsort(1, descending=True)[:, :8])


# What is refused


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"image_size": 72}, "windows of 16 x 16 pixels do not divide an image of 72 x 72"),
        ({"patch_size": 2, "image_size": 16}, "patch_size 2"),
        ({"heads": 2}, "heads 2"),
        ({"depth": 1}, "depth 1 is too small"),
        ({"levels": (0,)}, "levels"),
        ({"levels": "11"}, "levels"),
        ({"levels": (1,) * 5, "patch_size": 32}, "5 levels"),
    ],
)
def test_a_geometry_that_cannot_be_halved_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        replace(CONFIG, **changes)


def test_a_level_without_its_merge_is_refused_by_name(new_model: Any, write: Any, refusal: Any) -> None:
    content = {"model": new_model(config=CONFIG).state_dict(), "config": CONFIG.to_dict()}
    del content["model"]["patch_embed.levels.1.merge.weight"]
    assert "patch_embed.levels.1.merge.weight" in refusal(write(content))


def test_a_config_with_other_levels_than_the_tensors_is_refused(new_model: Any, write: Any, refusal: Any) -> None:
    content = {"model": new_model(config=CONFIG).state_dict(), "config": CONFIG.to_dict() | {"levels": [1, 1]}}
    assert "'config' says levels [1, 1], but the tensors have [1, 2]" in refusal(write(content))


def test_a_truth_value_is_no_number_of_blocks(new_model: Any, write: Any, refusal: Any) -> None:
    content = {"model": new_model(config=CONFIG).state_dict(), "config": CONFIG.to_dict() | {"levels": [True, 2]}}
    assert "levels" in refusal(write(content))


def test_bare_weights_need_their_number_of_heads(new_model: Any, write: Any, refusal: Any) -> None:
    assert "Give --heads" in refusal(write(new_model(config=CONFIG).state_dict()), ConfigError)


def test_forged_numbers_of_levels_are_refused(new_model: Any, write: Any, refusal: Any) -> None:
    weights = dict(new_model(config=CONFIG).state_dict())
    weights["patch_embed.levels.9999.norm.weight"] = torch.zeros(1)
    assert "levels" in refusal(write({"model": weights, "config": {"heads": 4}}))


def test_a_hierarchical_network_does_not_start_from_a_vit(new_model: Any, tmp_path: Path) -> None:
    vit = replace(CONFIG, levels=(), depth=4)
    save_checkpoint(tmp_path / "model.pth", new_model(config=vit), Preprocessing(64))
    with pytest.raises(CheckpointError, match=r"patch_embed\.pos_embed"):
        start_from(new_model(config=CONFIG), tmp_path / "model.pth")


# Checkpoints


def test_a_checkpoint_keeps_its_levels(new_model: Any, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.pth", new_model(config=CONFIG), Preprocessing(64))
    assert load_checkpoint(tmp_path / "model.pth").config == CONFIG


def test_the_levels_of_bare_weights_are_read_from_their_names(new_model: Any, write: Any) -> None:
    assert load_checkpoint(write(new_model(config=CONFIG).state_dict()), heads=4).config == CONFIG


def test_a_config_of_json_is_the_same(tmp_path: Path) -> None:
    assert ModelConfig.from_dict(CONFIG.to_dict()) == CONFIG and CONFIG.to_dict()["levels"] == [1, 2]


def test_a_single_stage_network_starts_both_stages(new_model: Any, tmp_path: Path) -> None:
    plain = new_model(PlainViT, config=CONFIG)
    save_checkpoint(tmp_path / "plain.pth", plain, Preprocessing(64))
    model = new_model(TwoStageViT, seed=1, config=CONFIG)
    begun = start_from(model, tmp_path / "plain.pth")
    assert all(name.startswith("reuse_block.") for name in begun.initialised) and not begun.unused
    torch.testing.assert_close(model.patch_embed.levels[1].merge.weight, plain.patch_embed.levels[1].merge.weight)
    assert load_plain(tmp_path / "plain.pth")[0].config.levels == (1, 2)
