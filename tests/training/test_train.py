"""The training loop: it learns, it resumes bit by bit, and what it writes loads."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from sacvit.bundle.errors import CheckpointError, ConfigError, SacvitError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.model.checkpoint import load_checkpoint, load_plain
from sacvit.model.config import preset
from sacvit.model.network import PlainViT, TwoStageViT
from sacvit.training import trainer as trainer_module
from sacvit.training.recipe import Recipe
from sacvit.training.run_options import RunOptions
from sacvit.training.train import ALONE
from sacvit.training.train import train as train_run
from sacvit.training.workers import Workers

CONFIG = preset("demo", image_size=32, patch_size=8, width=16, depth=4, heads=2, hidden=16, classes=3)
RULE = Preprocessing(32)
RECIPE = Recipe(epochs=2, unclustered_epochs=1, batch=8, learning_rate=2e-3)


def train(
    data: Path, out: Path, config: Any, rule: Preprocessing, recipe: Recipe, workers: Workers = ALONE, **options: Any
) -> dict[str, Any]:
    return train_run(data, config, rule, recipe, RunOptions(out, **options), workers)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of three classes that differ in brightness: what a linear layer could learn."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("train", "val"):
        (folder / name).mkdir()
        labels = np.arange(24) % 3
        images = labels[:, None, None, None] * 90 + rng.integers(0, 60, (24, 32, 32, 3))
        np.save(folder / name / "images.npy", images.astype(np.uint8))
        np.save(folder / name / "labels.npy", labels)
        (folder / name / "classes.txt").write_text("dark\ngrey\nlight\n")
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of RECIPE."""
    out = tmp_path_factory.mktemp("run")
    train(data, out, CONFIG, RULE, RECIPE)
    return out


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(out / "model.pth", weights_only=True)["model"]
    return content


def interrupted_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch after `epochs` meets Ctrl-C."""
    whole = trainer_module.Trainer.epoch

    def stop(self: Any, place: Any, *rest: Any) -> dict[str, Any]:
        if place.epoch == epochs:
            raise KeyboardInterrupt
        return whole(self, place, *rest)

    monkeypatch.setattr(trainer_module.Trainer, "epoch", stop)


def test_a_run_writes_its_four_files(trained: Path) -> None:
    names = ["last.pth", "metrics.jsonl", "model.calib.tar", "model.pth"]
    assert sorted(path.name for path in trained.iterdir()) == names


def test_the_model_names_its_calibration_set(trained: Path) -> None:
    calibration = load_checkpoint(trained / "model.pth").calibration
    assert calibration is not None and calibration.find() == trained / "model.calib.tar"


def test_a_run_writes_a_line_an_epoch_and_a_last_one(trained: Path) -> None:
    assert [(line["epoch"], line["clustered"], line.get("final", False)) for line in lines(trained)] == [
        (1, False, False), (2, True, False), (2, True, True),
    ]  # fmt: skip


def test_the_model_loads_with_the_config_it_was_trained_with(trained: Path) -> None:
    assert load_checkpoint(trained / "model.pth").config == CONFIG


def test_the_model_carries_the_names_of_its_classes(trained: Path) -> None:
    assert load_checkpoint(trained / "model.pth").labels == ["dark", "grey", "light"]


def test_the_model_carries_the_threshold_of_the_last_metrics(trained: Path) -> None:
    assert load_checkpoint(trained / "model.pth").threshold == lines(trained)[-1]["threshold"]


def test_a_network_that_has_learnt_nothing_stores_no_threshold(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where both stages guess, every image may exit as far as anybody can tell: a threshold of 0."""
    metrics = train(data, tmp_path, CONFIG, RULE, replace(RECIPE, epochs=1, learning_rate=1e-9))
    assert "threshold" not in metrics and load_checkpoint(tmp_path / "model.pth").threshold is None
    assert "No threshold is stored" in caplog.text and "sacvit-tune" in caplog.text


def test_no_stored_threshold_is_below_the_confidences_that_it_was_fitted_on(data: Path, tmp_path: Path) -> None:
    metrics = train(data, tmp_path, CONFIG, RULE, replace(RECIPE, epochs=15, unclustered_epochs=8))
    assert metrics["threshold"] >= 1 / 3  # of three classes, no confidence is below


