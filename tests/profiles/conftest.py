from __future__ import annotations

import time

import pytest

from sacvit.profiles.power.sampler import Sampler
from sacvit.profiles.power.source import PERIOD_S, PowerSource, Reading, Sensor


class World(PowerSource):
    """A clock that moves when somebody works or pauses, and a sensor that is read on its way: a module of two rails.

    1 W idle, 3 W under load.
    """

    name, kind, scope, default_filter_s = "a pretended sensor", "power", "all of it", 0.4
    total_rails = ("A", "B")

    def __init__(self) -> None:
        self.now, self.due, self.is_busy = 100.0, 100.0, False
        self.sensors = {rail: Sensor(2.0, 0.4) for rail in ("A", "B")}
        self.fault: Exception | None = None
        self.sampler: Sampler | None = None

    def advance(self, seconds: float, *, is_busy: bool) -> None:
        end, self.is_busy = self.now + seconds, is_busy
        while self.due <= end:
            self.now = max(self.now, self.due)
            if self.sampler is not None:
                self.sampler.take()
            self.due += PERIOD_S
        self.now = end

    def pause(self, seconds: float) -> None:
        self.advance(seconds, is_busy=False)

    def read(self) -> list[Reading]:
        if self.fault is not None:
            raise self.fault
        power = 3000.0 if self.is_busy else 1000.0
        return [Reading(self.now, {"A": power / 4, "B": power * 3 / 4})]

    def close(self) -> None:
        pass


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """The time of this test is the world's: nothing is waited for."""
    here = World()

    class Stepped(Sampler):
        def __enter__(self) -> Sampler:
            here.sampler = self
            return self

        def __exit__(self, *_: object) -> None:
            here.sampler = None

    monkeypatch.setattr("sacvit.profiles.timing.session.Sampler", Stepped)
    monkeypatch.setattr(time, "perf_counter", lambda: here.now)
    return here
