"""Against costs whose answer is known: EE 2 ms, SAC 4 ms, plain 4 ms; half of the images must exit."""

from __future__ import annotations

import json

import pytest

from sacvit.profiles.results.pay_off import Cost, Costs, pay_off
from sacvit.profiles.timing.contenders import ALWAYS, NEVER, PLAIN

CHAIN = "eta 0.5"
STEADY = (0.99, 1.0, 1.01)


def costs(chain_ms, noise=(STEADY, STEADY, STEADY, STEADY), bound=0.0):
    """noise: a factor for each round of exit, full, plain and chain."""
    found = {}
    for (name, mean), factors in zip(
        ((ALWAYS, 2.0), (NEVER, 6.0), (PLAIN, 4.0), (CHAIN, chain_ms)), noise, strict=True
    ):
        rounds = {number: Cost(mean * factor, bound) for number, factor in enumerate(factors)}
        found[name] = Costs(sum(cost.value for cost in rounds.values()) / len(rounds), rounds)
    return found


def told(chain_ms, exit_rate=0.75, batch=1, **options):
    found = pay_off(costs(chain_ms, **options), CHAIN, exit_rate, dict.fromkeys(range(3), exit_rate), batch)
    assert found is not None
    return found


def test_a_gain_beyond_its_spread_is_a_gain_with_both_intervals():
    found = told(3.0)
    assert found.verdict == "gain" and found.gain.value == pytest.approx(4 / 3)
    assert found.gain.low > 1.3 and found.needed.value == pytest.approx(0.5)
    assert found.text.startswith("1.33x over the plain ViT (1.33 to 1.33 over 3 rounds): a gain. ")
    assert "two stages pay off above 50.0% exits (50.0% to 50.0%); 75.0% exit" in found.text


def test_a_gain_inside_its_spread_is_no_gain():
    noise = (STEADY, STEADY, (0.8, 1.0, 1.3), (1.0, 1.2, 0.8))
    found = told(3.0, noise=noise)
    assert found.verdict == "no difference" and found.gain.low < 1 < found.gain.high
    assert "no gain beyond the spread of the rounds" in found.text


def test_a_chain_that_is_slower_is_a_loss():
    assert told(5.0, exit_rate=0.25).verdict == "loss"


def test_a_measured_gain_that_the_paths_do_not_predict_is_a_contradiction_and_no_gain():
    """At 75 % exits the paths make 3 ms, 1.33 times as fast; the chain took 4 ms, in every round."""
    found = told(4.0)
    assert found.verdict == "contradiction" and found.predicted == pytest.approx(4 / 3)
    assert "contradicts the costs of the paths, which predict 1.33x; measure again" in found.text


def test_a_misfit_of_a_few_percent_contradicts_nothing():
    """Caches: a mixed stream costs a little more than its paths."""
    assert told(3.0 * 1.05).verdict == "gain"


def test_survivors_that_share_a_pass_are_not_held_to_the_costs_of_the_paths():
    assert told(4.0, batch=8).verdict != "contradiction"


def test_noise_that_all_contenders_of_a_round_share_does_not_hide_the_gain():
    """As a clock that falls from round to round: ratios are taken inside a round."""
    falling = (1.0, 1.3, 1.6)
    found = told(3.0, noise=(falling, falling, falling, falling))
    assert found.verdict == "gain" and found.gain.low == pytest.approx(4 / 3)


def test_one_round_does_not_show_a_gain():
    one = (1.0,)
    found = told(3.0, noise=(one, one, one, one))
    assert found.verdict == "unknown" and "1.33x over the plain ViT (one round)" in found.text


def test_what_the_sensor_cannot_tell_widens_both_intervals():
    """0.1 of 4 and of 3 mJ: the gain may be wrong by a factor of exp(0.058)."""
    found = told(3.0, bound=0.1)
    assert found.gain.low == pytest.approx(4 / 3 * 0.943, abs=0.002)
    assert found.needed.low == pytest.approx(0.45) and found.needed.high == pytest.approx(0.55)


def test_a_sensor_of_unknown_steps_leaves_the_gain_open():
    assert told(3.0, bound=None).verdict == "unknown"


def test_rounds_that_lie_far_apart_do_not_say_where_two_stages_pay_off():
    found = told(3.0, noise=((0.5, 1.0, 1.5), STEADY, (1.4, 1.0, 0.6), STEADY))
    assert "The rounds differ too much to say above which exit rate two stages pay off" in found.text


@pytest.mark.parametrize(("plain", "words"), [(1.0, "never pay off"), (8.0, "always pay off")])
def test_a_break_even_outside_of_all_rates_is_said_in_words(plain, words):
    table = costs(3.0)
    table[PLAIN] = Costs(plain, {number: Cost(plain, 0.0) for number in range(3)})
    found = pay_off(table, CHAIN, 0.75, dict.fromkeys(range(3), 0.75), 1)
    assert words in found.text


def test_the_result_is_json_with_verdict_text_and_both_intervals():
    entries = json.loads(json.dumps(told(3.0).to_dict()))
    assert (entries["verdict"], entries["rounds"], entries["margin"]) == ("gain", 3, 0.25)
    assert entries["gain_low"] <= entries["gain"] <= entries["gain_high"]
    assert entries["exit_rate_low"] <= entries["exit_rate"] <= entries["exit_rate_high"]
    assert entries["text"] and entries["predicted_gain"] == pytest.approx(4 / 3, abs=1e-5)


def test_costs_that_no_measurement_can_mean_have_no_break_even():
    table = costs(3.0)
    table[NEVER] = table[ALWAYS]
    assert pay_off(table, CHAIN, 0.75, dict.fromkeys(range(3), 0.75), 1) is None
