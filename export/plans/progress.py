"""What TensorRT is doing, while it builds for minutes: a bar for each of its phases on a terminal."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

DEEPEST = 2  # phases inside phases inside phases: more bars than a person reads


def open_monitor(trt: Any, what: str) -> Any:
    """A TensorRT progress monitor. Without a terminal it prints nothing: the parent process reports the time."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base class exists where TensorRT does
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._bars: dict[str, tqdm[Any]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if len(self._bars) < DEEPEST and sys.stderr.isatty():
                self._bars[phase_name] = tqdm(
                    total=num_steps, desc=f"{what}: {phase_name}", position=len(self._bars), leave=False, unit="step"
                )

        def step_complete(self, phase_name: str, step: int) -> bool:
            """True: go on."""
            bar = self._bars.get(phase_name)
            if bar is not None:
                bar.update(step + 1 - bar.n)
            return True

        def phase_finish(self, phase_name: str) -> None:
            bar = self._bars.pop(phase_name, None)
            if bar is not None:
                bar.close()

    return Monitor()
