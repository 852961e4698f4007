"""A roofline bound on latency for a board that is not here, and the energy that it implies.

time >= max(2 * MACs / the GPU's peak, bytes / the memory's bandwidth, kernels * the least time of a kernel), for each stage. It
is a lower bound, not a forecast: norms, softmax, activations that leave the caches, and the CPU come on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...bundle.errors import UsageError
from ...bundle.precision import Precision, file_name, row_of
from ...model.cost import DERIVED_EXIT_RATE, ModelCost, StageCost
from ..results.break_even import BreakEven, break_even
from .boards import Board, Mode

BATCHES = (1, 4, 8, 16)  # images per pass, or cameras that share a pass


@dataclass(frozen=True)
class StageEstimate:
    """The three lower bounds of one pass over a batch, in ms: arithmetic, DRAM traffic, launches (0 where they were not
    counted)."""

    compute_ms: float
    memory_ms: float
    launch_ms: float
    batch: int
    fits_l2: bool  # the weights fit into the GPU's cache, where a following pass may find them

    @property
    def image_ms(self) -> float:
        """The bound for one image of the batch."""
        return max(self.compute_ms, self.memory_ms, self.launch_ms) / self.batch

    @property
    def bound_by(self) -> str:
        sides = {"compute": self.compute_ms, "memory": self.memory_ms, "launches": self.launch_ms}
        return max(sides, key=lambda side: sides[side])


@dataclass(frozen=True)
class Estimate:
    """Bounds for one image at this exit rate (in [0, 1]); `*_mj` is that bound times the mode's nominal watts, which is not a
    bound.

    kernels: of one pass, by stage; None where they were not counted.
    """

    cost: ModelCost
    kernels: Mapping[str, int] | None
    board: Board
    mode: Mode
    precision: Precision
    batch: int
    exit_rate: float
    ee: StageEstimate
    sac: StageEstimate
    plain: StageEstimate

    def at(self, batch: int) -> Estimate:
        """The same with other images per pass."""
        return estimate(self.cost, self.board, self.mode, self.precision, batch, self.exit_rate, self.kernels)

    @property
    def chain_ms(self) -> float:
        return self.ee.image_ms + (1 - self.exit_rate) * self.sac.image_ms

    @property
    def pay_off(self) -> BreakEven | None:
        """The exit rate above which the chain's bound is below the plain ViT's, and the gain at this one.

        None for a model in which a stage costs nothing.
        """
        full = self.ee.image_ms + self.sac.image_ms
        return break_even(self.ee.image_ms, full, self.plain.image_ms, self.exit_rate)

    def energy_mj(self, latency_ms: float) -> float | None:
        """Energy of this time at the mode's nominal budget; None where no source states the budget."""
        return None if self.mode.budget_w is None else latency_ms * self.mode.budget_w

    @property
    def rows(self) -> dict[str, tuple[float, StageEstimate | None]]:
        """ms per image of each stage, and of the chain."""
        return {
            "EE": (self.ee.image_ms, self.ee),
            "SAC": (self.sac.image_ms, self.sac),
            "chain": (self.chain_ms, None),
            "plain": (self.plain.image_ms, self.plain),
        }

    def to_json(self) -> dict[str, Any]:
        """The content of `estimate_lines` as JSON, for programs."""
        rows: dict[str, dict[str, Any]] = {}
        for name, (latency_ms, stage) in self.rows.items():
            rows[name] = {"latency_ms_at_least": latency_ms, "energy_mj_at_budget": self.energy_mj(latency_ms)}
            if stage is not None:
                rows[name] |= {
                    "bound_by": stage.bound_by,
                    "compute_ms": stage.compute_ms / self.batch,
                    "memory_ms": stage.memory_ms / self.batch,
                    "launch_ms": stage.launch_ms / self.batch if self.kernels else None,
                    "fits_l2": stage.fits_l2,
                }
        return {
            "kind": "estimate",
            "board": self.board.name,
            "mode": self.mode.name,
            "precision": self.precision,
            "batch": self.batch,
            "exit_rate": self.exit_rate,
            "exit_rate_source": " ".join(line.strip() for line in exit_rate_lines(self)) or None,
            "peak_tops": peak_tops(self.board, self.mode, self.precision),
            "memory_gb_s": self.mode.memory_gb_s,
            "budget_w": self.mode.budget_w,
            "source": self.mode.source,
            "per_image": rows,
            "break_even_exit_rate": self.pay_off and self.pay_off.exit_rate,
            "speedup_of_bounds": self.pay_off and self.pay_off.gain,
            "kernels": self.kernels and dict(self.kernels),
            "speedup_of_bounds_by_batch": {str(batch): gain for batch, gain in gains(self).items()},
        }


