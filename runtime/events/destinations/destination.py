"""The interface of destinations of events, and of kinds of destinations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class DeliveryError(Exception):
    """An event was not acknowledged. The message says why; the event is sent again later."""


class Destination(Protocol):
    """Where events go. A thread calls `send`; `shown`: the destination for messages, without passwords and tokens."""

    shown: str
    wants_picture: bool

    def send(self, body: dict[str, Any], picture: bytes | None) -> None:
        """Returns when the event was acknowledged, within a limited time. Raises DeliveryError otherwise."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Limits:
    """What destinations need besides their text."""

    snapshots_bytes: int


@dataclass(frozen=True)
class DestinationKind:
    """One kind: what to write after --to and its meaning, whether a text is of this kind, and how it is opened.

    open: raises UsageError for a text that names no destination. Heavy imports are inside: --help reads this table.
    """

    help: str
    schemes: tuple[str, ...]
    open: Callable[[str, Limits], Destination]
