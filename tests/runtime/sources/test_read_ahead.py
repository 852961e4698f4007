from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from sacvit.runtime.sources.frame import Frame
from sacvit.runtime.sources.read_ahead import ReadAhead


class SlowFile(ReadAhead):
    """Gives its frame when it is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.total, self.fps = None, None

    def frames(self) -> Iterator[Frame]:
        self.may_go_on.wait()
        yield Frame(0, "0", np.zeros((2, 2, 3), np.uint8))


def test_a_file_that_is_slow_calls_while_it_is_waited_for():
    source = SlowFile()
    source.call_while_waiting(source.may_go_on.set)
    assert [frame.name for frame in source] == ["0"]
