"""The date and time of a moment on the monotonic clock, which frames carry."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone

Clock = Callable[[], float]


def unix_time_of(moment_s: float, unix_s: Clock = time.time, monotonic_s: Clock = time.monotonic) -> float:
    """Unix time of a moment of time.monotonic(), by the system's clock as it is set now."""
    return unix_s() - (monotonic_s() - moment_s)


def utc_text(unix_s: float) -> str:
    """As 2026-11-26T14:28:45.702Z."""
    return datetime.fromtimestamp(unix_s, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
