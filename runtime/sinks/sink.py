"""The interface of sinks, which take the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ...bundle.preprocess import ImageU8
from ..chain.result import Result
from ..sources.frame import Frame
from .overlay import Box, Running


@dataclass(frozen=True)
class Answer:
    """One classified frame with all that a sink may show. `view` is only valid during the call."""

    frame: Frame
    result: Result
    view: ImageU8  # (S, S, 3) RGB: what the network saw
    region: Box  # where the view lies in the frame
    grid: int
    threshold: float
    prepare_ms: float
    age_ms: float  # from the frame's taken_s to this answer
    running: Running


class Sink(Protocol):
    def write(self, answer: Answer) -> None: ...

    def close(self) -> None:
        """Finishes what was written; called once, also after an interruption."""


class Quit(Exception):  # noqa: N818 - no fault: the viewer closed the window
    """The viewer asked for the end."""
