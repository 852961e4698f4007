"""What every source gives: frames, and a word about what went wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ...bundle.preprocess import ImageU8


@dataclass(frozen=True)
class Frame:
    """A decoded picture: `image` (H, W, 3) uint8 BGR; `name` says which one it is to a person; `stream`: of several cameras.

    taken_s: time.monotonic() when a camera's read returned. A file waits on its disk: when the frame was handed over.
    """

    index: int
    name: str
    image: ImageU8
    stream: int = 0
    taken_s: float = field(default_factory=time.monotonic)


class Source(Protocol):
    """Frames from somewhere. Iterate once; close when done, also after an interruption."""

    live: bool  # a camera: the newest frame counts, and it never ends by itself
    total: int | None  # frames to expect, None when unknown
    fps: float | None  # the source's own rate, None when it has none

    @property
    def dropped(self) -> int:
        """Frames that were decoded but overtaken by a newer one."""

    @property
    def faults(self) -> list[str]:
        """What was skipped or missing so far, one line each."""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Ends what the source started."""
