"""The command lines of the pages, as torchrun and sacvit-train read them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sacvit.commands.train import build_parser

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs" / "own-classes.md", ROOT / "docs" / "training.md"]
LINES = [line for page in PAGES for line in re.findall(r"(?:torchrun|sacvit-train) -[^`\n]*", page.read_text())]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("torchrun")])
def test_torchrun_takes_no_option_of_ours_for_its_own(line: str) -> None:
    """`--start` is the one that it would: a fine-tuning run needs it."""
    launcher = pytest.importorskip("torch.distributed.run")
    words = shlex.split(line.replace('"$(which sacvit-train)"', "sacvit-train").replace(" ...", ""))
    read = launcher.parse_args([*words[1:], "--start", "deit.pth"])
    script = words.index("sacvit-train")
    assert (read.training_script, read.training_script_args) == (
        "sacvit-train",
        [*words[script + 1 :], "--start", "deit.pth"],
    )


@pytest.mark.parametrize("line", [line.partition('"$(which sacvit-train)" ')[2] or line for line in LINES])
def test_the_options_are_those_of_the_command(line: str) -> None:
    words = shlex.split(line.replace("sacvit-train ", "", 1).replace("...", "--data DIR"))
    assert build_parser().parse_args(words).data
