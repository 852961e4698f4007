"""Watches the answers of each camera for what --on names, and makes an event when it begins."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..moments import unix_time_of, utc_text
from ..sinks.sink import Answer
from .destinations.destination import Destination
from .dispatcher import Dispatcher
from .grammar import Rule


@dataclass
class Streak:
    """How long a rule has held on a camera's frames without a gap."""

    frames: int = 0
    since_s: float = 0.0
    has_fired: bool = False

    def observe(self, rule: Rule, holds: bool, taken_s: float) -> bool:
        """Adds a frame. Returns whether the event begins with it: once, until a frame for which the rule does not hold."""
        if not holds:
            self.frames, self.has_fired = 0, False
            return False
        if not self.frames:
            self.since_s = taken_s
        self.frames += 1
        if self.has_fired or self.frames < rule.frames or taken_s - self.since_s < rule.duration_s:
            return False
        self.has_fired = True
        return True


class Watcher:
    """See `Sink`. The methods `report_...` make the events that are no property of a frame."""

    def __init__(
        self,
        rules: Sequence[Rule],
        dispatcher: Dispatcher,
        *,
        unix_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules, self._dispatcher = rules, dispatcher
        self._unix_s, self._monotonic_s = unix_s, monotonic_s
        self.keep_clip: Callable[[int], str | None] | None = None  # asks for a clip, and gives the name of its file
        # Takes each event, beside the destinations.
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        self._streaks: dict[tuple[str, int], Streak] = {}  # by the rule's text and camera
        self.events = 0

    def write(self, answer: Answer) -> None:
        for rule in self.rules:
            if rule.name not in (None, "degraded"):
                continue
            holds = answer.result.degraded if rule.name else rule.holds(answer)
            streak = self._streaks.setdefault((rule.text, answer.frame.stream), Streak())
            if streak.observe(rule, holds, answer.frame.taken_s):
                result, frame = answer.result, answer.frame
                described = {
                    "camera": frame.stream,
                    "frame": frame.index,
                    "name": frame.name,
                    "label": result.label,
                    "index": result.index,
                    "probability": round(result.probability, 6),
                    "stage": result.stage,
                    "confidence": round(result.confidence, 6),
                }
                self._fire(rule, frame.taken_s, described, frame.image)

    @property
    def destinations(self) -> Mapping[str, Destination]:
        """Those that are open, by the texts of --to."""
        return self._dispatcher.known

    def use(self, rules: Sequence[Rule], destinations: Mapping[str, Destination]) -> None:
        """Goes on with other rules and destinations. A rule that stays goes on where it was: its event begins once."""
        texts = {rule.text for rule in rules}
        self._streaks = {key: streak for key, streak in self._streaks.items() if key[0] in texts}
        self.rules = rules
        self._dispatcher.use(destinations)

    def watches(self, name: str) -> bool:
        """Whether --on asks for the event of this name."""
        return any(rule.name == name for rule in self.rules)

    def report_drift(self, alarm: str) -> None:
        self._report("drift", alarm, None)

    def report_loss(self, camera: int, message: str) -> None:
        self._report("camera-lost", message, camera)

    def report_stop(self, reason: str) -> None:
        self._report("recording-stopped", reason, None)

    def _report(self, name: str, detail: str, camera: int | None) -> None:
        """An event that is no property of a frame, if --on asks for it. Called by any thread."""
        for rule in self.rules:
            if rule.name == name:
                self._fire(rule, self._monotonic_s(), {"camera": camera, "detail": detail}, None)

    def _fire(self, rule: Rule, at_s: float, described: dict[str, Any], image: Any) -> None:
        stamp = utc_text(unix_time_of(at_s, self._unix_s, self._monotonic_s))
        self.events += 1
        if self.keep_clip is not None and described["camera"] is not None:
            described |= {"clip": self.keep_clip(described["camera"])}
        event = {"event": rule.text, "id": uuid.uuid4().hex, "time": stamp, **described}
        self._dispatcher.put(event, image)
        self.on_event(event)

    def close(self) -> None:
        self._dispatcher.close()
