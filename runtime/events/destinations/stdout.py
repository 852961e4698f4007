"""Events as lines of JSON on stdout, among the lines of the answers."""

from __future__ import annotations

import json
from typing import Any

from ....bundle.errors import UsageError
from .destination import DestinationKind, Limits


class Stdout:
    """See `Destination`."""

    shown, wants_picture = "stdout", False

    def send(self, body: dict[str, Any], picture: bytes | None) -> None:
        from ...sinks.lines import put

        put(json.dumps(body))

    def close(self) -> None: ...


def open_stdout(spec: str, limits: Limits) -> Stdout:
    if spec not in ("stdout", "-"):
        raise UsageError(f"--to {spec}: write stdout alone")
    return Stdout()


STDOUT = DestinationKind("stdout: lines of JSON", ("stdout", "-"), open_stdout)
