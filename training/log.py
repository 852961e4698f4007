"""The report of each epoch: a line in metrics.jsonl and in the log, and optional curves for TensorBoard."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ..bundle.errors import SacvitError
from .resume import forget_lines

logger = logging.getLogger(__name__)


class Log:
    """Opened by the first process alone. resumed: the epochs of a run that goes on; None begins a new one."""

    def __init__(self, out: Path, resumed: int | None, tensorboard: bool) -> None:
        path = out / "metrics.jsonl"
        if resumed is not None:
            forget_lines(path, resumed)
        self.curves = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # an extra of its own

            # TensorBoard hides points of a killed run after the epoch where the resumed run continues.
            self.curves = SummaryWriter(str(out / "tensorboard"), purge_step=None if resumed is None else resumed + 1)
        self.file = path.open("w" if resumed is None else "a", encoding="utf-8")

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of a full disk, which `note` has reported already
            self.file.close()
        if self.curves is not None:
            with suppress(OSError):
                self.curves.close()

    def note(self, metrics: dict[str, Any], *, quiet: bool = False) -> None:
        """Writes a line. Its numbers become points of the curves over epochs. Raises SacvitError on a full disk."""
        if not quiet:
            logger.info("%s", " ".join(f"{key}={value}" for key, value in metrics.items()))
        try:
            self.file.write(json.dumps(metrics) + "\n")
            self.file.flush()
            if self.curves is not None:
                for key, value in metrics.items():
                    if key != "epoch" and not isinstance(value, bool):
                        self.curves.add_scalar(key, value, metrics["epoch"])
                self.curves.flush()
        except OSError as reason:
            raise SacvitError(
                f"{self.file.name} and its curves cannot be written: {reason.strerror or reason}. Make room; the same"
                f" command with --resume goes on from the last save"
            ) from None
