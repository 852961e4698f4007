"""The threshold of a running chain: read, set between two passes, and stored in the bundle when a person asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from ...bundle.errors import UsageError
from ...bundle.manifest import Tuned
from ...bundle.stage_record import StageRecord
from ...bundle.stored_gate import read_tuned, write_tuned
from ..chain.gate import Gate

BY_HAND = "web"  # the rule that a manifest names for a threshold that was set on the page


class HasThreshold(Protocol):
    """A `Pipeline`, or a server's chain."""

    threshold: float

    @property
    def gate(self) -> Gate: ...


class LiveThreshold:
    """engine and record: of EE, where the threshold can be stored; None for the chain of a server."""

    def __init__(self, chain: HasThreshold, engine: Path | None = None, record: StageRecord | None = None) -> None:
        self._chain, self._engine, self._record = chain, engine, record
        self.at_start = chain.threshold
        self.marks = self._read_marks()

    @property
    def value(self) -> float:
        return self._chain.threshold

    def set(self, value: float) -> None:
        """Takes effect with the next pass. Raises UsageError outside [0, 1]."""
        self._chain.threshold = value

    def save(self) -> Path:
        """Stores the threshold in the manifest, for this precision, and returns its path. Raises SacvitError, OSError."""
        if self._engine is None or self._record is None:
            raise UsageError("the threshold is the server's: sacvit-serve stores it")
        temperature = self._chain.gate.temperature or 1.0
        before = read_tuned(self._engine, self._record)
        chosen = (
            Tuned(self.value, temperature, BY_HAND)
            if before is None
            else replace(
                before, threshold=self.value, temperature=temperature, point=BY_HAND, data={}, report={}, promise=None
            )
        )
        path = write_tuned(self._engine, self._record, chosen)
        self.marks = self._read_marks()
        return path

    def _read_marks(self) -> list[dict[str, Any]]:
        """Thresholds to show beside the slider: name and threshold of each, the lowest first."""
        found = {"at the start": self.at_start}
        if self._record is not None and self._engine is not None:
            found["exported"] = self._record.threshold
            tuned = read_tuned(self._engine, self._record)
            if tuned is not None:
                found |= {name: value for name, value in tuned.points.items() if name != BY_HAND}
                found["stored"] = tuned.threshold
        return [{"name": name, "threshold": found[name]} for name in sorted(found, key=lambda name: found[name])]

    def to_dict(self) -> dict[str, Any]:
        """As GET /api/threshold answers."""
        return {"threshold": self.value, "can_be_saved": self._engine is not None, "marks": self.marks}
