"""Opens the destination that a user names after --to: the table of the kinds of destinations."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ....bundle.errors import UsageError, nearest
from .destination import Destination, DestinationKind, Limits
from .mqtt import MQTT
from .snapshots import SNAPSHOTS
from .stdout import STDOUT
from .webhook import WEBHOOK

KINDS: tuple[DestinationKind, ...] = (WEBHOOK, MQTT, SNAPSHOTS, STDOUT)


def describe_kinds() -> str:
    """The texts that --to takes, for its help and for messages."""
    return "; ".join(kind.help for kind in KINDS)


def placed_destination(spec: str, folder: Path) -> str:
    """The text, with a folder of snapshots that counts from `folder` where it is relative."""
    kind, colon, path = spec.partition(":")
    return f"{kind}:{folder / path}" if colon and kind.lower() in SNAPSHOTS.schemes and path else spec


def open_destination(spec: str, limits: Limits) -> Destination:
    """The destination that the text names. Raises UsageError for none."""
    scheme = re.match(r"[^:/?@]*", spec)[0]  # type: ignore[index]  # matches every text
    for kind in KINDS:
        if scheme.lower() in kind.schemes:
            return kind.open(spec, limits)
    known = [one for kind in KINDS for one in kind.schemes]
    raise UsageError(
        f"--to: no destination is called {shlex.quote(scheme)}{nearest(scheme, known)}. {describe_kinds()}"
    )
