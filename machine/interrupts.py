"""Stop signals become KeyboardInterrupt, but only where a program is ready for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class _State:
    """Of the main thread, which alone gets signals. blocks: that hold interrupts back and are running."""

    blocks: int = 0
    is_pending: bool = False


_state = _State()


def interrupt(signum: int, frame: FrameType | None) -> None:
    """The handler of stop signals. While they are held back the first one waits; a second one is for a block that hangs."""
    if _state.blocks and not _state.is_pending:
        _state.is_pending = True
        return
    raise KeyboardInterrupt


def stop_on(*numbers: signal.Signals) -> None:
    """Treats these signals as Ctrl-C, except those that are ignored: nohup stays in effect."""
    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """A stop that comes inside this block is raised at the next `raise_held_back`, or at the block's end.

    KeyboardInterrupt may be raised between any two instructions, also where a queue or a condition takes its lock: the lock is
    then held for ever, and the thread at its other end never ends.
    """
    _state.blocks += 1
    try:
        yield
    finally:
        _state.blocks -= 1
        if not _state.blocks:
            raise_held_back()


def raise_held_back() -> None:
    """Raises the stop that came, if one did. Call this where no lock is held."""
    if _state.is_pending:
        _state.is_pending = False
        raise KeyboardInterrupt
