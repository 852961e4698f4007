"""What a loss that was counted promises: the bound by itself, and the rule that keeps to it on images that nobody saw."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sacvit.profiles.tuning.curve import Judged, cheapest_with, draw_curve, losing_at_most, promise_of, promising
from sacvit.profiles.tuning.loss_bound import Z, images_needed, leading_promises, loss_bound, score

# The bound


@pytest.mark.parametrize("images", [20, 539, 5000])
def test_without_a_loss_the_bound_is_that_of_the_formula(images):
    # 1e-12: halving an interval of 1 fifty times.
    assert loss_bound(0, 0, images) == pytest.approx(Z**2 / (images + Z**2), abs=1e-12)


@pytest.mark.parametrize(("lost", "won"), [(3, 0), (30, 12), (12, 30), (200, 200)])
def test_the_bound_is_where_the_likelihood_s_score_is_1_645(lost, won):
    """Tango's formula is a closed form of the likelihood's own score, whose nuisance parameter is found here by trying."""
    images = 1000
    bound = loss_bound(lost, won, images)
    wins = np.linspace(max(0, -bound), (1 - bound) / 2, 200_001)[1:-1]
    both = 1 - 2 * wins - bound
    likelihood = lost * np.log(wins + bound) + won * np.log(wins) + (images - lost - won) * np.log(both)
    win = wins[likelihood.argmax()]
    spread = math.sqrt(images * (2 * win + bound - bound**2))
    # 1e-3: the grid's step is 2e-6, and of three losses the likeliest share of wins is 0.
    assert (images * bound - lost + won) / spread == pytest.approx(Z, rel=1e-3)


def test_the_bound_lies_between_the_counted_loss_and_everything():
    for images in (1, 2, 7):
        for lost in range(images + 1):
            for won in range(images + 1 - lost):
                assert (lost - won) / images <= loss_bound(lost, won, images) <= 1


def test_with_many_images_the_bound_is_the_normal_one():
    # 1 %: what is left of the score's own terms at 100 000 images.
    lost, won, images = 3000, 1000, 100_000
    spread = math.sqrt((lost + won) / images - ((lost - won) / images) ** 2) / math.sqrt(images)
    assert loss_bound(lost, won, images) == pytest.approx(0.02 + Z * spread, rel=0.01)


@pytest.mark.parametrize(("won_share", "lost_share"), [(0.0, 0.005), (0.02, 0.03), (0.05, 0.02)])
def test_other_images_lose_more_than_the_bound_in_one_case_of_twenty(won_share, lost_share):
    """At most 8 %: of 2 000 cases the share scatters by 0.5 points, and counts are whole: near 0 a score bound gives 6.7."""
    rng, images = np.random.default_rng(0), 800
    counts = rng.multinomial(images, [lost_share, won_share, 1 - lost_share - won_share], 2000)
    # The score is Z at the bound, and above it further up.
    exceeded = score(counts[:, 0], counts[:, 1], images, lost_share - won_share) >= Z
    assert 0.02 < np.mean(exceeded) < 0.08


@pytest.mark.parametrize("loss", [0.005, 0.02, 0.5])
def test_images_needed_is_the_first_number_that_can_promise(loss):
    needed = images_needed(loss)
    assert loss_bound(0, 0, needed) <= loss < loss_bound(0, 0, needed - 1)


def test_a_promise_ends_at_the_first_that_fails():
    lost, won = np.array([0, 0, 50, 0]), np.zeros(4, int)
    assert (score(lost, won, 1000, 0.02) >= Z).tolist() == [True, True, False, True]
    assert leading_promises(lost, won, 1000, 0.02) == 2


def test_no_loss_at_all_can_be_promised_of_nobody():
    assert leading_promises(np.zeros(3, int), np.zeros(3, int), 10**6, 0.0) == 0


# The rule


def surest_first(seed: int, images: int, lost: float, won: float, power: float) -> Judged:
    """EE loses against SAC with a chance of lost * doubt^power and wins with won * doubt^power; doubt is uniform in [0, 1]."""
    rng = np.random.default_rng(seed)
    doubt, luck = rng.random(images), rng.random(images)
    loses = luck < lost * doubt**power
    wins = ~loses & (luck < (lost + won) * doubt**power)
    no, ms = np.zeros(images, bool), np.ones(images, np.float32)
    return Judged((1 - doubt).astype(np.float32), ~loses, ~wins, no, no, ms, ms)


def true_loss(eta: float, lost: float, won: float, power: float) -> float:
    """Of all images that there could be: the integral over those that exit."""
    return float((lost - won) * (1 - eta) ** (power + 1) / (power + 1))


SHAPES = {"EE rarely better": (0.3, 0.09, 2.0), "SAC never worse": (0.6, 0.0, 5.0), "nearly even": (0.25, 0.2, 2.0)}
CASES = 200


def excess(shape: tuple[float, float, float], images: int, loss: float, rule) -> float:
    """In which share of CASES the eta that a rule fits loses more than `loss` of all images that there could be."""
    found = []
    for seed in range(CASES):
        curve = draw_curve(surest_first(seed, images, *shape))
        found.append(true_loss(curve.eta(rule(curve)), *shape) > loss)
    return float(np.mean(found))


@pytest.mark.parametrize("name", SHAPES)
def test_in_one_case_of_twenty_unseen_images_lose_more_than_a_promise_allows(name):
    """10 %: of 200 cases a share of 5 % scatters by 1.5 points; 10 % is three times that."""
    assert excess(SHAPES[name], 1500, 0.005, promising(0.005)) < 0.1


def test_without_the_promise_every_second_eta_loses_more_than_is_allowed():
    """Why there is a promise: the last eta that keeps to the loss on its own images has had luck."""

    def seen(curve):
        return cheapest_with(curve.sac_top1 - 0.005)(curve)

    assert excess(SHAPES["EE rarely better"], 1500, 0.005, seen) > 0.4


def test_a_promise_costs_exits_and_more_images_buy_them_back():
    def exits(images):
        curves = [draw_curve(surest_first(seed, images, *SHAPES["EE rarely better"])) for seed in range(20)]
        return np.mean([curve.exit_rate[promising(0.02)(curve)] for curve in curves])

    # 66 % of all images could exit: (0.02 * 3 / 0.21)^(1/3).
    assert exits(300) < 0.5 < exits(3000) < exits(10_000) < 0.66


# Too few images


def sure(images: int, lost: int = 0) -> Judged:
    """EE and SAC are right everywhere, but EE not with the `lost` surest."""
    right, no, ms = np.ones(images, bool), np.zeros(images, bool), np.ones(images, np.float32)
    confidence = np.linspace(0.9, 0.1, images).astype(np.float32)
    return Judged(confidence, np.arange(images) >= lost, right, no, no, ms, ms)


def test_too_few_images_promise_nothing():
    few, enough = (draw_curve(sure(images_needed(0.005) - less)) for less in (1, 0))
    assert promising(0.005)(few) is None and promising(0.005)(enough) == len(enough.exits) - 1


def test_where_nothing_can_be_promised_the_loss_on_its_own_images_decides():
    curve = draw_curve(sure(100))
    place = losing_at_most(0.005)(curve)
    promise = promise_of(curve, place, 0.005)
    assert place == 100 and not promise.is_kept and (promise.images, promise.needed) == (100, 539)
    assert promise.at_most == pytest.approx(Z**2 / (100 + Z**2))


def test_a_promise_ends_before_the_losses_add_up():
    """Of 600 images six may be lost: 6 / 600 is 1 %, and its bound 1.9."""
    assert promising(0.02)(draw_curve(sure(600, lost=40))) == 6


def test_losses_of_which_ee_is_certain_promise_nothing_however_many_images_there_are():
    certain = sure(600, lost=40)
    certain.confidence[:40] = 1  # equality exits: they leave together, whatever eta is
    assert promising(0.02)(draw_curve(certain)) is None


def test_nobody_exits_is_no_promise_and_loses_nothing():
    curve = draw_curve(sure(100))
    assert promise_of(curve, 0, 0.005).at_most == 0.0 and not promise_of(curve, 0, 0.005).is_kept


def test_what_a_promise_says_is_the_bound_at_its_eta():
    curve = draw_curve(surest_first(1, 3000, *SHAPES["EE rarely better"]))
    place = promising(0.02)(curve)
    promise = promise_of(curve, place, 0.02)
    assert (
        promise.is_kept and promise.at_most == loss_bound(int(curve.lost[place]), int(curve.won[place]), 3000) <= 0.02
    )
