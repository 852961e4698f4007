"""A kind of input: sound files, ways to damage them, and the reader that has to bear it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .mutate import Damage

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ROOT / "tests" / "runtime" / "bundles"


@dataclass(frozen=True)
class Kind:
    """A row of the campaign's table.

    make: writes the sound files into an empty folder. files: patterns of those that are damaged. read: what our reader
    finds in a folder, of which a file is damaged, as something that can be compared. checked: whether a checksum has to
    see every change, so that another meaning is a wrong accept. writes: whether the reader changes its folder.
    """

    name: str
    make: Callable[[Path], None]
    files: tuple[str, ...]
    read: Callable[[Path, Path], Any]
    damage: tuple[Damage, ...]
    checked: bool = False
    writes: bool = False
    share: float = 1.0  # of the inputs that a light kind gets


def draw(kind: Kind, sound: Path, seed: int, number: int) -> tuple[Path, bytes]:
    """Input `number`: the name of the file that is damaged, and its content. The same for the same seed."""
    chance = random.Random(f"{seed} {kind.name} {number}")
    names = sorted({path for pattern in kind.files for path in sound.glob(pattern)})
    path = chance.choice(names)
    return path.relative_to(sound), chance.choice(kind.damage)(path.read_bytes(), chance)


def digest(*arrays: Any) -> str:
    """Of arrays and texts: what may be compared."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes() if isinstance(array, np.ndarray) else repr(array).encode())
    return found.hexdigest()


def colours(count: int, size: int, seed: int = 3) -> np.ndarray:
    """(count, size, size, 3) uint8: smooth fields."""
    import cv2

    rng = np.random.default_rng(seed)
    fields = [cv2.resize(rng.uniform(0, 255, (4, 4, 3)).astype(np.float32), (size, size)) for _ in range(count)]
    return np.clip(np.stack(fields), 0, 255).astype(np.uint8)
