"""The kinds of GPUs that TensorRT for RTX builds for, by name."""

from __future__ import annotations

from ..bundle.errors import UsageError, nearest

TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")  # RTX 20, A100, RTX 30, RTX 40, RTX 50, DGX Spark


def read_targets(text: str) -> tuple[str, ...]:
    """ "sm86,sm89" as names. Raises UsageError for one that is not in TARGETS."""
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in TARGETS:
            raise UsageError(f"no target {name!r}{nearest(name, TARGETS)}; known: {', '.join(TARGETS)}")
    if not names:
        raise UsageError(f"name at least one target: {', '.join(TARGETS)}")
    return names
