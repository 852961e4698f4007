"""Writes the data of the dense example: scenes with no, one or two digits, and masks that separate digits from ground.

    python examples/digits/make_dense_scenes.py --out data/dense

A cell of the mask is `digit` where ink covers a quarter of it or more, otherwise `ground`. `val` holds scenes of digits and
ground that no training scene shows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scenes import (
    LARGE,
    SMALL,
    ImageU8,
    Material,
    choose_ink,
    digit_mask,
    draw_difficulties,
    draw_ground,
    load_material,
    paint,
)
from tqdm import tqdm

SIDE, CELLS = 96, 12  # pixels and cells along a side
EMPTY_SHARE = 0.4  # of the scenes: ground without a digit
COVERED = 0.25  # share of a cell that ink covers at least in a cell of a digit
CLASSES = ("ground", "digit")

Mask = npt.NDArray[np.uint8]


def draw_dense_scene(rng: np.random.Generator, material: Material, difficulty: float) -> tuple[ImageU8, Mask]:
    """One scene (SIDE, SIDE, 3) RGB and its cells (CELLS, CELLS)."""
    picture = draw_ground(rng, material, difficulty, SIDE)
    ink = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(0 if rng.random() < EMPTY_SHARE else int(rng.integers(1, 3))):
        size = SIDE * (LARGE + (SMALL - LARGE) * difficulty) * rng.uniform(0.7, 1.0)
        centre = (float(rng.uniform(size / 2, SIDE - size / 2)), float(rng.uniform(size / 2, SIDE - size / 2)))
        digit = material.digits[rng.integers(len(material.digits))]
        opacity = digit_mask(digit, size, rng.uniform(-12, 12), centre, SIDE)
        picture = paint(picture, opacity, choose_ink(rng, picture, opacity, difficulty))
        ink = np.maximum(ink, opacity)
    patch = SIDE // CELLS
    share = (ink > 0.5).reshape(CELLS, patch, CELLS, patch).mean((1, 3))
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (share >= COVERED).astype(np.uint8)  # type: ignore[return-value]


def make_scenes(folder: Path, split: str, count: int, seed: int, easy_share: float, hardest: float) -> None:
    """images.npy (N, S, S, 3) uint8 RGB, masks.npy (N, CELLS, CELLS) uint8, difficulty.npy (N,) float32 and classes.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    material = load_material("train" if split == "train" else "test")
    rng = np.random.default_rng(seed)
    difficulty = draw_difficulties(rng, count, easy_share, hardest)
    masks = np.empty((count, CELLS, CELLS), np.uint8)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, SIDE, SIDE, 3))
    for index in tqdm(range(count), desc=f"{split} scenes", mininterval=1, disable=None):
        images[index], masks[index] = draw_dense_scene(rng, material, float(difficulty[index]))
    images.flush()
    np.save(folder / "masks.npy", masks)
    np.save(folder / "difficulty.npy", difficulty)
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=12_000, help="training scenes (28 kB each); 0 for none")
    parser.add_argument("--val", type=int, default=2_000, help="test scenes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--easy-share", type=float, default=0.5, help="share of large digits on calm ground")
    parser.add_argument("--hardest", type=float, default=0.9, help="difficulty of the hardest scene, at most 1")
    options = parser.parse_args()
    mix = (options.easy_share, options.hardest)
    for name, count, seed in (("train", options.train, options.seed), ("val", options.val, options.seed + 1)):
        if count:
            make_scenes(options.out / name, name, count, seed, *mix)


if __name__ == "__main__":
    main()
