"""The options of sacvit-tune: what is tuned, and by which rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...runtime.bounds import Bounded, read_shares
from ...runtime.engines.options import EngineFiles, EngineOptions

RULE = "the rule by which eta is chosen and stored"


@dataclass(frozen=True, kw_only=True)
class TuneRequest(Bounded, EngineOptions, EngineFiles):
    """A user's options, with at most one rule. Raises UsageError for numbers out of range."""

    data: Path = field(
        metadata={
            "help": "Labelled images: one folder per class, a CSV of path,label or path,label,x,y,w,h (boxes), or images.npy"
            " and labels.npy."
        }
    )
    report_data: Path | None = field(
        default=None, metadata={"help": "Report on these (default: half of --data).", "metavar": "DATA"}
    )
    labels: Path | None = field(
        default=None,
        metadata={"help": "Text file with one class name per line, where the engines carry none.", "metavar": "FILE"},
    )
    plain: Path | None = field(
        default=None,
        metadata={
            "help": "Add a separately trained plain ViT, exported to plain.onnx, to the curve.",
            "metavar": "FILE",
        },
    )
    profile: Path | None = field(
        default=None,
        metadata={"help": "Take energy from sacvit-profile --out DIR of these engines.", "metavar": "DIR"},
    )
    alpha: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "Compare the SACs of these shares of target blocks, which sacvit-export --sac-alpha wrote.",
            "metavar": "ALPHA[,ALPHA...]",
            "parse": read_shares,
        },
    )
    batch: int = field(default=1, metadata={"help": "Number of images per pass; times are a pass's.", "least": 1})
    point: Literal["fast", "balanced", "accurate"] | None = field(
        default=None,
        metadata={
            "help": "Lose at most 2 or 0.5 points of top-1 to SAC, on other images too (95 % sure); or the highest top-1.",
            "group": RULE,
            "exclusive": "rule",
        },
    )
    min_top1: float | None = field(
        default=None,
        metadata={
            "help": "Choose the most exits with this top-1.",
            "metavar": "PERCENT",
            "group": RULE,
            "exclusive": "rule",
            "least": 0,
            "most": 100,
        },
    )
    max_ms: float | None = field(
        default=None,
        metadata={
            "help": "Choose the best top-1 within this mean time.",
            "metavar": "MS",
            "group": RULE,
            "exclusive": "rule",
            "above": 0,
        },
    )
    exit_rate: float | None = field(
        default=None,
        metadata={
            "help": "Choose this share of exits.",
            "metavar": "SHARE",
            "group": RULE,
            "exclusive": "rule",
            "least": 0,
            "most": 1,
        },
    )
