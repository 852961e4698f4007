"""The events of a run: a watcher, which may get other rules and destinations while the run goes on, or begin then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from ...bundle.errors import UsageError
from ..options import EventOptions
from ..sinks.sink import Sink
from ..sources.frame import Source
from .grammar import Rule
from .opening import open_destinations, open_watcher, read_rules
from .watcher import Watcher


class LiveEvents:
    """watcher: None while no event is asked for.

    require: raises UsageError for rules that cannot be met in this run. Closing what was opened is the caller's: `watcher`
    before `join`, and the run's end, which closes its sinks, afterwards.
    """

    def __init__(self, options: EventOptions, source: Source, require: Callable[[Sequence[Rule]], None]) -> None:
        self._source, self._require = source, require
        self._labels: Sequence[str] | None = None
        self._sinks: list[Sink] = []
        self._keep_clip: Callable[[int], str | None] | None = None
        self._on_event: Callable[[dict[str, Any]], None] = lambda event: None
        require(read_rules(options))
        self.watcher = open_watcher(options, source.live)
        self.watches_drift = self.watcher is not None and self.watcher.watches("drift")
        source.report_losses(self._report_loss)

    def _report_loss(self, camera: int, message: str) -> None:
        if self.watcher is not None:
            self.watcher.report_loss(camera, message)

    def report_stop(self, reason: str) -> None:
        """Takes the end of a recording."""
        if self.watcher is not None:
            self.watcher.report_stop(reason)

    def require_labels(self, labels: Sequence[str] | None) -> None:
        """Raises UsageError for a rule with a label that the model does not have, now or later."""
        self._labels = labels
        for rule in self.watcher.rules if self.watcher else ():
            rule.require_labels(labels)

    def join(
        self,
        sinks: list[Sink],
        keep_clip: Callable[[int], str | None] | None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Makes the watcher one of the sinks, now or when it begins. keep_clip and on_event: see `Watcher`."""
        self._sinks, self._keep_clip, self._on_event = sinks, keep_clip, on_event or self._on_event
        if self.watcher is not None:
            self._begin(self.watcher)

    @property
    def changeable(self) -> set[str]:
        """The options that `prepare` applies: all of them while no event is asked for, since the queue is not open then."""
        return {"on", "to"} if self.watcher is not None else {one.name for one in fields(EventOptions)}

    def prepare(self, options: EventOptions) -> Callable[[], None]:
        """What changes the run to these options. Raises for a mistake in them; then nothing has changed.

        Events that were made before keep their destinations.
        """
        rules = read_rules(options)
        self._require(rules)
        for rule in rules:
            rule.require_labels(self._labels)
        if not self.watches_drift and any(rule.name == "drift" for rule in rules):
            raise UsageError("--on drift needs a restart: it compares with what came first in a run")
        if self.watcher is not None:
            return partial(self.watcher.use, rules, open_destinations(options, self.watcher.destinations))
        watcher = open_watcher(options, self._source.live)
        return (lambda: None) if watcher is None else partial(self._begin, watcher)

    def _begin(self, watcher: Watcher) -> None:
        self.watcher = watcher
        watcher.keep_clip, watcher.on_event = self._keep_clip, self._on_event
        self._sinks.append(watcher)
