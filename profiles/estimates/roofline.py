"""How fast could it be at best on a board that is not here? A roofline bound on latency, and what energy that would be.

time >= max(2 * MACs / the GPU's peak, bytes / the memory's bandwidth), for each stage. A bound from below, not a forecast:
launches, norms, softmax, activations that leave the caches, and the CPU come on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...bundle.errors import UsageError
from ...bundle.precision import Precision, row_of
from ...model.cost import DERIVED_EXIT_RATE, ModelCost, StageCost
from ..results.break_even import BreakEven, break_even
from .boards import Board, Mode

SPEED = {
    "fp32": "Every multiply-add runs on the CUDA cores: our plans are built with TF32 off.",
    "fp16": "Every multiply-add runs in FP16 on the tensor cores, the head's too, which are really FP32.",
    "int8": "Every multiply-add runs in INT8. Really only the linear layers do; the rest is FP32 and many times slower.",
    "int8fp16": "Every multiply-add runs in INT8. Really only the linear layers do; attention's products are FP16.",
}


@dataclass(frozen=True)
class StageEstimate:
    """The two sides of one pass over a batch, in ms: arithmetic, and DRAM traffic."""

    compute_ms: float
    memory_ms: float
    batch: int
    fits_l2: bool  # the weights fit the GPU's cache: a pass that follows on another may find them there

    @property
    def image_ms(self) -> float:
        """The bound for one image of the batch."""
        return max(self.compute_ms, self.memory_ms) / self.batch

    @property
    def bound_by(self) -> str:
        return "compute" if self.compute_ms >= self.memory_ms else "memory"


@dataclass(frozen=True)
class Estimate:
    """Bounds for one image at this exit rate (in [0, 1]); `*_mj` is the bound times the mode's nominal watts: no bound."""

    board: Board
    mode: Mode
    precision: Precision
    batch: int
    exit_rate: float
    ee: StageEstimate
    sac: StageEstimate
    plain: StageEstimate

    @property
    def chain_ms(self) -> float:
        return self.ee.image_ms + (1 - self.exit_rate) * self.sac.image_ms

    @property
    def pay_off(self) -> BreakEven | None:
        """The exit rate above which the chain's bound is below the plain ViT's, and what is gained at this one.

        None for a model of which a stage costs nothing.
        """
        full = self.ee.image_ms + self.sac.image_ms
        return break_even(self.ee.image_ms, full, self.plain.image_ms, self.exit_rate)

    def energy_mj(self, latency_ms: float) -> float | None:
        """Energy of this time at the mode's nominal budget; None where no source states the budget."""
        return None if self.mode.budget_w is None else latency_ms * self.mode.budget_w

    @property
    def rows(self) -> dict[str, tuple[float, StageEstimate | None]]:
        """ms an image of each stage and of the chain, which is no stage."""
        return {
            "EE": (self.ee.image_ms, self.ee),
            "SAC": (self.sac.image_ms, self.sac),
            "chain": (self.chain_ms, None),
            "plain": (self.plain.image_ms, self.plain),
        }

    def to_json(self) -> dict[str, Any]:
        """What `estimate_lines` prints, for machines."""
        rows: dict[str, dict[str, Any]] = {}
        for name, (latency_ms, stage) in self.rows.items():
            rows[name] = {"latency_ms_at_least": latency_ms, "energy_mj_at_budget": self.energy_mj(latency_ms)}
            if stage is not None:
                rows[name] |= {
                    "bound_by": stage.bound_by,
                    "compute_ms": stage.compute_ms / self.batch,
                    "memory_ms": stage.memory_ms / self.batch,
                    "fits_l2": stage.fits_l2,
                }
        return {
            "kind": "estimate",
            "board": self.board.name,
            "mode": self.mode.name,
            "precision": self.precision,
            "batch": self.batch,
            "exit_rate": self.exit_rate,
            "exit_rate_source": " ".join(line.strip() for line in _exit_rate_lines(self)) or None,
            "peak_tops": peak_tops(self.board, self.mode, self.precision),
            "memory_gb_s": self.mode.memory_gb_s,
            "budget_w": self.mode.budget_w,
            "source": self.mode.source,
            "per_image": rows,
            "break_even_exit_rate": self.pay_off and self.pay_off.exit_rate,
            "speedup_of_bounds": self.pay_off and self.pay_off.gain,
        }


def peak_tops(board: Board, mode: Mode, precision: Precision) -> float:
    """10^12 operations per second, two for a multiply-add, of the unit that this precision's products run on at best."""
    gpu = board.gpu
    ops = {"fp32": gpu.fp32_ops, "fp16": gpu.fp16_ops, "int8": gpu.int8_ops}[row_of(precision).units]
    return mode.tera_ops(ops)


def estimate_stage(cost: StageCost, board: Board, mode: Mode, precision: Precision, batch: int) -> StageEstimate:
    """Both sides of one pass over `batch` images: weights are read once, image, hand-off and answers for each image."""
    weight_bytes = cost.weight_bytes * row_of(precision).weight_bytes / row_of("fp32").weight_bytes
    moved_bytes = weight_bytes + batch * (cost.input_bytes + cost.output_bytes)
    return StageEstimate(
        compute_ms=2 * cost.macs * batch / (peak_tops(board, mode, precision) * 1e9),
        memory_ms=moved_bytes / (mode.memory_gb_s * 1e6),
        batch=batch,
        fits_l2=board.l2_mib is not None and weight_bytes <= board.l2_mib * 2**20,
    )


