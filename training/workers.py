"""Processes that train one model together, as torchrun starts them: on one machine or on many, over gloo."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from ..bundle.errors import ConfigError

SILENT = timedelta(minutes=30)  # without a word from another process: longer than rank 0 takes to judge ImageNet's val


@dataclass(frozen=True)
class Workers:
    """This process among `count` of them; the first one writes and judges."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def part(self, size: int) -> slice:
        """What this process takes of `size` images."""
        share = size // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def require_shares(self, batch: int, passes: int) -> None:
        """Raises ConfigError unless every process gets as many images in every pass: means of means must be the mean."""
        if batch % (passes * self.count):
            raise ConfigError(f"a batch of {batch} cannot be shared by {self.count} processes in {passes} passes each")

    def mean(self, value: float) -> float:
        """Of all processes' values."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total)
        return float(total / self.count)

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def join_workers() -> Iterator[Workers]:
    """The processes that torchrun started, or this one alone. Raises ConfigError for another's environment."""
    count = os.environ.get("WORLD_SIZE", "1")
    if not count.isdecimal() or count == "1":
        yield Workers()
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise ConfigError(f"WORLD_SIZE is {count}, but {', '.join(missing)} not set: start with torchrun")
    dist.init_process_group("gloo", timeout=SILENT)
    try:
        yield Workers(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
