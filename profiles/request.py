"""The options of sacvit-profile: what is measured, and how."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..bundle.errors import UsageError
from ..runtime.bounds import Bounded
from ..runtime.engines.options import EngineFiles, EngineOptions
from .power.open import AUTO, choices, choices_help

WHAT, HOW, OUT = "what is measured", "how", "what comes out"
MOST_THRESHOLDS = 101


def parse_thresholds(text: str) -> list[float]:
    """[0.4, 0.45, ... 0.9] for "0.4:0.9:0.05", [0.5, 0.7] for "0.5,0.7". Raises UsageError."""
    number = r"(?:\d+\.?\d*|\.\d+)"
    if found := re.fullmatch(rf"({number}):({number}):({number})", text):
        first, last, step = map(float, found.groups())
        count = int((last - first) / step + 1e-9) + 1 if step > 0 and last >= first else 0
        if not 1 <= count <= MOST_THRESHOLDS:
            raise UsageError(f"--threshold {text}: from:to:step gives {count} values; 1 to {MOST_THRESHOLDS} can be")
        values = [round(first + place * step, 9) for place in range(count)]
    elif re.fullmatch(rf"{number}(,{number})*", text):
        values = list(dict.fromkeys(float(part) for part in text.split(",")))
    else:
        raise UsageError(f"--threshold {text}: give a number, a list 0.5,0.7 or a range 0.4:0.9:0.05")
    for value in values:
        if not 0 <= value <= 1:
            raise UsageError(f"--threshold {text}: {value:g} does not lie in [0, 1]")
    return values


def parse_mode_list(text: str) -> list[int]:
    """[0, 1, 2] for "0,1,2", in the order given. Raises UsageError for anything else and for an id that comes twice."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,3}", part) for part in parts):
        raise UsageError(f"--power-modes {text}: give ids of nvpmodel with commas between them, as in 0,1,2")
    mode_ids = [int(part) for part in parts]
    if len(set(mode_ids)) < len(mode_ids):
        raise UsageError(f"--power-modes {text}: an id comes twice; give each once")
    return mode_ids


@dataclass(frozen=True)
class ProfileRequest(Bounded, EngineOptions, EngineFiles):
    """A user's options. Raises UsageError for values out of range and contradictions.

    batch: None is 1, or in a scenario of batches the most that the engines take. duration_s: of each variant; None is 30 s,
    or what the scenario asks for.
    """

    plain: Path | None = field(
        default=None,
        metadata={
            "help": "Measure the plain ViT too, for the break-even: sacvit-export --plain.",
            "metavar": "FILE",
            "group": WHAT,
        },
    )
    source: str | None = field(
        default=None,
        metadata={"help": "Images, as sacvit-run --camera takes them (default: those in the bundle).", "group": WHAT},
    )
    thresholds: Sequence[float] | None = field(
        default=None,
        metadata={
            "help": "Thresholds: 0.7, a list 0.5,0.7 or a range 0.4:0.9:0.05 (default: the stored one).",
            "flag": "--threshold",
            "metavar": "ETA",
            "group": WHAT,
            "parse": parse_thresholds,
        },
    )
    batch: int | None = field(
        default=None,
        metadata={"help": "Number of images per pass (default: 1; offline: the most).", "least": 1, "group": WHAT},
    )
    duration_s: float | None = field(
        default=None,
        metadata={
            "help": "Seconds to measure each variant, split into 3 windows (default: 30; a preset: 600).",
            "aliases": ("--duration",),
            "metavar": "S",
            "group": HOW,
            "exclusive": "length",
            "above": 0,
        },
    )
    iterations: int | None = field(
        default=None,
        metadata={
            "help": "Number of passes to measure of each variant, in place of --duration-s.",
            "metavar": "N",
            "group": HOW,
            "exclusive": "length",
            "least": 1,
        },
    )
    warmup_ms: float = field(
        default=200.0,
        metadata={
            "help": "Milliseconds of passes before each window that are not measured.",
            "aliases": ("--warmUp",),
            "metavar": "MS",
            "group": HOW,
            "least": 0,
        },
    )
    power: str = field(
        default=AUTO,
        metadata={
            "help": lambda: f"Read power from this source. {choices_help()}.",
            "choices": choices,
            "group": HOW,
        },
    )
    scenario: Literal["single-stream", "offline"] | None = field(  # of SCENARIOS
        default=None,
        metadata={"help": "Load by MLPerf's rules for this scenario.", "flag": "--preset", "group": HOW},
    )
    power_modes: Sequence[int] = field(
        default=(),
        metadata={
            "help": "Measure in each of these nvpmodel modes, as in 0,1,2, and restore the old one.",
            "metavar": "IDS",
            "group": HOW,
            "parse": parse_mode_list,
        },
    )
    layers: bool = field(
        default=False, metadata={"help": "Measure each layer too, in passes of their own.", "group": HOW}
    )
    export_times: Path | None = field(
        default=None,
        metadata={
            "help": "Write the times of passes as trtexec does.",
            "aliases": ("--exportTimes",),
            "metavar": "FILE.json",
            "group": OUT,
        },
    )
    command: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scenario is not None and self.iterations is not None:
            raise UsageError("--preset says how long a run lasts; leave --iterations out")
        if self.scenario == "single-stream" and self.batch not in (None, 1):
            raise UsageError(f"--preset {self.scenario} asks one image at a time; leave --batch out")
