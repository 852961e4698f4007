"""Reference answers: images with the answers of FP32. Plans are checked against them on the device that builds them."""

from __future__ import annotations

import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import UNREADABLE
from .errors import EngineError
from .files import sha256_of
from .manifest import EXPORT_AGAIN, MANIFEST_NAME, read_manifest
from .preprocess import ImageU8

GOLDENS_NAME = "goldens.npz"
MAX_BYTES = 64 << 20
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Goldens:
    """n images (n, S, S, 3) uint8 with the FP32 pair's answers. SAC answered all of them, whatever EE's confidence.

    ee_logits, sac_logits: (n, C), of a dense task (n, 2G, 2G, C); confidence: (n,); target_index: (n, M) int32.
    """

    images: ImageU8
    ee_logits: Floats
    confidence: Floats
    target_index: npt.NDArray[np.int32]
    sac_logits: Floats

    def write(self, path: Path) -> None:
        arrays: dict[str, Any] = asdict(self)
        np.savez_compressed(path, **arrays)


def read_goldens(folder: Path) -> Goldens:
    """The reference answers of a bundle. Raises EngineError when they are missing, damaged or too large."""
    path = folder / GOLDENS_NAME
    if not path.is_file():
        raise EngineError(f"{path} is missing: nothing can be checked without it. Export again: sacvit-export")
    if (folder / MANIFEST_NAME).is_file() and read_manifest(folder).goldens_sha256 != sha256_of(path):
        raise EngineError(f"{path} is not the file that {MANIFEST_NAME} beside it describes. {EXPORT_AGAIN}")
    kinds = {"images": (np.uint8, (4,)), "target_index": (np.int32, (2,)), "confidence": (np.float32, (1,))}
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"it unpacks to {size} bytes, the limit is {MAX_BYTES}")
        with np.load(path, allow_pickle=False) as content:
            goldens = Goldens(**{field.name: content[field.name] for field in fields(Goldens)})
        count = len(goldens.images)
        for name, array in vars(goldens).items():
            kind, dims = kinds.get(name, (np.float32, (2, 4)))
            if array.dtype != kind or array.ndim not in dims or len(array) != count or not count:
                raise ValueError(f"{name} is {array.dtype} {array.shape}")
    except (*UNREADABLE, KeyError) as reason:
        raise EngineError(f"{path} is damaged: {reason}. Export again: sacvit-export") from None
    return goldens
