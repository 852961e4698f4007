"""When do two stages pay off? The share of exits above which the chain costs less than the plain ViT of its geometry."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class BreakEven:
    """Costs of an image in one unit. exit_rate: p*; 0 or less: the chain always wins, above 1: never.

    margin: the exit rate that was measured, less p*. gain: the plain ViT's cost over the chain's, both measured.
    """

    ee: float
    sac: float
    plain: float
    exit_rate: float
    measured_exit_rate: float
    margin: float
    gain: float

    def to_dict(self) -> dict[str, float]:
        return {name: round(value, 6) for name, value in asdict(self).items()}


def break_even(
    exit_cost: float, full_cost: float, plain_cost: float, exit_rate: float, chain_cost: float | None = None
) -> BreakEven | None:
    """From the cost of an image that exits, of one that goes the whole way, and of the plain ViT.

    chain_cost: what an image cost at the exit rate; without one, what the others make it.

    p* = (C_EE + C_SAC - C_plain) / C_SAC. None when SAC costs nothing, which no measurement of it can mean.
    """
    sac = full_cost - exit_cost
    if sac <= 0 or exit_cost <= 0 or plain_cost <= 0:
        return None
    needed = (full_cost - plain_cost) / sac
    chain = exit_cost + (1 - exit_rate) * sac if chain_cost is None else chain_cost
    return BreakEven(exit_cost, sac, plain_cost, needed, exit_rate, exit_rate - needed, plain_cost / chain)
