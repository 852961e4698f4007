"""Reads the next batches while one is trained on, and measures whether reading or training waits."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..bundle.preprocess import ImageU8
from .batches import Batches

AHEAD = 2  # batches, so that one slow picture does not stop training
Batch = tuple[ImageU8, npt.NDArray[np.int64 | np.float32]]


@dataclass
class Loader:
    """Iterates over the steps of a run, with this process's part of each. Times are sums over the steps so far."""

    batches: Batches
    steps: range
    part: slice
    device: torch.device
    read_s: float = 0.0  # spent reading; all threads read one batch at a time
    waited_s: float = 0.0  # that training waited for reading
    images: int = 0

    def __iter__(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Step, images (K, S, S, 3) uint8 and labels, on the device."""
        with ThreadPoolExecutor(1, "loader") as reader:
            ahead: deque[Future[Batch]] = deque(reader.submit(self._read, step) for step in self.steps[:AHEAD])
            try:
                for number, step in enumerate(self.steps):
                    began = time.monotonic()
                    images, labels = ahead.popleft().result()
                    self.waited_s += time.monotonic() - began
                    if number + AHEAD < len(self.steps):
                        ahead.append(reader.submit(self._read, self.steps[number + AHEAD]))
                    self.images += len(images)
                    yield step, torch.from_numpy(images).to(self.device), torch.from_numpy(labels).to(self.device)
            finally:
                for future in ahead:
                    future.cancel()

    def pace(self, duration_s: float, processes: int) -> dict[str, float]:
        """Images per second of all processes: in total, of reading alone, of training without the waits; and the share of time
        that this process waited."""
        images, trained_s = self.images * processes, max(duration_s - self.waited_s, 1e-9)
        return {
            "images_per_s": round(images / duration_s, 1),
            "loader_images_per_s": round(images / max(self.read_s, 1e-9), 1),
            "step_images_per_s": round(images / trained_s, 1),
            "waited": round(self.waited_s / duration_s, 3),
        }

    def _read(self, step: int) -> Batch:
        began = time.monotonic()
        try:
            return self.batches.read(step, self.part)
        finally:
            self.read_s += time.monotonic() - began