def test_progress_is_logged_with_loss_pace_and_time_left(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("sacvit.machine.progress.LINE_PERIOD_S", 0.0)
    train(data, tmp_path, CONFIG, RULE, RECIPE)
    line = next(message for message in caplog.messages if message.startswith("epoch 1 of 2: 8 of 24 images"))
    assert re.search(r"[\d.e+]+ per second, \d+:\d+ left, loss \d\.\d+, \d+:\d+ left of the run$", line)


def test_a_run_begins_with_a_line_on_what_it_does(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    train(data, tmp_path, CONFIG, RULE, replace(RECIPE, epochs=1))
    assert any("training on 24 images of 3 classes, 8 per step" in message for message in caplog.messages[:2])


def test_what_is_returned_is_the_last_line_of_the_metrics(data: Path, tmp_path: Path) -> None:
    metrics = train(data, tmp_path, CONFIG, RULE, replace(RECIPE, epochs=1))
    assert metrics == lines(tmp_path)[-1]


def test_the_loss_goes_down_and_brightness_is_learnt(data: Path, tmp_path: Path) -> None:
    metrics = train(data, tmp_path, CONFIG, RULE, replace(RECIPE, epochs=15, unclustered_epochs=8))
    assert lines(tmp_path)[-2]["loss"] < 0.5 * lines(tmp_path)[0]["loss"] and metrics["val_sac_top1"] == 1.0


def test_the_same_recipe_gives_the_same_weights(data: Path, trained: Path, tmp_path: Path) -> None:
    train(data, tmp_path, CONFIG, RULE, RECIPE)
    first, second = weights(trained), weights(tmp_path)
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def test_another_seed_gives_other_weights(data: Path, trained: Path, tmp_path: Path) -> None:
    train(data, tmp_path, CONFIG, RULE, replace(RECIPE, seed=1))
    assert not torch.equal(weights(trained)["head.weight"], weights(tmp_path)["head.weight"])


@pytest.fixture
def interrupted(data: Path, tmp_path: Path) -> Path:
    """The folder of a run of RECIPE that ended after its first epoch."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupted_after(1, patch)
        train(data, tmp_path, CONFIG, RULE, RECIPE)
    return tmp_path


def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(data: Path, trained: Path, interrupted: Path) -> None:
    train(data, interrupted, CONFIG, RULE, RECIPE, resume=True)
    whole, resumed = weights(trained), weights(interrupted)
    assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []


def test_a_resumed_run_goes_on_with_its_metrics(data: Path, interrupted: Path) -> None:
    train(data, interrupted, CONFIG, RULE, RECIPE, resume=True)
    assert [line["epoch"] for line in lines(interrupted)] == [1, 2, 2]


@pytest.mark.parametrize("change", [{"learning_rate": 1e-3}, {"seed": 1}, {"epochs": 3}])
def test_another_recipe_s_run_is_not_resumed(data: Path, trained: Path, change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"last\.pth comes from another run: its recipe is .*, this run's is "):
        train(data, trained, CONFIG, RULE, replace(RECIPE, **change), resume=True)


def test_another_geometry_s_run_is_not_resumed(data: Path, trained: Path) -> None:
    with pytest.raises(CheckpointError, match=r"comes from another run: its config is "):
        train(data, trained, replace(CONFIG, alpha=0.25), RULE, RECIPE, resume=True)


def test_a_two_stage_run_is_not_resumed_as_plain(data: Path, trained: Path) -> None:
    with pytest.raises(CheckpointError, match="comes from another run: its plain is False, this run's is True"):
        train(data, trained, CONFIG, RULE, RECIPE, resume=True, plain=True)


def test_a_run_that_never_began_is_not_resumed(data: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"last\.pth does not exist: there is nothing to resume"):
        train(data, tmp_path, CONFIG, RULE, RECIPE, resume=True)


@pytest.mark.parametrize("damage", [b"", b"no weights", None])
def test_a_damaged_last_file_is_refused(data: Path, tmp_path: Path, damage: bytes | None) -> None:
    if damage is None:
        torch.save({"model": {}}, tmp_path / "last.pth")
    else:
        (tmp_path / "last.pth").write_bytes(damage)
    with pytest.raises(CheckpointError, match=r"last\.pth"):
        train(data, tmp_path, CONFIG, RULE, RECIPE, resume=True)


def test_half_halves_the_file(data: Path, trained: Path, tmp_path: Path) -> None:
    train(data, tmp_path, CONFIG, RULE, RECIPE, half=True)
    stored = sum(value.numel() * value.element_size() for value in weights(tmp_path).values())
    assert stored * 2 == sum(value.numel() * value.element_size() for value in weights(trained).values())


def test_half_weights_load_back_rounded_and_nothing_else(data: Path, trained: Path, tmp_path: Path) -> None:
    train(data, tmp_path, CONFIG, RULE, RECIPE, half=True)
    loaded, exact = load_checkpoint(tmp_path / "model.pth").model.state_dict(), weights(trained)
    assert [key for key in exact if not torch.equal(loaded[key], exact[key].half().float())] == []


def test_a_plain_run_writes_a_plain_network(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, CONFIG, RULE, RECIPE, plain=True)
    assert load_plain(tmp_path / "model.pth")[0].config == CONFIG


def test_a_start_is_reported_with_what_stays_as_initialised(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    train(data, tmp_path / "plain", CONFIG, RULE, replace(RECIPE, epochs=1), plain=True)
    train(data, tmp_path / "two", CONFIG, RULE, RECIPE, start=tmp_path / "plain" / "model.pth")
    assert "left as initialised: reuse_block.0.weight, reuse_block.0.bias, reuse_block.1.fc1" in caplog.text


class Scaled(torch.nn.Module):
    """A branch of a block with LayerScale behind it, as DeiT III computes it."""

    def __init__(self, branch: torch.nn.Module, gamma: torch.Tensor) -> None:
        super().__init__()
        self.branch, self.gamma = branch, gamma

    def forward(self, *arguments: Any) -> Any:
        out = self.branch(*arguments)
        return (out[0] * self.gamma, out[1]) if isinstance(out, tuple) else out * self.gamma


def test_a_start_with_layer_scale_has_the_answers_of_the_original_network(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    original = PlainViT(CONFIG).eval()
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    tensors = {key: value.clone() for key, value in original.state_dict().items()}
    for number, block in enumerate(original.blocks):
        gammas = 0.5 + torch.rand(2, 16)
        tensors |= {f"blocks.{number}.gamma_1": gammas[0], f"blocks.{number}.gamma_2": gammas[1]}
        block.attn, block.mlp = Scaled(block.attn, gammas[0]), Scaled(block.mlp, gammas[1])
    torch.save({"model": tensors}, tmp_path / "deit3.pth")
    still = replace(RECIPE, epochs=1, unclustered_epochs=1, learning_rate=1e-12)  # the run changes no weight
    train(data, tmp_path / "run", CONFIG, RULE, still, plain=True, start=tmp_path / "deit3.pth")
    images = torch.from_numpy(np.load(data / "val" / "images.npy"))
    with torch.no_grad():
        logits = load_plain(tmp_path / "run" / "model.pth")[0](images)
        assert (logits - original(images)).abs().max() < 1e-5  # the folded weights are rounded to FP32


def test_classes_that_do_not_agree_are_refused_with_both_counts(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has 3 classes, the model 4; they must agree"):
        train(data, tmp_path, replace(CONFIG, classes=4), RULE, RECIPE)


def test_validation_classes_that_differ_from_training_s_are_refused(data: Path, tmp_path: Path) -> None:
    for name in ("train", "val"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for file in (data / name).iterdir():
            (tmp_path / "data" / name / file.name).write_bytes(file.read_bytes())
    (tmp_path / "data" / "val" / "classes.txt").write_text("light\ngrey\ndark\n")
    with pytest.raises(ConfigError, match=r"train/ and val/ must have the same classes; they differ in "):
        train(tmp_path / "data", tmp_path / "out", CONFIG, RULE, RECIPE)


def test_a_loss_that_is_no_number_ends_the_run_with_a_cure(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(model: torch.nn.Module, *rest: Any) -> torch.Tensor:
        return next(model.parameters()).sum() * float("nan")

    monkeypatch.setattr(trainer_module, "two_stage_loss", diverge)
    with pytest.raises(SacvitError, match="the loss became nan at step 0; lower --learning-rate"):
        train(data, tmp_path, CONFIG, RULE, RECIPE)


def test_an_interrupted_run_leaves_no_model(interrupted: Path) -> None:
    assert not (interrupted / "model.pth").exists()


def test_the_largest_gradient_of_an_epoch_is_the_one_before_it_was_clipped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, whole = [], torch.nn.utils.clip_grad_norm_

    def watch(*arguments: Any) -> torch.Tensor:
        found.append(whole(*arguments))
        return found[-1]

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watch)
    train(data, tmp_path, CONFIG, RULE, RECIPE)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    wanted = [round(float(max(some)), 3) for some in (found[:3], found[3:])]  # three steps in an epoch
    assert [line["largest_gradient"] for line in lines[:2]] == wanted


def clusters_at_once(messages: list[str]) -> bool:
    return any("--unclustered-epochs" in message and "--start" in message for message in messages)


@pytest.mark.parametrize("attention", ["clustered", "global"])
def test_a_run_from_scratch_without_a_first_phase_is_warned_of(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, attention: Any
) -> None:
    train(data, tmp_path, replace(CONFIG, attention=attention), RULE, replace(RECIPE, epochs=1, unclustered_epochs=0))
    assert clusters_at_once([one.getMessage() for one in caplog.records if one.levelname == "WARNING"])


def test_a_run_with_a_first_phase_a_plain_one_and_one_with_a_start_are_not_warned_of(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = replace(RECIPE, epochs=1)
    train(data, tmp_path / "phase", CONFIG, RULE, short)
    train(data, tmp_path / "plain", CONFIG, RULE, replace(short, unclustered_epochs=0), plain=True)
    start = tmp_path / "phase" / "model.pth"
    train(data, tmp_path / "start", CONFIG, RULE, replace(short, unclustered_epochs=0), start=start)
    assert not clusters_at_once(caplog.messages)


def test_the_second_phase_begins_after_the_unclustered_epochs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases, whole = [], trainer_module.two_stage_loss

    def watch(model: Any, images: Any, labels: Any, clustered: bool, *rest: Any) -> torch.Tensor:
        phases.append(clustered)
        return whole(model, images, labels, clustered, *rest)

    monkeypatch.setattr(trainer_module, "two_stage_loss", watch)
    train(data, tmp_path, CONFIG, RULE, RECIPE)
    assert phases == [False] * 3 + [True] * 3  # 24 images in batches of 8


def test_every_epoch_goes_on_with_the_steps_of_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, whole = [], trainer_module.learning_rate_at

    def watch(recipe: Recipe, step: int, steps: int) -> float:
        seen.append((step, steps))
        return whole(recipe, step, steps)

    monkeypatch.setattr(trainer_module, "learning_rate_at", watch)
    train(data, tmp_path, CONFIG, RULE, RECIPE)
    assert seen[::2] == [(step, 6) for step in range(6)]  # twice: decayed and other parameters


def test_the_moving_average_is_what_is_judged_and_written(data: Path, tmp_path: Path) -> None:
    """With a decay near 1 and a start that is learnt from, it lies between the first weights and the last."""
    train(data, tmp_path / "last", CONFIG, RULE, RECIPE)
    train(data, tmp_path / "mean", CONFIG, RULE, replace(RECIPE, average=0.9))
    torch.manual_seed(RECIPE.seed)
    first = TwoStageViT(CONFIG, RULE.mean, RULE.std).state_dict()["head.weight"]
    last, mean = weights(tmp_path / "last")["head.weight"], weights(tmp_path / "mean")["head.weight"]
    assert 0 < float((mean - first).norm()) < float((last - first).norm())


def test_a_resumed_run_goes_on_with_its_average(data: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, average=0.9)
    train(data, tmp_path / "whole", CONFIG, RULE, recipe)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupted_after(1, patch)
        train(data, tmp_path / "parts", CONFIG, RULE, recipe)
    train(data, tmp_path / "parts", CONFIG, RULE, recipe, resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert [key for key in whole if not torch.equal(whole[key], parts[key])] == []


def test_mixed_precision_learns_what_fp32_does_and_keeps_fp32_weights(data: Path, tmp_path: Path) -> None:
    """bfloat16 has 8 bits: losses agree to a percent, and not to the last digit."""
    train(data, tmp_path / "whole", CONFIG, RULE, RECIPE)
    train(data, tmp_path / "mixed", CONFIG, RULE, replace(RECIPE, mixed=True))
    whole, mixed = ([line["loss"] for line in lines(tmp_path / name)[:2]] for name in ("whole", "mixed"))
    assert mixed == pytest.approx(whole, rel=0.02) and mixed != whole
    assert {value.dtype for value in weights(tmp_path / "mixed").values()} == {torch.float32}


def test_changed_and_mixed_images_are_trained_on(data: Path, trained: Path, tmp_path: Path) -> None:
    """Labels that are shared out cost more: the loss of an even guess is no longer the least."""
    changes = {"mixup": 0.8, "cutmix": 1.0, "erase": 0.5, "colour_jitter": 0.4}
    train(data, tmp_path, CONFIG, RULE, replace(RECIPE, epochs=1, **changes))
    assert 0.9 < lines(tmp_path)[0]["loss"] < 2 and lines(tmp_path)[0]["loss"] != lines(trained)[0]["loss"]


def test_every_line_tells_the_pace_of_loader_and_step(trained: Path) -> None:
    for line in lines(trained):
        assert line["loader_images_per_s"] > 0 and line["step_images_per_s"] >= line["images_per_s"]
        assert 0 <= line["waited"] <= 1


def test_pictures_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    for name in ("train", "val"):
        for index in range(12):
            path = tmp_path / "data" / name / str(index % 3) / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), np.full((40, 40, 3), 20 * index, np.uint8))
        (tmp_path / "data" / name / "0" / "3.png").write_bytes(b"no picture")
    train(tmp_path / "data", tmp_path / "out", CONFIG, RULE, replace(RECIPE, epochs=1, batch=12))
    assert lines(tmp_path / "out")[0]["unreadable"] == 2


def test_a_run_is_not_resumed_on_other_labels(data: Path, trained: Path, tmp_path: Path) -> None:
    for name in ("train", "val"):
        shutil.copytree(data / name, tmp_path / name)
        np.save(tmp_path / name / "labels.npy", 2 - np.load(data / name / "labels.npy"))
    wanted = (
        r"comes from another run: its data is 24 images of 3 classes, labels and names \w+, this run's is 24 images"
    )
    with pytest.raises(CheckpointError, match=wanted):
        train(tmp_path, trained, CONFIG, RULE, RECIPE, resume=True)


def test_what_kills_left_half_written_is_removed(data: Path, tmp_path: Path) -> None:
    (tmp_path / ".last.pth.4711.part").write_bytes(b"half")
    train(data, tmp_path, CONFIG, RULE, replace(RECIPE, epochs=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "last.pth",
        "metrics.jsonl",
        "model.calib.tar",
        "model.pth",
    ]


def test_torchs_compiler_makes_no_folder_among_temporary_files(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.runtime.cache_dir_utils import cache_dir  # what the import of the compiler calls

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    interrupted_after(0, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "run", CONFIG, RULE, RECIPE)
    assert Path(cache_dir()) == tmp_path / "run" and list((tmp_path / "tmp").iterdir()) == []


def test_gradients_that_are_no_numbers_spoil_no_saved_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss before that step is finite still, and each step is saved."""
    clip = torch.nn.utils.clip_grad_norm_

    def spoilt(parameters: Any, limit: float) -> torch.Tensor:
        held = list(parameters)
        if (tmp_path / "last.pth").exists():
            held[0].grad[:] = float("nan")
        return clip(held, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoilt)
    with pytest.raises(SacvitError, match="the gradients became nan at step 1; lower --learning-rate"):
        train(data, tmp_path, CONFIG, RULE, RECIPE, save_steps=1)
    assert all(value.isfinite().all() for value in torch.load(tmp_path / "last.pth")["model"].values())


def test_pictures_that_another_process_could_not_read_are_counted_too(data: Path, tmp_path: Path) -> None:
    class Told(Workers):
        def gather(self, value: Any) -> list[Any]:
            return [value, {5, 7}] if isinstance(value, set) else [value]

    train(data, tmp_path, CONFIG, RULE, replace(RECIPE, epochs=1), workers=Told())
    assert lines(tmp_path)[0]["unreadable"] == 2
