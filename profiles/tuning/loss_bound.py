"""An upper bound for the loss on new images: Tango's score bound, and a sequence of tests.

A gate loses against SAC-always where an exit is wrong and SAC would have been right, and wins where it is the other way
round: a paired difference of shares. Its bound is the score bound of Tango (Statistics in Medicine 17, 1998, 891-908). The
normal bound is useless where nothing was lost, since it is 0 there; a bootstrap has the same flaw and needs hundreds of passes
per eta. Without a loss among n images the score bound is z^2 / (n + z^2).

Choosing the best of many thresholds would favour those that look good by chance. So they are tested in an order that is fixed
beforehand, starting without exits, up to the first that fails: a wrong result requires that the first eta that loses too much
passes its own test, which happens in at most 1 - CONFIDENCE of all cases (fixed-sequence testing; for gates like this one:
Angelopoulos et al., Learn then Test, arXiv 2110.01052).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95  # one-sided
Z = 1.6448536269514722  # its quantile of the normal distribution
HALVINGS = 50  # of an interval of 2: to 2e-15

Counts = npt.NDArray[np.int64]


def score(lost: Counts, won: Counts, images: int, loss: float) -> npt.NDArray[np.float64]:
    """By how many standard deviations the counts lie below those expected for a true loss in (-1, 1); lost, won: (K,)."""
    gap = lost - won
    linear = (2 * images - gap) * loss - lost - won
    constant = -won * loss * (1 - loss)
    # The most likely share of wins at this loss; clipped, since rounding may push it out of its range.
    root = np.sqrt(np.maximum(linear**2 - 8 * images * constant, 0.0))
    share = np.maximum((root - linear) / (4 * images), max(0.0, -loss))
    spread = np.sqrt(images * (2 * share + loss * (1 - loss)))
    return np.asarray((images * loss - gap) / spread, np.float64)


def z_of(tests: int) -> float:
    """The quantile for each of so many tests, so that all of them together keep CONFIDENCE (Bonferroni)."""
    return Z if tests == 1 else NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / tests)


def leading_promises(lost: Counts, won: Counts, images: int, loss: float, tests: int = 1) -> int:
    """The number of places, up to the first that fails, that keep a loss of at most `loss` in [0, 1) on new images, with
    CONFIDENCE. tests: how many such sequences the choice is made among."""
    if loss <= 0 or not images:
        return 0
    fails = score(lost, won, images, loss) < z_of(tests)
    return int(np.argmax(fails)) if fails.any() else len(fails)


def loss_bound(lost: int, won: int, images: int, tests: int = 1) -> float:
    """The loss in [-1, 1] that new images exceed in at most 1 - CONFIDENCE of all cases: where the score is `z_of(tests)`."""
    if lost == images:
        return 1.0
    counts = np.array([lost]), np.array([won])
    low, high = (lost - won) / images, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if score(*counts, images, middle)[0] >= z_of(tests) else (middle, high)
    return high


def images_needed(loss: float, tests: int = 1) -> int:
    """The number of images from which on a loss of at most `loss` can be promised where no image is lost."""
    return math.ceil(z_of(tests) ** 2 * (1 - loss) / loss)
