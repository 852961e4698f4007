"""What the chain answers for one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ...bundle.errors import UsageError
from .cells import Cells

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


class Ranking(NamedTuple):
    """The data to rank the classes with on request. Most callers read the first answer only, so a pass does not rank."""

    logits: Logits  # (C,) of the stage that answered
    temperature: float
    labels: Sequence[str] | None
    most: int  # classes that were asked for

    def choices(self, count: int, first: float) -> list[Choice]:
        """The `count` most probable classes; of equal ones the lower index comes first, as in argmax.

        first: the answer's probability; the engine's value may differ from ours in the last digits.
        """
        logits = self.logits
        least = np.partition(logits, -count)[-count] if count < len(logits) else -np.inf
        order = np.flatnonzero(logits >= least)
        order = order[np.argsort(-logits[order], kind="stable")][:count]
        powers = np.exp((logits - logits[order[0]]).astype(np.float64) / self.temperature)
        shares = powers[order] / powers.sum()
        shares[0] = first
        return [
            Choice(index, self.labels[index] if self.labels else str(index), share)
            for index, share in zip(order.tolist(), shares.tolist(), strict=True)
        ]


@dataclass(frozen=True, repr=False)
class Result:
    """The chain's answer for one image.

    degraded: EE answered without being sure, because SAC would have missed a deadline. agreed: of an exit that SAC answered
    too: whether both gave the same class. ee_ms and sac_ms are the wall time of the passes that the image took part in, shared
    by its whole batch; sac_ms is None for an image that exited. ranking: what `top` ranks, in results of `pipeline(images)`.
    logits: (C,) of the stage that answered, in results of `pipeline(images, logits=True)`. cells: the answer of a dense task.
    There, index and label are those of most cells, confidence and probability those of the least sure cell, by EE and by the
    stage that answered; logits are (2G, 2G, C), and classes are not ranked.
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
    ranking: Ranking | None = field(default=None, compare=False)
    logits: Logits | None = field(default=None, compare=False)
    cells: Cells | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        """The answer in a few words: the label; of a dense task, which classes the cells have."""
        return self.label if self.cells is None else self.cells.text()

    @property
    def exits_early(self) -> bool:
        return self.stage == "EE"

    def top(self, count: int = RANKED) -> list[Choice]:
        """The `count` most probable classes, the answer first; all of them where the model has fewer than RANKED.

        Raises UsageError for more classes than the pipeline was asked to rank.
        """
        most = 0 if self.ranking is None else min(self.ranking.most, len(self.ranking.logits))
        if self.ranking is None or count < 1 or (count > most >= RANKED):
            raise UsageError(
                f"top({count}): this result ranks {most} classes. pipeline(image, top={max(count, 1)}) ranks as many, or all"
                f" that the model has"
            )
        return self.ranking.choices(min(count, most), self.probability)

    def __repr__(self) -> str:
        shares = f"{self.label!r} {100 * self.probability:.1f} %"
        if self.cells is not None:
            shares = f"{self.text!r} in {len(self.cells.classes)} x {len(self.cells.classes)} cells"
        if self.sac_ms is None or self.stage == "EE":
            return f"Result({shares}, exit after EE{' at a deadline' * self.degraded}, {self.ee_ms:.2f} ms)"
        return (
            f"Result({shares}, SAC after EE at {100 * self.confidence:.1f} %, {self.ee_ms:.2f} + {self.sac_ms:.2f} ms)"
        )


def rank(
    result: Result, logits: Logits, temperature: float, labels: Sequence[str] | None, count: int, keep: bool
) -> Result:
    """The result with a ranking of its `count` most probable classes and, if `keep`, its logits (C,).

    temperature: what these logits are divided by before the softmax. The logits are copied: the next pass overwrites them.
    """
    own = logits.copy()
    ranking = Ranking(own, temperature, labels, count) if result.cells is None else None
    return replace(result, ranking=ranking, logits=own if keep else None)
