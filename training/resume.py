"""The state of a run on disk: last.pth, and the lines of metrics.jsonl that belong to it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..bundle.errors import CheckpointError, ConfigError
from ..bundle.files import written_whole
from ..model.checkpoint import fill
from ..model.config import ModelConfig
from ..model.network import VisionTransformer
from ..model.read_checkpoint import read_state_dict
from ..model.write_checkpoint import write_pth
from .recipe import Recipe

# An entry that a run of an earlier version does not have was at its default.
SINCE: dict[str, dict[str, Any]] = {"config": ModelConfig().to_dict(), "recipe": asdict(Recipe())}


@dataclass(frozen=True)
class Place:
    """The number of finished epochs; of the next one the finished steps and the sum of their losses."""

    epoch: int = 0
    step: int = 0
    total: float = 0.0


@dataclass(frozen=True)
class State:
    """Everything that a run changes, and that last.pth stores. `kept` is `model` where no average is taken."""

    run: dict[str, Any]  # identifies the run: another one must not continue from its file
    model: VisionTransformer
    optimizer: torch.optim.Optimizer
    kept: VisionTransformer

    def save(self, path: Path, place: Place) -> None:
        """Writes last.pth. Raises SacvitError on a full disk, which keeps the earlier file."""
        content = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), **asdict(place)}
        if self.kept is not self.model:
            content["average"] = self.kept.state_dict()
        write_pth(path, content | self.run)

    def restore(self, path: Path) -> Place:
        """Restores everything from last.pth. Raises CheckpointError for another run's file."""
        require_run(path)
        state = read_state_dict(path, "raw")
        for key, value in self.run.items():
            found = state.entries.get(key)
            if key in SINCE and isinstance(found, dict):
                found = SINCE[key] | found
            if found != value:
                raise CheckpointError(f"{path} comes from another run: its {key} is {found}, this run's is {value}")
        fill(self.model, state)
        try:
            self.optimizer.load_state_dict(state.entries["optimizer"])
            if self.kept is not self.model:
                self.kept.load_state_dict(state.entries["average"])
            return Place(int(state.entries["epoch"]), int(state.entries["step"]), float(state.entries["total"]))
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as reason:
            raise CheckpointError(f"{path} is no state to resume from: {reason}. Run without --resume") from None


def require_run(last: Path) -> None:
    """Raises CheckpointError where there is no last.pth to resume from."""
    if not last.is_file():
        raise CheckpointError(f"{last} does not exist: there is nothing to resume. Run without --resume")


def require_no_run(out: Path) -> None:
    """Raises ConfigError where a run would overwrite another."""
    if (out / "last.pth").exists():
        raise ConfigError(f"{out} holds a run already: go on with --resume, or give another --out")


def forget_halves(out: Path) -> None:
    """Removes partial files of killed runs: for DeiT-B, a gigabyte each."""
    for half in out.glob(".*.part"):
        half.unlink(missing_ok=True)


def forget_lines(path: Path, epochs: int) -> None:
    """Keeps only the metrics of finished epochs: a kill may have come between a line and its state."""
    if path.is_file():
        lines = [line for line in path.read_bytes().split(b"\n") if _is_of(line, epochs)]
        with written_whole(path) as partial:
            partial.write_bytes(b"".join(line + b"\n" for line in lines))


def _is_of(line: bytes, epochs: int) -> bool:
    try:
        content = json.loads(line)
        return bool(content["epoch"] <= epochs and "final" not in content)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False  # cut short by a kill, or damaged
