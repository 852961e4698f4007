"""What the header of --power-log says about a run."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from typing import Any

from ...runtime.moments import utc_text


def about_run(engines: Mapping[str, str], backend: str, threshold: float) -> dict[str, Any]:
    """Engines, date and host, but not the command, which may hold passwords. utc_offset_s: of local time, as in tegrastats."""
    now_s = time.time()
    return {
        "date": utc_text(now_s),
        "utc_offset_s": time.localtime(now_s).tm_gmtoff,
        "host": platform.node(),
        "engines": dict(engines),
        "backend": backend,
        "threshold": threshold,
    }
