"""Small files of the kernel and of Jetson Linux. What cannot be read is None: every such file is absent on some machine."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path("/")  # the folder that the paths of a machine's files lie in: a test hands in its own
PAGE_BYTES = 4096  # the most that sysfs gives


def read_text(path: Path, most_bytes: int = PAGE_BYTES) -> str | None:
    """The beginning of a file as text, without line ends and NUL bytes around it."""
    try:
        with path.open("rb") as file:
            return file.read(most_bytes).decode("utf-8", "replace").strip("\0\n ")
    except OSError:
        return None


def read_number(path: Path) -> int | None:
    """The whole number that a file holds; None for anything else."""
    text = read_text(path)
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,18}", text) else None


def listed(folder: Path, pattern: str) -> list[Path]:
    """The paths that match, sorted by number: hwmon2 before hwmon10. Empty without the folder."""
    try:
        return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))
    except OSError:
        return []
