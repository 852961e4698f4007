"""The watcher of the events that a user asked for, with its queue and its destinations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ...bundle.errors import UsageError
from ..options import EventOptions
from .destinations.destination import Destination, Limits
from .destinations.opening import open_destination
from .dispatcher import Dispatcher
from .grammar import Rule, parse_rule
from .store import EventStore
from .watcher import Watcher

STDOUT = "stdout"
WITHOUT_ON = "{} needs --on, which says what is an event, as --on 'label=nut confidence>=0.9'"


def open_watcher(options: EventOptions, live: bool) -> Watcher | None:
    """The watcher of a run over cameras (live) or files; None where no event is asked for.

    Raises UsageError for an expression or a destination with a mistake.
    """
    if not options.on:
        if options.event_queue:
            raise UsageError(WITHOUT_ON.format("--event-queue"))
        return None
    rules = read_rules(options)
    destinations = open_destinations(options, {})
    store = EventStore(options.event_queue or default_queue(), int(options.event_queue_mib * (1 << 20)))
    return Watcher(rules, Dispatcher(store, destinations, live=live))


def read_rules(options: EventOptions) -> list[Rule]:
    """The rules of --on, each once. Raises UsageError for an expression with a mistake, and for --to without any."""
    if options.to and not options.on:
        raise UsageError(WITHOUT_ON.format("--to"))
    return [parse_rule(text) for text in dict.fromkeys(options.on)]


def open_destinations(options: EventOptions, are_open: Mapping[str, Destination]) -> dict[str, Destination]:
    """The destinations of --to; those that are open already are kept. Raises UsageError for a mistake in one."""
    limits = Limits(int(options.snapshots_mib * (1 << 20)))
    return {spec: are_open.get(spec) or open_destination(spec, limits) for spec in options.to or (STDOUT,)}


def default_queue() -> Path:
    """$XDG_STATE_HOME/sacvit/events, or the same below ~/.local/state."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "sacvit" / "events"
