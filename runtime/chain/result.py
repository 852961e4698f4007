"""What the chain answers for one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...bundle.errors import UsageError

RANKED = 5  # classes that `pipeline(images)` ranks unless it is asked for another number
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, repr=False)
class Choice:
    """A class and its probability by the stage that answered."""

    index: int
    label: str
    probability: float

    def __repr__(self) -> str:
        return f"{self.label!r} {100 * self.probability:.1f} %"


@dataclass(frozen=True, repr=False)
class Result:
    """The chain's answer for one image.

    degraded: EE answered without being sure, because SAC would have missed a deadline. agreed: of an exit that SAC answered
    too, for the record: whether it gave the same class. ee_ms and sac_ms are the wall time of the passes that the image took
    part in, shared by its whole batch; sac_ms is None for an image that exited. ranked: the most probable classes, in results
    of `pipeline(images)`; see `top`. logits: (C,) of the stage that answered, in results of `pipeline(images, logits=True)`.
    """

    index: int  # of the class
    label: str
    probability: float  # of the label, by the stage that answered
    stage: Literal["EE", "SAC"]
    confidence: float  # EE's largest softmax probability: what the gate saw
    target_blocks: tuple[int, ...]  # row-major on the coarse grid, most attended first
    ee_ms: float
    sac_ms: float | None
    degraded: bool = False
    agreed: bool | None = None
    ranked: tuple[Choice, ...] = field(default=(), compare=False)
    logits: Logits | None = field(default=None, compare=False)

    @property
    def exits_early(self) -> bool:
        return self.stage == "EE"

    def top(self, count: int = RANKED) -> list[Choice]:
        """The `count` most probable classes, the answer first; all of them where the model has fewer than RANKED.

        Raises UsageError for more classes than the pipeline was asked to rank.
        """
        if count < 1 or (count > len(self.ranked) and not 0 < len(self.ranked) < RANKED):
            raise UsageError(
                f"top({count}): this result ranks {len(self.ranked)} classes. pipeline(image, top={max(count, 1)}) ranks as"
                f" many, or all that the model has"
            )
        return list(self.ranked[:count])

    def __repr__(self) -> str:
        shares = f"{self.label!r} {100 * self.probability:.1f} %"
        if self.sac_ms is None or self.stage == "EE":
            return f"Result({shares}, exit after EE{' at a deadline' * self.degraded}, {self.ee_ms:.2f} ms)"
        return (
            f"Result({shares}, SAC after EE at {100 * self.confidence:.1f} %, {self.ee_ms:.2f} + {self.sac_ms:.2f} ms)"
        )


def rank(
    result: Result, logits: Logits, temperature: float, labels: Sequence[str] | None, count: int, keep: bool
) -> Result:
    """The result with its `count` most probable classes, and with a copy of its logits (C,) where they are to be kept.

    temperature: what these logits are divided by before the softmax.
    """
    least = np.partition(logits, -count)[-count] if count < len(logits) else -np.inf
    order = np.flatnonzero(logits >= least)
    order = order[np.argsort(-logits[order], kind="stable")][
        :count
    ]  # equal ones: the lower index first, as argmax takes it
    powers = np.exp((logits - logits[order[0]]).astype(np.float64) / temperature)
    shares = powers[order] / powers.sum()
    shares[0] = result.probability  # an engine's own confidence may differ from this one in its last digits
    ranked = tuple(
        Choice(index, labels[index] if labels else str(index), share)
        for index, share in zip(order.tolist(), shares.tolist(), strict=True)
    )
    return replace(result, ranked=ranked, logits=logits.copy() if keep else None)
