"""Gives the committed checkpoint the calibration set that sacvit-train leaves beside one: it was trained before that.

    python examples/digits/make_scenes.py --out data/calib --seed 10 --train 1000 --val 0
    python examples/digits/add_calibration_set.py --data data/calib/train

The weights stay as they are, bit by bit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from sacvit import load_checkpoint
from sacvit.model.write_checkpoint import write_pth
from sacvit.training.calibration_set import write_calibration_set
from sacvit.training.dataset import open_split

CHECKPOINT = Path(__file__).parent / "model.pth"
MAX_BYTES = 1_000_000  # the repository carries it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Training scenes: a folder with images.npy")
    options = parser.parse_args()
    split = open_split(options.data, load_checkpoint(CHECKPOINT).preprocessing)
    written = write_calibration_set(CHECKPOINT, split, MAX_BYTES)
    content = torch.load(CHECKPOINT, map_location="cpu", weights_only=True)
    write_pth(CHECKPOINT, content | {"calibration": written.sha256})
    before, after = content["model"], torch.load(CHECKPOINT, map_location="cpu", weights_only=True)["model"]
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    print(written.path)


if __name__ == "__main__":
    main()
