"""Peak rates of Jetson modules and graphics cards: dense arithmetic, launches and memory, from boards.json.

A mode limits clocks (and on some modules the number of SMs), never watts. DLA and 2:4 sparsity are left out: these models use
neither. Modes without a published GPU clock are not in the table. Sources were read in public copies and quotations.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ...bundle.errors import UsageError, nearest

TABLE = Path(__file__).with_name("boards.json")
Text = Annotated[str, Meta(min_length=1)]
Number = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(gt=0)]


class Gpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Operations per SM and clock, a multiply-add being two: dense tensor cores, for FP32 CUDA cores.

    FP16 and FP8 with sums in FP16, where a GPU is faster so. bf16_ops, fp8_ops: None where the GPU has none, or no source
    states them. launch_us: the least that a kernel takes in a replayed CUDA graph, however little it does.
    """

    name: Text
    int8_ops: Count
    fp16_ops: Count
    fp32_ops: Count
    source: Text
    launch_us: Number
    launch_source: Text
    bf16_ops: Count | None = None
    fp8_ops: Count | None = None


class Mode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One power mode: SMs that are on, clock caps in MHz, the width of the memory bus, nominal watts of the module.

    budget_w: for a MAXN mode, which limits nothing, the module's published maximum; None where none is published.
    """

    name: Text
    sms: Count
    gpu_mhz: Number
    memory_mhz: Number  # the memory moves two bits per pin and clock
    bus_bits: Count
    source: Text
    budget_w: Number | None = None

    @property
    def memory_gb_s(self) -> float:
        return 2 * self.memory_mhz * self.bus_bits / 8 / 1e3

    def tera_ops(self, ops: int) -> float:
        """10^12 operations per second of a GPU that does `ops` of them per SM and clock."""
        return self.sms * ops * self.gpu_mhz / 1e6


class Board(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A module and its modes, fastest first: a bound for the first one holds in every mode. l2_mib: cache of the GPU."""

    name: Text
    module: Text
    gpu: Gpu
    modes: Annotated[tuple[Mode, ...], Meta(min_length=1)]
    l2_mib: Number | None = None
    l2_source: str = ""

    def __post_init__(self) -> None:
        if (self.l2_mib is None) != (self.l2_source == ""):
            raise ValueError("l2_mib and l2_source belong together")
        first = self.modes[0]
        for mode in self.modes:
            if mode.tera_ops(1) > first.tera_ops(1) or mode.memory_gb_s > first.memory_gb_s:
                raise ValueError(f"{mode.name} is faster than {first.name}; the fastest mode comes first")

    def mode(self, name: str | None = None) -> Mode:
        """The mode of this name, as nvpmodel spells it; the fastest one for None. Raises UsageError."""
        if name is None:
            return self.modes[0]
        for mode in self.modes:
            if mode.name == name.upper():
                return mode
        known = [mode.name for mode in self.modes]
        raise UsageError(f"{self.name} has no mode {name!r}{nearest(name.upper(), known)}; known: {', '.join(known)}")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    gpus: list[Gpu]
    boards: list[dict[str, Any]]


@cache
def load_boards(path: Path = TABLE) -> dict[str, Board]:
    """The modules of the table by name. Raises ValueError with the place of an error in the table."""
    content = msgspec.json.decode(path.read_bytes(), type=_File)
    gpus = {gpu.name: msgspec.to_builtins(gpu) for gpu in content.gpus}
    for place, record in enumerate(content.boards):
        if record.get("gpu") not in gpus:
            raise ValueError(f"boards[{place}].gpu: expected one of {', '.join(gpus)}, found {record.get('gpu')!r}")
        record["gpu"] = gpus[record["gpu"]]  # a board names its GPU, which several share
    boards = msgspec.convert(content.boards, list[Board])
    if len({board.name for board in boards}) < len(boards):
        raise ValueError("boards: two records have one name")
    return {board.name: board for board in boards}


def find_board(name: str) -> Board:
    """The module of this name. Raises UsageError that lists the known ones."""
    boards = load_boards()
    if name not in boards:
        raise UsageError(f"no board {name!r}{nearest(name, boards)}; known: {', '.join(boards)}")
    return boards[name]
