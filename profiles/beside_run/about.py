"""What the header of --power-log says about a run."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from collections.abc import Mapping
from typing import Any

from ...runtime.moments import utc_text
from ...runtime.sources.address import without_password

MOST_COMMAND = 4000  # characters


def about_run(engines: Mapping[str, str], backend: str, threshold: float) -> dict[str, Any]:
    """For the header of a log: the command, the engines, the date. utc_offset_s: of local time, which tegrastats prints."""
    now_s = time.time()
    return {
        "date": utc_text(now_s),
        "utc_offset_s": time.localtime(now_s).tm_gmtoff,
        "host": platform.node(),
        "command": shlex.join(["sacvit-run", *map(without_password, sys.argv[1:])])[:MOST_COMMAND],
        "engines": dict(engines),
        "backend": backend,
        "threshold": threshold,
    }
