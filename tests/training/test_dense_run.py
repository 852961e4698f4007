"""A dense task from its data folder to a checkpoint, and what it refuses before any work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sacvit.bundle.errors import ConfigError, ImageError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.commands.train import main
from sacvit.model.checkpoint import load_checkpoint, load_plain
from sacvit.model.config import preset
from sacvit.model.dense import DenseTwoStageViT
from sacvit.training.dataset import open_split
from sacvit.training.loss import two_stage_loss
from sacvit.training.recipe import Recipe
from sacvit.training.run_options import RunOptions
from sacvit.training.train import train

CONFIG = preset(
    "demo", image_size=32, patch_size=4, width=16, depth=4, heads=2, hidden=16, classes=2, task="dense", alpha=0.25
)
RECIPE = Recipe(epochs=6, unclustered_epochs=3, batch=8, learning_rate=1e-2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 dark images with a light rectangle of whole cells: what a linear layer could learn."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("train", "val"):
        (folder / name).mkdir()
        masks = np.zeros((48, 8, 8), np.uint8)
        for mask in masks:
            top, left = rng.integers(0, 6, 2)
            mask[top : top + 3, left : left + 3] = 1
        images = masks.repeat(4, 1).repeat(4, 2)[..., None] * 150 + rng.integers(0, 60, (48, 32, 32, 3))
        np.save(folder / name / "images.npy", images.astype(np.uint8))
        np.save(folder / name / "masks.npy", masks)
        (folder / name / "classes.txt").write_text("ground\nobject\n")
    return folder


@pytest.mark.parametrize("clustered", [True, False])
def test_every_parameter_learns(clustered: bool) -> None:
    torch.manual_seed(0)
    model = DenseTwoStageViT(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    images, masks = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8), torch.randint(0, 2, (2, 8, 8))
    two_stage_loss(model, images, masks, clustered).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_loss_is_the_mean_over_cells_of_sac_s_cross_entropy_and_ee_s_divergence() -> None:
    torch.manual_seed(0)
    model = DenseTwoStageViT(CONFIG)
    images, masks = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8), torch.randint(0, 2, (2, 8, 8))
    ee = model.ee(images)
    sac = model.sac(images, *ee.handed)
    divergence = (sac.softmax(-1) * (sac.log_softmax(-1) - ee.logits.log_softmax(-1))).sum(-1).mean()
    wanted = F.cross_entropy(sac.permute(0, 3, 1, 2), masks) + divergence
    torch.testing.assert_close(two_stage_loss(model, images, masks, True), wanted)


@pytest.mark.programs
def test_a_dense_network_learns_and_its_checkpoint_says_what_it_is(data: Path, tmp_path: Path) -> None:
    metrics = train(data, CONFIG, Preprocessing(32), RECIPE, RunOptions(tmp_path))
    assert metrics["val_sac_miou"] > 0.8 and metrics["val_miou"] >= metrics["val_sac_miou"] - 0.006
    loaded = load_checkpoint(tmp_path / "model.pth")
    assert loaded.config == CONFIG and loaded.labels == ["ground", "object"]
    assert loaded.threshold == metrics["threshold"] and loaded.calibration is not None


def test_the_plain_dense_network_is_judged_by_miou(data: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1, unclustered_epochs=0)
    assert set(train(data, CONFIG, Preprocessing(32), recipe, RunOptions(tmp_path, plain=True))) >= {"val_miou"}
    assert load_plain(tmp_path / "model.pth")[0].config.task == "dense"


def test_the_command_trains_a_dense_network(data: Path, tmp_path: Path) -> None:
    words = "--preset demo --image-size 32 --task dense --alpha 0.25 --selection uncertain --epochs 1 --batch 16"
    home = tmp_path / "data"
    for name in ("train", "val"):
        (home / name).mkdir(parents=True)
        np.save(home / name / "images.npy", np.load(data / name / "images.npy"))
        np.save(home / name / "masks.npy", np.load(data / name / "masks.npy")[:, ::2, ::2])  # the preset's patch is 8
    code = main(["--data", str(home), "--out", str(tmp_path / "out"), *words.split()])
    assert code == 0 and load_checkpoint(tmp_path / "out" / "model.pth").config.selection == "uncertain"


@pytest.mark.parametrize("change", [{"mixup": 0.2}, {"cutmix": 1.0}, {"erase": 0.25}, {"augment": True}])
def test_an_augmentation_that_masks_do_not_follow_is_refused(
    data: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=f"--{next(iter(change))} .* --task dense"):
        train(data, CONFIG, Preprocessing(32), replace(RECIPE, **change), RunOptions(tmp_path / "out"))


def test_a_classifier_s_data_is_refused_for_a_dense_task(data: Path, tmp_path: Path) -> None:
    images = np.load(data / "train" / "images.npy")
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", np.zeros(len(images), np.int64))
    with pytest.raises(ImageError, match=r"no masks\.npy"):
        open_split(tmp_path, Preprocessing(32), cells=8)


def test_class_folders_are_refused_for_a_dense_task(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(ImageError, match=r"reads images\.npy with masks\.npy"):
        open_split(tmp_path, Preprocessing(32), cells=8)


def test_a_dense_task_s_data_is_refused_for_a_classifier_with_a_hint(data: Path) -> None:
    with pytest.raises(ImageError, match=r"no labels\.npy\. Its masks\.npy is for --task dense"):
        open_split(data / "train", Preprocessing(32))


def test_a_run_writes_its_miou_per_epoch(data: Path, tmp_path: Path) -> None:
    train(data, CONFIG, Preprocessing(32), replace(RECIPE, epochs=1, unclustered_epochs=0), RunOptions(tmp_path))
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert {"val_ee_miou", "val_sac_miou"} <= set(first)
