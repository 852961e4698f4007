"""The options of sacvit-run on power. No heavy imports: --help reads this."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...bundle.errors import UsageError
from ...bundle.files import require_writable
from ...runtime.bounds import Bounded
from ..power.open import NONE, choices, choices_help

LOG_SUFFIX = ".jsonl"


@dataclass(frozen=True)
class PowerOptions(Bounded):
    """Where power is read while frames are classified, and the file that keeps the readings."""

    power: str = field(
        default=NONE,
        metadata={
            "help": lambda: f"Read power from this source during the run. {choices_help()}.",
            "choices": choices,
            "group": "power",
        },
    )
    power_log: Path | None = field(
        default=None,
        metadata={
            "help": "Keep every reading, with the times and paths of the frames, in FILE; sacvit-report draws it.",
            "metavar": f"FILE{LOG_SUFFIX}",
            "group": "power",
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.power_log is None:
            return
        if self.power == NONE:
            raise UsageError("--power-log keeps what --power reads: give --power too, as --power auto")
        require_writable(self.power_log, "--power-log", LOG_SUFFIX)

    @property
    def is_asked(self) -> bool:
        return self.power != NONE

    @property
    def files(self) -> dict[str, Path]:
        """The files that are written, by option."""
        return {} if self.power_log is None else {"--power-log": self.power_log}
