"""Options of a training run beside its recipe: its start and its output. No heavy imports, as in `recipe`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..bundle.errors import ConfigError
from ..model.config import Weights

Format = Literal["pth", "safetensors"]


@dataclass(frozen=True)
class RunOptions:
    """out: gets metrics.jsonl, last.pth (to resume from), and at the end the model with its calibration set."""

    out: Path = field(default=Path("runs/train"), metadata={"help": "Folder for the files of the run."})
    plain: bool = field(
        default=False, metadata={"help": "Train the single-stage ViT of the same size, as the baseline."}
    )
    start: Path | None = field(
        default=None,
        metadata={"help": "Start from the weights of this checkpoint, for example a plain DeiT or timm ViT."},
    )
    weights: Weights | None = field(
        default=None,
        metadata={
            "help": "Start from the raw weights, or from their moving average, of a checkpoint that has both (default: raw)."
        },
    )
    resume: bool = field(default=False, metadata={"help": "Continue the run in the folder of --out from its last.pth."})
    half: bool = field(
        default=False,
        metadata={"help": "Store the model in FP16, which halves the file. It is judged after the rounding."},
    )
    format: Format = field(default="pth", metadata={"help": "Format of the model file."})
    save_steps: int = field(
        default=500,
        metadata={"help": "Write last.pth after every N steps, besides the end of each epoch.", "metavar": "N"},
    )
    tensorboard: bool = field(
        default=False, metadata={"help": "Write curves for TensorBoard into the folder tensorboard of --out."}
    )

    def __post_init__(self) -> None:
        if self.save_steps < 1:
            raise ConfigError(f"--save-steps {self.save_steps}: give 1 or more")
        if self.weights is not None and self.start is None:
            raise ConfigError(
                "--weights chooses among the weights of --start FILE; give that too, or leave --weights out"
            )

    @property
    def model_path(self) -> Path:
        return self.out / f"model.{self.format}"
