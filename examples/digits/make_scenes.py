"""Writes the digits example's data set: `train` and `val` folders of arrays that sacvit-train reads.

    python examples/digits/make_scenes.py --out data/digits

`val` holds scenes of digits and ground that no training scene shows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scenes import SIDE, draw_difficulties, draw_scene, load_material
from tqdm import tqdm


def make_scenes(folder: Path, split: str, count: int, seed: int, easy_share: float, hardest: float) -> None:
    """images.npy (N, S, S, 3) uint8 RGB, labels.npy (N,) int64, difficulty.npy (N,) float32 and classes.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    material = load_material("train" if split == "train" else "test")
    rng = np.random.default_rng(seed)
    difficulty = draw_difficulties(rng, count, easy_share, hardest)
    labels = np.empty(count, np.int64)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, SIDE, SIDE, 3))
    for index in tqdm(range(count), desc=f"{split} scenes", mininterval=1, disable=None):
        images[index], labels[index] = draw_scene(rng, material, float(difficulty[index]))
    images.flush()
    np.save(folder / "labels.npy", labels)
    np.save(folder / "difficulty.npy", difficulty)
    (folder / "classes.txt").write_text("\n".join(str(digit) for digit in range(10)) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=75_000, help="training scenes (12 kB each); 0 for none")
    parser.add_argument("--val", type=int, default=4_000, help="test scenes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--easy-share", type=float, default=0.75, help="share of large digits on calm ground")
    parser.add_argument("--hardest", type=float, default=0.9, help="difficulty of the hardest scene, at most 1")
    options = parser.parse_args()
    mix = (options.easy_share, options.hardest)
    for name, count, seed in (("train", options.train, options.seed), ("val", options.val, options.seed + 1)):
        if count:
            make_scenes(options.out / name, name, count, seed, *mix)


if __name__ == "__main__":
    main()
