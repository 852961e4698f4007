"""docs/own-classes.md, command by command, on a tiny data set and a small model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "own-classes.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines() if line]
SHORTENED = {
    "sacvit-train": " --preset demo --image-size 64 --epochs 2 --batch 8",
    "sacvit-profile": " --iterations 6 --warmup-ms 20",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page starts from: pictures of two classes, and a checkpoint of other classes."""
    import cv2

    folder, rng = tmp_path_factory.mktemp("home"), np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 12)):
        for name, colour in (("bolt", (40, 60, 200)), ("nut", (200, 90, 40))):
            place = folder / "photos" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                picture = np.clip(np.array(colour) + rng.integers(-40, 40, (80, 96, 3)), 0, 255).astype(np.uint8)
                cv2.imwrite(str(place / f"{number:04d}.jpg"), picture)
    shutil.copy(ROOT / "examples" / "digits" / "model.pth", folder / "start.pth")
    return folder


def test_the_commands_run_one_after_the_other_and_end_with_a_tuned_chain(
    home: Path, warm_environment: dict[str, str]
) -> None:
    for command in COMMANDS:
        command += SHORTENED.get(command.split()[0], "")  # noqa: PLW2901
        done = subprocess.run(
            ["bash", "-c", command], cwd=home, env=warm_environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    manifest = json.loads((home / "build" / "mine" / "sacvit.json").read_text())
    assert manifest["labels"] == ["bolt", "nut"] and manifest["tuned"]["fp32"]["point"] == "balanced"
    assert "bolt" in done.stdout and "(tuned: balanced" in done.stderr
    assert (home / "tuned" / "mine" / "tune.html").is_file() and (home / "profile" / "mine" / "report.html").is_file()


def test_the_page_has_the_whole_way() -> None:
    assert [command.split()[0] for command in COMMANDS] == [
        "sacvit-train", "sacvit-export", "sacvit-tune", "sacvit-profile", "sacvit-run"
    ]  # fmt: skip
