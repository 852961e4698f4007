"""Where the images of INT8 come from when nobody names them: the first that is there, and it is said which."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from sacvit.bundle.errors import CheckpointError
from sacvit.export.precision.image_sets import open_both
from sacvit.export.precision.request import PrecisionOptions
from sacvit.images import builtin
from sacvit.model.checkpoint import Checkpoint, load_checkpoint

DIGITS = Path(__file__).parents[3] / "examples" / "digits"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A checkpoint with the set that training left beside it, a folder calib/, and other pictures."""
    for name in ("model.pth", "model.calib.tar"):
        shutil.copy(DIGITS / name, tmp_path / name)
    rng = np.random.default_rng(0)
    for folder in ("calib", "given"):
        (tmp_path / folder).mkdir()
        for index in range(4):
            assert cv2.imwrite(
                str(tmp_path / folder / f"{index}.png"), rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            )
    return tmp_path


def source(home: Path, **options: Path) -> tuple[str, list[str]]:
    lines: list[str] = []
    checkpoint: Checkpoint = load_checkpoint(home / "model.pth")
    images, judged_on = open_both(checkpoint, None, PrecisionOptions(int8=True, **options), lines.append)
    assert images is judged_on
    return Path(images.source).name, lines


def test_images_that_are_given_come_first(home: Path) -> None:
    assert source(home, calib=home / "given")[0] == "given"


def test_the_set_beside_the_checkpoint_comes_next(home: Path) -> None:
    assert source(home)[0] == "model.calib.tar"


def test_a_folder_beside_the_checkpoint_comes_next(home: Path) -> None:
    (home / "model.calib.tar").unlink()
    assert source(home)[0] == "calib"


def test_built_in_photographs_come_last_with_a_warning(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "model.calib.tar").unlink()
    shutil.rmtree(home / "calib")
    monkeypatch.setattr(builtin, "CROPS", 12)
    name, lines = source(home)
    assert name == "built-in photographs"
    assert any(line.startswith("warning: INT8 is calibrated and judged on built-in photographs") for line in lines)


@pytest.mark.parametrize("expected", ["given", "model.calib.tar"])
def test_the_choice_is_reported(home: Path, expected: str) -> None:
    options = {"calib": home / "given"} if expected == "given" else {}
    assert any(line.startswith("calibration: ") and expected in line for line in source(home, **options)[1])


def test_a_set_that_is_not_the_checkpoints_is_refused(home: Path) -> None:
    with (home / "model.calib.tar").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CheckpointError, match=r"model\.calib\.tar is not the calibration set of its checkpoint"):
        source(home)


def test_built_in_photographs_differ_and_come_the_same_way_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "CROPS", 40)
    first, second = builtin.builtin_photographs(32), builtin.builtin_photographs(32)
    assert first.sha256 == second.sha256 and first.distinct == 40
    assert all(image.shape == (32, 32, 3) for image in first.read())


def test_built_in_photographs_take_at_most_2_mb_of_the_wheel() -> None:
    assert sum(path.stat().st_size for path in builtin.FOLDER.iterdir()) <= 2_000_000
    assert (builtin.FOLDER / "LICENSES.md").is_file()
