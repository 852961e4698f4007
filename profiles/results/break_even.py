"""The break-even: the exit rate above which the chain costs less than the plain ViT of its geometry."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class BreakEven:
    """Costs of an image in one unit. exit_rate: p*. If it is 0 or less, the chain always costs less; above 1, never.

    margin: the measured exit rate minus p*. gain: the plain ViT's cost over the chain's, both measured.
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
    """The break-even from the costs of an image that exits, of one on the full path, and of the plain ViT.

    chain_cost: the measured cost per image at the exit rate; without one, it follows from the others.

    p* = (C_EE + C_SAC - C_plain) / C_SAC. None when SAC costs nothing, which cannot be a valid measurement.
    """
    sac = full_cost - exit_cost
    if sac <= 0 or exit_cost <= 0 or plain_cost <= 0:
        return None
    needed = (full_cost - plain_cost) / sac
    chain = exit_cost + (1 - exit_rate) * sac if chain_cost is None else chain_cost
    return BreakEven(exit_cost, sac, plain_cost, needed, exit_rate, exit_rate - needed, plain_cost / chain)
