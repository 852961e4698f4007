from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.profiles.results.break_even import break_even


def test_the_break_even_is_where_the_chain_costs_what_the_plain_vit_does():
    """EE 2, SAC 4, plain 4: half of the images must exit."""
    found = break_even(2.0, 6.0, 4.0, exit_rate=0.75)
    assert found is not None and found.exit_rate == 0.5 and found.margin == 0.25
    assert found.gain == pytest.approx(4.0 / 3.0)


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 20))
def test_at_the_break_even_the_gain_is_one(ee, sac, plain):
    found = break_even(ee, ee + sac, plain, exit_rate=0.5)
    assert found is not None
    at = break_even(ee, ee + sac, plain, exit_rate=found.exit_rate)
    if at is not None and 0 <= found.exit_rate <= 1:
        assert at.gain == pytest.approx(1.0) and at.margin == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("costs", [(2.0, 2.0, 4.0), (2.0, 1.0, 4.0), (0.0, 1.0, 4.0), (1.0, 2.0, 0.0)])
def test_costs_that_no_measurement_can_mean_give_nothing(costs):
    assert break_even(*costs, exit_rate=0.5) is None


def test_the_gain_is_the_measured_one_whatever_the_paths_make_it():
    found = break_even(2.0, 6.0, 4.0, exit_rate=0.75, chain_cost=5.0)
    assert found is not None and found.gain == 0.8 and found.exit_rate == 0.5
