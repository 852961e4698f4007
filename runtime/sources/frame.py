"""The interface of sources and of kinds of sources."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ..bounds import Bounded

if TYPE_CHECKING:
    from ...bundle.preprocess import ImageU8


@dataclass(frozen=True)
class Frame:
    """A decoded picture: `image` (H, W, 3) uint8 BGR; `name`: for people; `stream`: the number of the camera among several.

    taken_s: time.monotonic() when a camera's read returned. For files: when the frame was handed over.
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

    def report_losses(self, report: Callable[[int, str], None]) -> None:
        """Calls `report` with the stream and a message when a camera is lost. Call this before the iteration."""

    def call_while_waiting(self, call: Callable[[], None]) -> None:
        """Calls `call` every WAIT_S, in the thread that iterates, while there is no frame. Call this before the iteration."""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Ends what the source started."""


Finding = tuple[str, str | None]  # what was checked, and its cure; None where all is well

WAIT_S = 0.5
OPEN_TIMEOUT_S = 30.0  # H.264 over RTSP gives its first picture after three frames: 15 s at one frame in 5 s


@dataclass(frozen=True)
class OpenOptions(Bounded):
    """A user's options for a source. Times are in seconds; without `stall_timeout_s` the stream's own rate decides."""

    loop: bool = field(default=False, metadata={"help": "Start files over at their end."})
    open_timeout_s: float = field(
        default=OPEN_TIMEOUT_S,
        metadata={
            "help": "Give up a camera whose first frame does not come within S seconds.",
            "metavar": "S",
            "above": 0,
        },
    )
    stall_timeout_s: float | None = field(
        default=None,
        metadata={
            "help": "Open a camera again after S seconds without a frame (default: 3 times its longest recent gap, >= 1).",
            "metavar": "S",
            "above": 0,
        },
    )

    @property
    def read_timeout_s(self) -> float:
        """After which a read of a stream ends by itself: `LiveSource` opens another connection earlier."""
        return self.stall_timeout_s or self.open_timeout_s


@dataclass(frozen=True)
class SourceKind:
    """One kind of source.

    help: one line, the text to write and its meaning. matches: whether the text names a source of this kind. open: must start
    nothing that needs an end before the source is iterated over. diagnose: what was checked, in order, for --check-camera. All
    imports of OpenCV are inside the functions: --help reads this table.
    """

    help: str
    matches: Callable[[str], bool]
    open: Callable[[str, OpenOptions], Source]
    diagnose: Callable[[str, OpenOptions], Iterator[Finding]]


def first_cause(findings: Iterator[Finding], otherwise: str) -> str:
    """The first fault among the findings with its cure, for an error message; `otherwise` where there is none."""
    for finding, cure in findings:
        if cure is not None:
            return f"{finding}. {cure}"
    return otherwise
