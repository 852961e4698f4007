"""Processes that train one model together, as torchrun starts them: on one machine or many, over NCCL or gloo."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from ..bundle.errors import ConfigError, DeviceError, SacvitError

T = TypeVar("T")
CPU = torch.device("cpu")
SILENT = timedelta(minutes=30)  # for another process to answer: longer than rank 0 needs to evaluate ImageNet's val


@dataclass(frozen=True)
class Workers:
    """This process among `count` of them, and where it computes; the first one writes and judges."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def part(self, size: int) -> slice:
        """This process's part of `size` images."""
        share = size // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def require_shares(self, batch: int, passes: int, pairs: bool) -> None:
        """Raises ConfigError unless every process gets as many images in every pass, so that the mean of means is the mean.

        pairs: images are mixed two by two, so that each process needs an even number of them.
        """
        if batch % (passes * self.count):
            raise ConfigError(f"a batch of {batch} cannot be shared by {self.count} processes in {passes} passes each")
        if pairs and batch // self.count % 2:
            raise ConfigError(
                f"mixup and cutmix take pairs: a batch of {batch} gives {batch // self.count} images to each process"
            )

    def mean(self, value: float) -> float:
        """The mean of all processes' values."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total / self.count)

    def wait(self) -> None:
        """Waits for all processes."""
        if self.count > 1:
            dist.barrier()

    def gather(self, value: T) -> list[T]:
        """Every process's value, by rank."""
        told: list[Any] = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(told, value)
        return told

    def require_same(self, run: dict[str, Any]) -> None:
        """Raises ConfigError unless every process has the same entries: otherwise they would train differently, or wait for
        each other forever."""
        for rank, other in enumerate(self.gather(run)):
            for key, value in run.items():
                if other[key] != value:
                    raise ConfigError(
                        f"processes {self.rank} and {rank} differ in {key}: {value}, and {other[key]}. Every machine"
                        f" needs the same options, --data and --out"
                    )


@contextmanager
def join_workers(device: str = "auto") -> Iterator[Workers]:
    """The processes that torchrun started, or this one alone. device: auto, cpu or cuda.

    Raises ConfigError for an environment that torchrun did not make, DeviceError without the requested GPU, and SacvitError
    when another process has ended.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    local = os.environ.get("LOCAL_RANK", "0")
    place = choose_device(device, int(local) if local.isdecimal() else 0)
    if not count.isdecimal() or count == "1":
        with told_memory():
            yield Workers(device=place)
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise ConfigError(f"WORLD_SIZE is {count}, but {', '.join(missing)} not set: start with torchrun")
    try:
        if place.type == "cuda":
            torch.cuda.set_device(place)
            dist.init_process_group("nccl", timeout=SILENT, device_id=place)
        else:
            dist.init_process_group("gloo", timeout=SILENT)
    except (RuntimeError, ValueError) as reason:
        meeting = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        first = str(reason).splitlines()[0]
        raise SacvitError(
            f"process {os.environ['RANK']} of {count} cannot meet the others at {meeting}: {first}"
        ) from None
    rank = dist.get_rank()
    try:
        with told_memory():
            yield Workers(rank, dist.get_world_size(), place)
    except RuntimeError as reason:
        if not is_of_another(reason):
            raise
        first = str(reason).splitlines()[0]
        raise SacvitError(
            f"process {rank} of {count} lost another one: {first}. Its own message gives the reason, unless it was killed;"
            f" the same command with --resume goes on from the last save"
        ) from None
    finally:
        dist.destroy_process_group()


@contextmanager
def told_memory() -> Iterator[None]:
    """Turns an error of a GPU with too little memory into a message with its cure."""
    try:
        yield
    except torch.OutOfMemoryError as reason:
        first = str(reason).splitlines()[0]
        raise SacvitError(f"{first} --accumulate splits a step's images into passes; --batch takes fewer") from None


def is_of_another(reason: RuntimeError) -> bool:
    """Whether an error of torch concerns another process: gloo raises plain RuntimeErrors, NCCL its own."""
    return isinstance(reason, dist.DistError) or any(word in str(reason) for word in ("gloo", "NCCL", "peer"))


def choose_device(name: str, local_rank: int) -> torch.device:
    """The GPU of this process among those of its machine, or the CPU. Raises DeviceError."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError(
            "--device cuda: torch finds no GPU here. nvidia-smi shows whether the driver finds one; --device cpu"
        )
    if local_rank >= torch.cuda.device_count():
        raise DeviceError(
            f"process {local_rank} of this machine has no GPU: {torch.cuda.device_count()} are visible."
            f" Start with torchrun --nproc-per-node {torch.cuda.device_count()}"
        )
    return torch.device("cuda", local_rank)
