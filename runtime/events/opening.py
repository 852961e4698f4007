"""The watcher of the events that a user asked for, with its queue and its destinations."""

from __future__ import annotations

import os
from pathlib import Path

from ...bundle.errors import UsageError
from ..options import EventOptions
from .destinations.destination import Limits
from .destinations.opening import open_destination
from .dispatcher import Dispatcher
from .grammar import parse_rule
from .store import EventStore
from .watcher import Watcher

STDOUT = "stdout"


def open_watcher(options: EventOptions, live: bool) -> Watcher | None:
    """The watcher of a run over cameras (live) or files; None where no event is asked for.

    Raises UsageError for an expression or a destination with a mistake.
    """
    if not options.on:
        for name, value in (("--to", options.to), ("--event-queue", options.event_queue)):
            if value:
                raise UsageError(f"{name} needs --on, which says what is an event, as --on 'label=nut confidence>=0.9'")
        return None
    rules = [parse_rule(text) for text in dict.fromkeys(options.on)]
    limits = Limits(int(options.snapshots_mib * (1 << 20)))
    destinations = {spec: open_destination(spec, limits) for spec in options.to or (STDOUT,)}
    store = EventStore(options.event_queue or default_queue(), int(options.event_queue_mib * (1 << 20)))
    return Watcher(rules, Dispatcher(store, destinations, live=live))


def default_queue() -> Path:
    """$XDG_STATE_HOME/sacvit/events, or the same below ~/.local/state."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "sacvit" / "events"