def estimate(cost: ModelCost, board: Board, mode: Mode, precision: Precision, batch: int, exit_rate: float) -> Estimate:
    """The bounds of both stages, the chain and the plain ViT of this geometry. Raises UsageError for what cannot be."""
    row_of(precision)  # raises for a name that no row has
    if batch < 1:
        raise UsageError(f"a batch holds at least 1 image, found {batch}")
    if not 0 <= exit_rate <= 1:
        raise UsageError(
            f"an exit rate lies in [0, 1], found {exit_rate}: it is the share of images that stop after EE"
        )
    if mode not in board.modes:
        raise UsageError(f"{mode.name} is no mode of {board.name}; known: {', '.join(m.name for m in board.modes)}")
    ee, sac, plain = (estimate_stage(part, board, mode, precision, batch) for part in (cost.ee, cost.sac, cost.plain))
    return Estimate(board, mode, precision, batch, exit_rate, ee, sac, plain)


def pay_off_line(found: Estimate) -> str:
    """What the bounds say of the two stages against the plain ViT."""
    if found.pay_off is None:
        return "There is no break-even: a stage costs nothing."
    needed, gain = found.pay_off.exit_rate, found.pay_off.gain
    if needed > 1:
        return "By these bounds the chain is slower than the plain ViT at every exit rate."
    if needed <= 0:
        return f"By these bounds the chain is faster than the plain ViT at every exit rate; here {gain:.2f} times."
    return (
        f"By these bounds the chain pays off above an exit rate of {needed:.1%}; at {found.exit_rate:.1%} it is"
        f" {gain:.2f} times as fast."
    )


def assumption_lines(found: Estimate) -> list[str]:
    """Everything that was taken for granted, most of it in the board's favour."""
    lines = [
        SPEED[found.precision],
        f"Weights have {8 * row_of(found.precision).weight_bytes} bits each and cross the memory bus once per pass;"
        " image, hand-off and answers",
        "  once an image, the last two in FP32 whatever the precision. Nothing else touches the memory.",
        "The GPU works at its dense peak, without DLA and sparsity; nothing else uses the memory.",
        *_exit_rate_lines(found),
        "The chain is EE + (1 - exit rate) x SAC; at batches above 1, SAC's passes are as full as EE's.",
        "Break-even and speed-up compare two bounds: a hint, and no bound.",
    ]
    if any(stage is not None and stage.fits_l2 for _, stage in found.rows.values()):
        lines += [
            f"Weights fit the GPU's {found.board.l2_mib:g} MiB cache: passes one after another may beat the memory side;",
            "  then only the compute side is a bound.",
        ]
    if found.mode.budget_w is None:
        lines.append("No energy: no source states the nominal power of this mode.")
    else:
        lines += [
            f"Energy is the time above x the mode's nominal {found.mode.budget_w:g} W, and no bound: modes cap clocks, not"
            " watts.",
            "  Modules often draw less (an Orin NX in 25W drew 17 W), and the real time is longer.",
        ]
    return lines


def _exit_rate_lines(found: Estimate) -> list[str]:
    if found.exit_rate != DERIVED_EXIT_RATE:
        return []
    return [
        f"The exit rate of {found.exit_rate:.0%} is derived: at this rate our count of MACs gives the 62 % saving that",
        "  arXiv 2503.00060 reports for DeiT-S. The paper does not state its exit rate. Yours depends on your images.",
    ]


def estimate_lines(found: Estimate) -> list[str]:
    """The text for a terminal, at most 110 columns."""
    mode, unit = found.mode, "TOPS" if row_of(found.precision).units == "int8" else "TFLOPS"
    others = [other.name for other in found.board.modes if other is not mode]
    peak = peak_tops(found.board, mode, found.precision)
    watts = "" if mode.budget_w is None else f", nominally {mode.budget_w:g} W"
    lines = [
        f"ESTIMATE, nothing was measured: {found.board.name} in mode {mode.name}, {found.precision}, batch {found.batch}",
        f"{found.board.module}: {mode.sms} SMs at {mode.gpu_mhz:g} MHz = {peak:.1f} {unit},"
        f" memory {mode.memory_gb_s:.1f} GB/s{watts}",
        *([f"Other modes: {', '.join(others)}"] if others else []),
        "",
        "No run can take less time than this; real ones take more.",
        f"{'':<22}{'ms/image >=':>12}{'compute':>11}{'memory':>10}  {'limit':<9}{'mJ/image':>9}",
    ]
    names = {"EE": "EE", "SAC": "SAC", "chain": f"chain, {found.exit_rate:.1%} exit", "plain": "plain ViT"}
    for name, (latency_ms, stage) in found.rows.items():
        energy_mj = found.energy_mj(latency_ms)
        energy = f"{'-' if energy_mj is None else f'{energy_mj:.2f}':>9}"
        sides = " " * 21 + f"  {'':<9}"
        if stage is not None:
            compute_ms, memory_ms = stage.compute_ms / found.batch, stage.memory_ms / found.batch
            sides = f"{compute_ms:>11.3f}{memory_ms:>10.3f}  {stage.bound_by:<9}"
        lines.append(f"{names[name]:<22}{latency_ms:>12.3f}{sides}{energy}")
    return [
        *lines,
        "",
        pay_off_line(found),
        "",
        "Assumed:",
        *(line if line.startswith("  ") else f"- {line}" for line in assumption_lines(found)),
        "",
        f"To measure instead, run on the board, in mode {mode.name}:",
        "  sacvit-profile --engine ee.plan sac.plan",
    ]
