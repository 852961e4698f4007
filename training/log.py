"""What a run tells: a line an epoch into metrics.jsonl and onto stderr, and curves for TensorBoard where they are asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from .resume import forget_lines


class Log:
    """Opened by the first process alone. resumed: the epochs of a run that goes on; None begins a new one."""

    def __init__(self, out: Path, resumed: int | None, tensorboard: bool) -> None:
        path = out / "metrics.jsonl"
        if resumed is not None:
            forget_lines(path, resumed)
        self.curves = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # an extra of its own

            # A resumed run's curves begin anew where it goes on: what a kill left behind that is hidden.
            self.curves = SummaryWriter(str(out / "tensorboard"), purge_step=None if resumed is None else resumed + 1)
        self.file = path.open("w" if resumed is None else "a", encoding="utf-8")

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        if self.curves is not None:
            self.curves.close()

    def note(self, metrics: dict[str, Any], *, quiet: bool = False) -> None:
        """A line; its numbers become points of curves, over epochs."""
        self.file.write(json.dumps(metrics) + "\n")
        self.file.flush()
        if not quiet:
            print(" ".join(f"{key}={value}" for key, value in metrics.items()), file=sys.stderr, flush=True)
        if self.curves is not None:
            for key, value in metrics.items():
                if key != "epoch" and not isinstance(value, bool):
                    self.curves.add_scalar(key, value, metrics["epoch"])
            self.curves.flush()
