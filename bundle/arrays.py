"""Arrays from disk: untrusted .npy files in, NumPy arrays out; never a pickle."""

from __future__ import annotations

import lzma
import stat
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import ImageError

# Errors of NumPy and zipfile for files that are not arrays. NumPy parses headers as Python literals, hence SyntaxError.
UNREADABLE = (
    *(OSError, ValueError, EOFError, OverflowError, SyntaxError, tokenize.TokenError, MemoryError, RuntimeError),
    *(IndexError, KeyError, TypeError, AttributeError, AssertionError, struct.error),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


def load_array(path: Path, mode: Literal["r"] | None = None) -> npt.NDArray[Any]:
    """The array in a .npy file; `mode="r"` maps it instead of reading it. Raises ImageError for anything else."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(f"{path} is no regular file")  # reading a pipe may never end
        # Mapping compares the header with the file's size; np.load alone would allocate whatever the header claims.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if mode is None and isinstance(array, np.ndarray):
            array = np.array(array)
    except UNREADABLE as reason:
        raise ImageError(f"{path} is not a readable array: {reason}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise ImageError(f"{path} is an archive of arrays (.npz); expected one array (.npy)")
    return array
