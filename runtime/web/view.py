"""The sink of --web: takes the answers for the page, the charts and the counters, and never waits for a browser."""

from __future__ import annotations

import platform
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..sinks.sink import Answer
from .counters import Counters
from .history import History
from .pictures import describe
from .sensors import Readings, Sensors
from .threshold import LiveThreshold

EVENTS = 50  # that a new page shows


class WebView:
    """See `Sink`. What the server reads of the run. `viewers` and the functions after it are set by the server.

    names: of the cameras, without passwords. about: what runs, for people. stalled_s: when a camera counts as stalled.
    """

    def __init__(
        self,
        names: Sequence[str],
        about: Mapping[str, str],
        threshold: LiveThreshold,
        read_sensors: Callable[[], Readings],
        stalled_s: float | None = None,
    ) -> None:
        self.about, self.threshold = {"host": platform.node(), **about}, threshold
        self.counters, self.history = Counters(names, stalled_s), History()
        self.sensors = Sensors(read_sensors)
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
        self.began_s = time.monotonic()
        self.viewers: Callable[[], int] = lambda: 0
        self.on_answer: Callable[[Answer], None] = lambda answer: None
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        self.on_close: Callable[[], None] = lambda: None

    def write(self, answer: Answer) -> None:
        self.counters.add(answer)
        self.history.add(answer)
        self.on_answer(answer)

    def report_event(self, event: Mapping[str, Any]) -> None:
        """Shows an event of --on. Called by any thread."""
        kept = dict(event)
        self.counters.events[str(kept.get("event"))] += 1
        self.events.append(kept)
        self.on_event(kept)

    def close(self) -> None:
        """Ends the server: the last sink that is closed, so that the page shows the run to its end."""
        self.on_close()

    def cameras(self) -> list[dict[str, Any]]:
        """Each camera with its last answer."""
        return [
            {
                "camera": number,
                "name": one.name,
                "frames": one.frames,
                "exits": one.exits,
                "degraded": one.degraded,
                "silent_s": round(self.counters.silent_s(one), 1),
                "is_stalled": self.counters.is_stalled(one),
                "last": None if one.last is None else describe(one.last),
            }
            for number, one in enumerate(self.counters.cameras)
        ]

    def state(self) -> dict[str, Any]:
        """As GET /api/state answers, without history."""
        counters = self.counters
        return {
            "about": self.about,
            "uptime_s": round(time.monotonic() - self.began_s, 1),
            "frames": counters.frames,
            "exits": counters.exits,
            "dropped": counters.dropped,
            "threshold": self.threshold.to_dict(),
            "cameras": self.cameras(),
            "confidences": self.history.confidences(),
            "temperatures_c": dict(self.sensors.last.temperatures),
            "power_w": dict(self.sensors.last.watts),
            "viewers": self.viewers(),
        }

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether every camera gives frames, and the answer of GET /healthz."""
        cameras = self.cameras()
        is_well = not any(one["is_stalled"] for one in cameras)
        shown = [{key: one[key] for key in ("camera", "name", "silent_s", "is_stalled")} for one in cameras]
        return is_well, {"is_well": is_well, "cameras": shown}
