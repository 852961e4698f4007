"""What sacvit-build is asked for when it chooses among engines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from ...bundle.errors import UsageError
from ...runtime.engines.options import BackendName
from ..plans.request import BuildRequest


@dataclass(frozen=True)
class ChoiceRequest(BuildRequest):
    """Which candidates are tried, and for how long. family: of the candidates; None takes every precision of the bundle.

    batches: sizes that each candidate is judged and timed at; None is 1, or the number that the graphs are fixed to.
    """

    only: BackendName | None = field(
        default=None,
        metadata={
            "help": f"Try the engines of one backend: {', '.join(get_args(BackendName))} (default: all that run here). FP32 in"
            " ONNX Runtime is always measured beside them.",
            "metavar": "BACKEND",
        },
    )
    budget_s: float | None = field(
        default=None,
        metadata={
            "help": "Begin no further candidate when this many seconds are over, and end the comparison soon after"
            " (default: no limit).",
            "metavar": "S",
        },
    )

    def require_sound(self) -> None:
        """Raises UsageError for numbers that cannot be."""
        super().require_sound()
        if self.budget_s is not None and not self.budget_s > 0:
            raise UsageError(f"--budget-s must be more than 0, found {self.budget_s:g}")
