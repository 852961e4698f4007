"""Everything that sacvit raises on a user's, a file's or a device's fault.

SacvitError                 exit code 1
├── UsageError              2   an option or argument that is wrong or contradicts another
│   └── ConfigError         2   a model geometry or switch that is wrong or contradicts another
├── CheckpointError         1   a .pth that cannot be used
├── ImageError              1   an image or a clip that cannot be read
├── PlanError               1   an engine that TensorRT did not build, with its own reason
├── GuardError              3   parity, lint or accuracy: the result is not trusted
├── EngineError             4   an engine that does not fit this machine or its partner
└── DeviceError             5   a camera, display or power source that is not there
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_INTERRUPTED = 130  # Ctrl-C after a clean partial result


class SacvitError(Exception):
    """A fault that the message explains: what is wrong, where, expected, found, and what to do."""

    exit_code = 1


class UsageError(SacvitError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class CheckpointError(SacvitError):
    pass


class ImageError(SacvitError):
    pass


class PlanError(SacvitError):
    pass


class GuardError(SacvitError):
    exit_code = 3


class EngineError(SacvitError):
    exit_code = 4


class DeviceError(SacvitError):
    exit_code = 5


def nearest(name: object, known: Iterable[str]) -> str:
    """` (did you mean X?)` for the closest of `known`, or an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""
