"""sacvit-train as a user types it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.commands.train import build_parser, main
from sacvit.model.checkpoint import load_checkpoint
from sacvit.training import dataset as dataset_module
from sacvit.training import train as train_module

SMALL = ["--preset", "demo", "--image-size", "32", "--epochs", "1", "--batch", "4"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with four pictures of two classes."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (folder / name).mkdir(parents=True)
        for index in range(2):
            picture = np.full((40, 50, 3), 200 * name.endswith("dog") + index, np.uint8)
            assert cv2.imwrite(str(folder / name / f"{index}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    switches = ["--alpha", "0.25", "--attention", "global", "--downsample", "area", "--crop-ratio", "1"]
    assert main(["--data", str(data), "--out", str(out), *SMALL, *switches, "--augment", "--half"]) == 0
    return out


def outcome(*arguments: Any) -> int:
    return main([str(argument) for argument in arguments])


def test_class_folders_become_a_model_with_their_names(trained: Path) -> None:
    assert load_checkpoint(trained / "model.pth").labels == ["cat", "dog"]


def test_the_options_reach_the_model(trained: Path) -> None:
    config = load_checkpoint(trained / "model.pth").config
    found = (config.image_size, config.classes, config.alpha, config.attention, config.downsample)
    assert found == (32, 2, 0.25, "global", "area")


def test_the_crop_ratio_reaches_the_preprocessing(trained: Path) -> None:
    assert load_checkpoint(trained / "model.pth").preprocessing.crop_ratio == 1


def test_the_path_of_the_model_alone_goes_to_stdout(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome("--data", data, "--out", tmp_path, *SMALL)
    assert capsys.readouterr().out == f"{tmp_path / 'model.pth'}\n"


def test_four_sevenths_of_the_epochs_are_unclustered_by_default(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = []
    monkeypatch.setattr("sacvit.training.train.train", lambda *arguments, **options: recipes.append(arguments[3]))
    outcome("--data", data, "--preset", "demo")
    assert (recipes[0].epochs, recipes[0].unclustered_epochs) == (350, 200)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--preset", "dmo"], 2, "no preset 'dmo' (did you mean demo?)"),
        (["--image-size", "33"], 2, "image size 33 is no multiple of two patches"),
        (["--alpha", "1.5"], 2, "alpha must lie in (0, 1], found 1.5"),
        (["--window", "2"], 2, "--window goes with --selection window"),
        (["--classes", "5"], 2, "has 2 classes, the model 5; they must agree"),
        (["--classes", "0"], 2, "classes must be a positive whole number, found 0"),
        (["--epochs", "0"], 2, "epochs and batch must be at least 1"),
        (["--save-steps", "0"], 2, "--save-steps 0: give 1 or more"),
        (["--recipe", "finetune"], 2, "--start FILE"),
        (["--weights", "ema"], 2, "--weights chooses among the weights of --start FILE"),
        (["--curriculum", "0.5"], 2, "a curriculum needs difficulty.npy"),
        (["--erase", "1.5"], 2, "colour jitter and erase must lie in [0, 1], found 0.0 and 1.5"),
        (["--mixup", "-1"], 2, "mixup and cutmix must be at least 0, found -1.0 and 0.0"),
        (
            ["--mixup", "1", "--batch", "3"],
            2,
            "mixup and cutmix take pairs: a batch of 3 gives 3 images to each process",
        ),
        (["--crop-ratio", "2"], 2, "crop ratio must lie in (0, 1], found 2.0"),
        (["--resume"], 1, "there is nothing to resume. Run without --resume"),
        (["--start", "gone.pth"], 1, "gone.pth does not exist"),
        (["--data", "gone"], 1, "gone/train is missing: gone is no folder. A data folder has train/ and val/"),
    ],
)
def test_a_user_s_mistake_gives_its_exit_code_and_one_message(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, message: str
) -> None:
    found = outcome("--data", data, "--out", tmp_path / "out", *SMALL, *options)
    *_, last = capsys.readouterr().err.splitlines()
    assert found == code and last.startswith("sacvit-train: ") and message in last


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--resume"], 1, "there is nothing to resume"),
        (["--start", "gone.pth"], 1, "gone.pth does not exist"),
        (["--out", __file__], 2, f"--out {__file__} is a file"),
        (["--device", "cuda"], 5, "--device cuda: torch finds no GPU here"),
        (["--batch", "3", "--mixup", "1"], 2, "mixup and cutmix take pairs"),
        (["--format", "safetensors"], 1, "this needs safetensors"),
        (["--tensorboard"], 1, "this needs tensorboard"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_what_can_be_known_is_checked_before_images_are_listed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str],
    code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(train_module, "open_split", None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name in ("safetensors.torch", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    assert outcome("--data", data, "--out", tmp_path / "out", *SMALL, *options) == code
    assert message in capsys.readouterr().err


def test_a_missing_val_is_reported_before_train_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train").mkdir()
    monkeypatch.setattr(train_module, "open_split", None)
    with pytest.raises(ImageError, match="val is missing"):
        train_module.open_data(tmp_path, Preprocessing(32))


def test_a_missing_start_is_told_by_the_option_that_named_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome("--data", data, "--out", tmp_path, *SMALL, "--start", "gone.pth")
    assert "--ckpt" not in capsys.readouterr().err


def test_data_is_required() -> None:
    with pytest.raises(SystemExit) as exit_:
        build_parser().parse_args([])
    assert exit_.value.code == 2


def test_help_answers_without_torch() -> None:
    code = (
        "import sys; from sacvit.commands.train import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: sys.exit(' '.join({'torch', 'cv2', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "" and "usage: sacvit-train" in done.stdout


def recipe_for(data: Path, *arguments: str) -> Any:
    from sacvit.commands.train import recipe_of

    return recipe_of(build_parser().parse_args(["--data", str(data), *arguments]))


def test_a_named_recipe_is_taken_and_options_go_before_it(data: Path) -> None:
    assert recipe_for(data, "--recipe", "finetune", "--start", "a.pth").learning_rate == 1e-4
    changed = recipe_for(data, "--recipe", "finetune", "--resume", "--learning-rate", "2e-4", "--epochs", "5")
    assert (changed.learning_rate, changed.epochs, changed.average) == (2e-4, 5, 0.999)


def test_the_paper_s_recipe_keeps_its_share_of_unclustered_epochs(data: Path) -> None:
    assert recipe_for(data, "--recipe", "paper", "--epochs", "70").unclustered_epochs == 40


def test_without_a_recipe_nothing_has_changed(data: Path) -> None:
    recipe = recipe_for(data)
    found = (
        recipe.epochs,
        recipe.unclustered_epochs,
        recipe.batch,
        recipe.learning_rate,
        recipe.augment,
        recipe.average,
    )
    assert found == (350, 200, 128, 8e-4, False, 0.0)


def test_options_of_augmentation_and_precision_reach_the_recipe(data: Path) -> None:
    options = ["--colour-jitter", "0.2", "--erase", "0.1", "--mixup", "0.3", "--cutmix", "0.5", "--mixed"]
    recipe = recipe_for(data, "--recipe", "paper", *options)
    assert (recipe.colour_jitter, recipe.erase, recipe.mixup, recipe.cutmix, recipe.mixed) == (0.2, 0.1, 0.3, 0.5, True)


def test_the_paper_s_recipe_is_deit_s(data: Path) -> None:
    recipe = recipe_for(data, "--recipe", "paper")
    assert (recipe.mixup, recipe.cutmix, recipe.erase, recipe.label_smoothing, recipe.batch) == (
        0.8,
        1.0,
        0.25,
        0.1,
        1024,
    )


def test_help_shows_what_each_recipe_sets() -> None:
    found = build_parser().format_help()
    assert re.search(r"--batch +128 +1024 +64\n", found) and re.search(r"--average +0 +0 +0.999\n", found)


def test_a_run_without_a_start_that_clusters_from_the_first_epoch_is_warned_about(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome("--data", data, "--out", tmp_path, *SMALL, "--unclustered-epochs", "0") == 0
    assert "warning: The network starts from random weights" in capsys.readouterr().err


def test_the_first_line_comes_before_the_images_are_listed(
    data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ImageNet in shards, that takes a minute and a half."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    caplog.set_level("INFO")
    monkeypatch.setattr(train_module, "open_split", stop)
    with pytest.raises(KeyboardInterrupt):
        train_module.open_data(data, Preprocessing(32))
    assert f"listing the images in {data}" in caplog.text


def test_the_model_is_written_as_safetensors_where_that_is_wanted(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome("--data", data, "--out", tmp_path, *SMALL, "--format", "safetensors") == 0
    path = tmp_path / "model.safetensors"
    assert capsys.readouterr().out == f"{path}\n" and load_checkpoint(path).labels == ["cat", "dog"]


def test_the_data_is_opened_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million pictures in shards, that takes a minute and a half."""
    opened, real = [], dataset_module.open_split

    def counted(folder: Path, *rest: Any) -> Any:
        opened.append(folder.name)
        return real(folder, *rest)

    for module in (dataset_module, train_module):
        monkeypatch.setattr(module, "open_split", counted)
    assert outcome("--data", data, "--out", tmp_path, *SMALL) == 0
    assert opened == ["train", "val"]
