"""The curve and its rules against every eta tried one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.gating import may_exit
from sacvit.profiles.tuning.curve import (
    POINTS,
    Judged,
    cheapest_with,
    draw_curve,
    fastest_within,
    judge_at,
    losing_at_most,
    most_accurate,
    promising,
    with_exit_rate,
)

TIES = st.sampled_from([0.0, 0.25, 0.5, float(np.nextafter(np.float32(0.5), np.float32(1))), 0.75, 1.0])
CONFIDENCE = TIES | st.floats(0, 1, width=32)
MS = st.floats(0, 8, width=16)
IMAGE = st.tuples(CONFIDENCE, st.booleans(), st.booleans(), st.booleans(), st.booleans(), MS, MS)
EXACT = 1e-9  # milliseconds: float64 sums of at most 30 halves in another order


def judged_of(rows) -> Judged:
    columns = list(zip(*rows, strict=True))
    kinds = (np.float32, bool, bool, bool, bool, np.float32, np.float32)
    return Judged(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))


JUDGED = st.lists(IMAGE, min_size=1, max_size=30).map(judged_of)


def tried(judged: Judged) -> list[tuple[int, float, float, float]]:
    """(exits, top-1, top-5, mean ms) at every eta in [0, 1] that can differ from another, by exits."""
    etas = {np.float32(0), np.float32(1)}
    etas |= {np.float32(value) for value in judged.confidence}
    etas |= {np.nextafter(value, np.float32(2)) for value in judged.confidence if value < 1}
    found = {}
    for eta in etas:
        rows = range(judged.count)
        leaves = [bool(judged.confidence[row] >= eta) for row in rows]
        top1 = sum(bool((judged.ee_right if leaves[row] else judged.sac_right)[row]) for row in rows) / judged.count
        top5 = sum(bool((judged.ee_top5 if leaves[row] else judged.sac_top5)[row]) for row in rows) / judged.count
        ms = sum(float(judged.ee_ms[row]) + (0 if leaves[row] else float(judged.sac_ms[row])) for row in rows)
        found[sum(leaves)] = sum(leaves), top1, top5, ms / judged.count
    return [found[count] for count in sorted(found)]


@given(JUDGED)
def test_the_curve_is_what_every_eta_gives(judged):
    curve, expected = draw_curve(judged), tried(judged)
    assert curve.exits.tolist() == [point[0] for point in expected]
    for index, name in enumerate(("top1", "top5", "mean_ms"), start=1):
        np.testing.assert_allclose(getattr(curve, name), [point[index] for point in expected], atol=EXACT, rtol=0)


@given(JUDGED)
def test_what_is_lost_less_what_is_won_is_what_top1_falls_by(judged):
    curve = draw_curve(judged)
    np.testing.assert_allclose((curve.lost - curve.won) / curve.count, curve.sac_top1 - curve.top1, atol=EXACT, rtol=0)
    assert (np.diff(curve.lost) >= 0).all() and (curve.lost + curve.won <= curve.exits).all()


@given(JUDGED)
def test_exactly_the_curve_s_count_leaves_at_its_eta(judged):
    curve = draw_curve(judged)
    etas = [curve.eta(place) for place in range(len(curve.exits))]
    assert [int((judged.confidence >= np.float32(eta)).sum()) for eta in etas] == curve.exits.tolist()
    assert all(0 <= eta <= 1 for eta in etas)


@given(JUDGED, st.floats(0, 1), st.floats(0, 16), st.floats(0, 0.5))
def test_rules_pick_what_trying_every_eta_picks(judged, share, ms, loss):
    curve, points = draw_curve(judged), tried(judged)
    sac = float(np.mean(judged.sac_right))

    def best(good, key):
        return max(good, key=key)[0] if good else None

    def picked(rule):
        place = rule(curve)
        return None if place is None else int(curve.exits[place])

    assert picked(most_accurate) == best(points, lambda point: (point[1], point[0]))
    keeps = [point for point in points if point[1] >= share - 1e-12]
    assert picked(cheapest_with(share)) == best(keeps, lambda point: point[0])
    loses = [point for point in points if point[1] >= sac - loss - 1e-12]
    promised = picked(promising(loss))  # test_promise.py's
    expected = best(loses, lambda point: point[0]) if promised is None else promised
    assert picked(losing_at_most(loss)) == expected
    quick = [point for point in points if point[3] <= ms + 1e-9]
    assert picked(fastest_within(ms)) == best(quick, lambda point: (point[1], point[0]))
    near = min(abs(point[0] / judged.count - share) for point in points)
    assert abs(picked(with_exit_rate(share)) / judged.count - share) == near


@given(JUDGED, st.floats(0, 1))
def test_the_gate_s_shares_add_up(judged, eta):
    gate = judge_at(judged, eta).gate
    total = sum(gate[name] for name in ("exited right", "exited wrong", "rescued", "sent on in vain"))
    assert total == pytest.approx(1, abs=1e-12)  # quotients of at most 30


@given(JUDGED, st.floats(0, 1))
def test_top1_is_what_exited_right_and_what_sac_has_right(judged, eta):
    at = judge_at(judged, eta)
    both = ~may_exit(judged.confidence, eta) & judged.ee_right & judged.sac_right
    expected = at.gate["exited right"] + at.gate["rescued"] + both.mean()
    assert at.top1 == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("count", "place"), [(1, 0), (10, 9), (100, 98), (250, 247)])
def test_the_99th_percentile_is_a_value_of_the_sorted_times(count, place):
    rng = np.random.default_rng(count)
    zeros, ee, sac = np.zeros(count, bool), rng.random(count, np.float32), rng.random(count, np.float32)
    confidence = rng.random(count, np.float32)
    judged = Judged(confidence, zeros, zeros, zeros, zeros, ee, sac)
    times = sorted(np.where(confidence >= np.float32(0.5), ee, ee + sac).tolist())
    assert judge_at(judged, 0.5).p99_ms == times[place]


def test_judging_at_a_point_of_the_curve_gives_the_point():
    rng = np.random.default_rng(3)
    flags = (rng.random((4, 200)) < 0.7).astype(bool)
    judged = Judged(rng.random(200, np.float32), *flags, rng.random(200, np.float32), rng.random(200, np.float32))
    curve = draw_curve(judged)
    for place in (0, 57, 200):
        at = judge_at(judged, curve.eta(place))
        assert (at.top1, at.top5, at.exit_rate) == (curve.top1[place], curve.top5[place], curve.exit_rate[place])
        assert at.mean_ms == pytest.approx(curve.mean_ms[place], rel=1e-6)  # times are FP32, and added in FP32


def test_nobody_can_be_sent_on_who_is_certain():
    """FP32 rounds a confidence to 1, eta is 1 at most, and equality exits."""
    judged = judged_of([(1.0, 0, 1, 0, 1, 1.0, 1.0), (0.5, 0, 1, 0, 1, 1.0, 1.0)])
    assert draw_curve(judged).exits.tolist() == [1, 2]


def test_a_loss_that_certain_mistakes_prevent_has_no_eta():
    judged = judged_of([(1.0, 0, 1, 0, 1, 1.0, 1.0), (0.5, 0, 1, 0, 1, 1.0, 1.0)])
    assert POINTS["balanced"](draw_curve(judged)) is None


def test_equality_exits_as_at_the_gate():
    judged = judged_of([(0.7, 0, 1, 0, 1, 1.0, 1.0)])  # 0.7 means the FP32 number nearest 0.7
    assert judge_at(judged, 0.7).exit_rate == 1.0


def test_etas_are_short_decimals():
    judged = judged_of([(0.81234567, 1, 1, 1, 1, 1.0, 1.0), (0.41234567, 0, 1, 0, 1, 1.0, 1.0)])
    assert draw_curve(judged).eta(1) == 0.612
