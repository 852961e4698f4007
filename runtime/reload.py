"""SIGHUP for a run with --config: reads the file again and applies what may change while the run goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..bundle.errors import SacvitError
from ..machine.service_manager import HangUp
from .events.live_events import LiveEvents
from .options import EventOptions
from .sinks.service import ServiceSink

logger = logging.getLogger(__name__)


class HasThreshold(Protocol):
    """A `Pipeline`, or a server's chain."""

    threshold: float


class Reload:
    """Applies a changed file between two frames: the threshold, and the events of --on and --to.

    options: as they were read at the start. read: reads them again, with the events they ask for; raises for a mistake. chain:
    whose threshold can be set between two passes. explain: the message of what was raised. All is applied, or nothing.
    """

    def __init__(
        self,
        hang_up: HangUp,
        options: Mapping[str, Any],
        read: Callable[[], tuple[Mapping[str, Any], EventOptions]],
        chain: HasThreshold,
        events: LiveEvents,
        explain: Callable[[BaseException], str] = str,
    ) -> None:
        self.is_asked = hang_up.take
        self._now, self._read, self._chain, self._events = dict(options), read, chain, events
        self._explain = explain
        # What a file without a threshold means; unknown where the run began with another one.
        self._stored = chain.threshold if options["threshold"] is None else None

    def apply(self) -> None:
        """Reads the file and applies it, or reports why not; a run never ends by it."""
        file = self._now["config"]
        try:
            found, asked_events = self._read()
            changed = {name for name in self._now if found[name] != self._now[name]}
            changes = dict(self._changes(found["threshold"], asked_events, changed))
        except (SacvitError, ModuleNotFoundError, OSError) as fault:
            logger.error("SIGHUP: nothing is changed, the run goes on as before: %s", self._explain(fault))
            return
        applied = {"threshold"} & changes.keys() | (self._events.changeable if "events" in changes else set())
        for name, change in changes.items():
            change()
            logger.info("--config %s: %s is applied", file, name)
        self._now |= {name: found[name] for name in applied}
        if restart := sorted(changed - applied):
            named = ", ".join(name.replace("_", "-") for name in restart)
            logger.warning("--config %s: needs a restart to change: %s", file, named)
        elif not changes:
            logger.info("--config %s: nothing has changed", file)

    def _changes(
        self, threshold: float | None, events: EventOptions, changed: set[str]
    ) -> list[tuple[str, Callable[[], object]]]:
        """What can be applied, by name. Raises for what is asked for wrongly."""
        changes: list[tuple[str, Callable[[], object]]] = []
        wanted = self._stored if threshold is None else threshold
        if "threshold" in changed and wanted is not None:
            changes.append(("threshold", lambda: setattr(self._chain, "threshold", wanted)))
        if changed & self._events.changeable:  # the last one: it may open a destination
            changes.append(("events", self._events.prepare(events)))
        return changes


def between_frames(service: ServiceSink | None, reload: Reload | None) -> Callable[[], None] | None:
    """What the loop does before each pass: it applies a changed file, and reports its progress to the service manager."""

    def act() -> None:
        if reload is not None and reload.is_asked():
            if service is not None:
                service.begin_reload()
            reload.apply()
            if service is not None:
                service.end_reload()
        if service is not None:
            service.between_frames()

    return None if service is None and reload is None else act