def peak_tops(board: Board, mode: Mode, precision: Precision) -> float:
    """10^12 operations per second, two for a multiply-add, of the unit that this precision's products run on at best.

    Raises UsageError where no source states what the GPU does in this precision.
    """
    units = row_of(precision).units
    ops = getattr(board.gpu, f"{units}_ops")
    if ops is None:
        raise UsageError(
            f"no source states how fast {board.name} is in {units.upper()}, if at all. Give the files of another precision"
        )
    return mode.tera_ops(ops)


def estimate_stage(
    cost: StageCost, board: Board, mode: Mode, precision: Precision, batch: int, kernels: int = 0
) -> StageEstimate:
    """The lower bounds of one pass over `batch` images. Weights are read once; image, hand-off and answers once per image."""
    weight_bytes = cost.weight_bytes * row_of(precision).weight_bytes / row_of("fp32").weight_bytes
    moved_bytes = weight_bytes + batch * (cost.input_bytes + cost.output_bytes)
    return StageEstimate(
        compute_ms=2 * cost.macs * batch / (peak_tops(board, mode, precision) * 1e9),
        memory_ms=moved_bytes / (mode.memory_gb_s * 1e6),
        launch_ms=kernels * board.gpu.launch_us / 1e3,
        batch=batch,
        fits_l2=board.l2_mib is not None and weight_bytes <= board.l2_mib * 2**20,
    )


def estimate(
    cost: ModelCost,
    board: Board,
    mode: Mode,
    precision: Precision,
    batch: int,
    exit_rate: float,
    kernels: Mapping[str, int] | None = None,
) -> Estimate:
    """The bounds of both stages, the chain and the plain ViT of this geometry. Raises UsageError for values out of range.
    kernels: of one pass of "EE", "SAC" and "plain", as a compiler counted them (`kernels_of`).
    """
    row_of(precision)  # raises for an unknown name
    if batch < 1:
        raise UsageError(f"a batch holds at least 1 image, found {batch}")
    if not 0 <= exit_rate <= 1:
        raise UsageError(
            f"an exit rate lies in [0, 1], found {exit_rate}: it is the share of images that stop after EE"
        )
    if mode not in board.modes:
        raise UsageError(f"{mode.name} is no mode of {board.name}; known: {', '.join(m.name for m in board.modes)}")
    ee, sac, plain = (
        estimate_stage(part, board, mode, precision, batch, kernels[stage] if kernels else 0)
        for stage, part in (("EE", cost.ee), ("SAC", cost.sac), ("plain", cost.plain))
    )
    return Estimate(cost, kernels, board, mode, precision, batch, exit_rate, ee, sac, plain)


def kernels_of(compiled: Iterable[Mapping[str, Any]], precision: Precision) -> dict[str, int] | None:
    """The fewest kernels of a stage on any target, from a manifest's `compiled`; None unless all three stages were built."""
    found: dict[str, int] = {}
    for one in compiled:
        for stage in ("EE", "SAC", "plain"):
            if one.get("file") == file_name(stage, precision) and not one.get("refusal"):
                found[stage] = min(one["launches"], found.get(stage, one["launches"]))
    return found if len(found) == len(("EE", "SAC", "plain")) else None


def gains(found: Estimate) -> dict[int, float]:
    """The ratio of the plain ViT's bound to the chain's, by images per pass."""
    pay_offs = {batch: found.at(batch).pay_off for batch in BATCHES}
    return {batch: pay_off.gain for batch, pay_off in pay_offs.items() if pay_off is not None}


def exit_rate_lines(found: Estimate) -> list[str]:
    """The source of the exit rate, if it is the default and not measured."""
    if found.exit_rate != DERIVED_EXIT_RATE:
        return []
    return [
        f"The exit rate of {found.exit_rate:.0%} is derived: at this rate our count of MACs gives the 62 % saving that",
        "  arXiv 2503.00060 reports for DeiT-S. The paper does not state its exit rate. Yours depends on your images.",
    ]
