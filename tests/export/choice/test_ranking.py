from __future__ import annotations

from typing import Any

import pytest

from sacvit.export.choice.ranking import chain_ms, choose, hopeless, survivors_of, timed
from sacvit.runtime.engines.choice import Candidate, Timing


def candidate(
    name: str, speedup: float | None = None, error: float = 0.0, spread: Any = None, **further: Any
) -> Candidate:
    timing = {} if speedup is None else {"1": Timing(1, 1, 1, 1, (1, 1), speedup, spread or (speedup, speedup), 9)}
    return Candidate(
        name=name, backend="onnxruntime", provider="cpu", precision="fp32", files=("ee.onnx", "sac.onnx"),
        logit_error=error, timings=timing, **further,
    )  # fmt: skip


def test_the_chain_is_ee_and_the_share_of_sac_that_the_exit_rate_leaves():
    assert chain_ms(10.0, 20.0, 1, exit_rate=0.75) == pytest.approx(15.0)


def test_in_a_batch_sac_runs_once_for_all_survivors():
    assert survivors_of(16, 0.75) == 4
    assert chain_ms(160.0, 40.0, 16, exit_rate=0.75) == pytest.approx((160 + 40) / 16)


def test_where_no_image_goes_on_sac_costs_nothing():
    assert chain_ms(10.0, 20.0, 1, exit_rate=1.0) == pytest.approx(10.0)


def test_a_ratio_is_of_one_round_so_that_a_slow_round_of_both_changes_nothing():
    rounds = {1: [{"a": (10.0, 0.0), "b": (5.0, 0.0)}, {"a": (100.0, 0.0), "b": (50.0, 0.0)}]}
    found = timed([candidate("a"), candidate("b")], "a", 1.0, rounds)
    assert [one.timings["1"].speedup for one in found] == [1.0, 2.0]


def test_a_candidate_that_was_given_up_is_compared_in_the_rounds_that_it_ran_in():
    rounds = {1: [{"a": (10.0, 0.0), "b": (40.0, 0.0)}, {"a": (20.0, 0.0)}]}
    slow = timed([candidate("a"), candidate("b")], "a", 1.0, rounds)[1].timings["1"]
    assert (slow.rounds, slow.speedup) == (1, 0.25)


def test_the_speedup_over_several_sizes_is_their_geometric_mean():
    rounds = {1: [{"a": (8.0, 0.0), "b": (2.0, 0.0)}], 8: [{"a": (8.0, 0.0), "b": (8.0, 0.0)}]}
    assert timed([candidate("a"), candidate("b")], "a", 1.0, rounds)[1].speedup == pytest.approx(2.0)


def test_the_fastest_is_chosen():
    found, reason = choose([candidate("a", 1.0), candidate("b", 1.5, error=0.1), candidate("c", 1.2)])
    assert found.name == "b" and "fastest" in reason


def test_of_two_that_are_as_fast_the_one_closer_to_fp32_is_chosen():
    found, reason = choose([candidate("a", 1.0), candidate("b", 1.50, error=0.1), candidate("c", 1.48, error=0.01)])
    assert found.name == "c" and "b" in reason


def test_of_two_whose_spreads_overlap_the_one_closer_to_fp32_is_chosen():
    fast = candidate("b", 1.2, error=0.1, spread=(0.98, 1.3))
    assert choose([candidate("a", 1.0), fast])[0].name == "a"
    apart = candidate("b", 1.2, error=0.1, spread=(1.1, 1.3))
    assert choose([candidate("a", 1.0), apart])[0].name == "b"


def test_a_refused_candidate_is_not_chosen_however_fast():
    assert choose([candidate("a", 1.0), candidate("b", 9.0, refused="a guard")])[0].name == "a"


def test_what_is_far_behind_is_given_up_and_the_reference_never():
    assert hopeless([candidate("a", 1.0), candidate("b", 2.0), candidate("c", 1.3)], "a") == {"c"}
