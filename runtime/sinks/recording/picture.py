"""A frame as it is recorded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """An encoded frame. taken_s: on a clock that never jumps; unix_s: the same moment. size: (width, height)."""

    stream: int
    taken_s: float
    unix_s: float
    size: tuple[int, int]
    jpeg: bytes
