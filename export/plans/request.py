"""How a bundle's plans are to be built: what sacvit-build is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...bundle.errors import UsageError
from ...bundle.precision import Family, families
from ...machine.rtx_targets import read_targets

Report = Callable[[str], None]
MOST_BATCH = 256


def read_batches(text: str) -> tuple[int, ...]:
    """The numbers of a text like 1,8,32. Raises UsageError."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--batch takes numbers with commas between them, as in 1,8,32; found {text!r}") from None


@dataclass(frozen=True)
class BuildRequest:
    """How a bundle's plans are built.

    family: the precision; None takes the coarsest that was exported. batches: images per pass; None is 1, or the number that
    the graphs are fixed to. workspace_mib: TensorRT's scratch while building; None is a quarter of the free memory, at most
    1024. library: TensorRT for RTX, or TensorRT, which None is too. targets: GPUs that RTX's engines are for; None is the GPU
    of this machine. is_alone: other precisions are no fallback. report: gets lines about the progress.
    """

    family: Family | None = field(
        default=None,
        metadata={
            "help": "Precision (default: the lowest that the bundle was exported in).",
            "flag": "--precision",
            "choices": families(),
        },
    )
    batches: tuple[int, ...] | None = field(
        default=None,
        metadata={
            "help": "Images per pass, as in 1,8,32 (default: 1, or what the graphs are fixed to).",
            "flag": "--batch",
            "metavar": "N[,N...]",
            "parse": read_batches,
        },
    )
    workspace_mib: int | None = field(
        default=None,
        metadata={"help": "TensorRT's scratch memory while it builds (default: a quarter of what is free, <= 1024)."},
    )
    builder_optimization_level: int | None = field(
        default=None, metadata={"help": "TensorRT's level; a higher one takes longer (default: 3).", "metavar": "0..5"}
    )
    timing_cache: Path | None = field(
        default=None, metadata={"help": "Keep kernel times of earlier builds in FILE.", "metavar": "FILE"}
    )
    library: Literal["tensorrt", "rtx"] | None = field(
        default=None,
        metadata={
            "help": "Build engines of one library and compare nothing: TensorRT, on the device that runs them, or TensorRT for"
            " RTX, on any x86_64 Linux.",
            "flag": "--target",
        },
    )
    targets: tuple[str, ...] | None = field(
        default=None,
        metadata={
            "help": "With --target rtx: the GPUs that one pair of files is for, as in sm86,sm89,sm120. Without it, check the"
            " engines that are there on this machine's GPU, or build for it.",
            "flag": "--for",
            "metavar": "GPU[,GPU...]",
            "parse": read_targets,
        },
    )
    is_alone: bool = False
    report: Report = lambda line: None

    def require_sound(self) -> None:
        """Raises UsageError for numbers that cannot be."""
        level, sizes = self.builder_optimization_level, self.batches
        if self.targets is not None and self.library != "rtx":
            raise UsageError(
                f"--for {','.join(self.targets)} goes with --target rtx: TensorRT builds for the GPU here alone"
            )
        if self.library == "rtx" and self.timing_cache is not None:
            raise UsageError(
                "--timing-cache does not go with --target rtx: TensorRT for RTX compiles kernels where they run"
            )
        if level is not None and not 0 <= level <= 5:
            raise UsageError(f"--builder-optimization-level must lie in 0 .. 5, found {level}")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise UsageError(f"--workspace-mib must be at least 1, found {self.workspace_mib}")
        if sizes is not None and (not sizes or not all(1 <= size <= MOST_BATCH for size in sizes)):
            raise UsageError(f"--batch takes sizes in 1 .. {MOST_BATCH}, found {', '.join(map(str, sizes)) or 'none'}")
        if self.timing_cache is not None and self.timing_cache.is_dir():
            raise UsageError(f"--timing-cache {self.timing_cache} is a folder; give a file's name")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batch sizes, rising, each once."""
        return tuple(sorted(set(self.batches or (1,))))
