"""The sentence on the second stage."""

from __future__ import annotations

import pytest

from sacvit.profiles.reports.verdict import is_beyond_chance, profile_verdict, tune_verdict


def result(rescued, broken, *, exits=0.6, images=1000, plain=None):
    """A tune result of one point: EE alone has 80 %, in 1 ms; the chain takes 2 ms."""
    gate = {"rescued": rescued, "broken by SAC": broken}
    at = {"top1": 0.8 + rescued - broken, "exit_rate": exits, "mean_ms": 2.0, "gate": gate}
    always = {"EE": {"top1": 0.8, "mean_ms": 1.0}, "SAC": {"top1": 0.9, "mean_ms": 4.0}}
    return {"points": {"fast": {"report": at}}, "always": always, "plain": plain, "data": {"images_report": images}}


def test_it_earns_its_cost_where_it_corrects_more_than_it_breaks_beyond_chance():
    earns, sentence = tune_verdict(result(0.1, 0.01), "fast")
    assert earns and "40.0 % of the images go on to SAC, which corrects 100 of them and breaks 10" in sentence
    assert "from 80.0 % (EE alone) to 89.0 %" in sentence and "from 1 to 2 ms" in sentence


def test_it_does_not_where_the_gain_is_within_chance():
    earns, sentence = tune_verdict(result(0.010, 0.006), "fast")
    assert not earns and "a difference within chance, and takes 1 ms more per image" in sentence


def test_it_does_not_where_the_plain_vit_is_better_and_faster():
    earns, sentence = tune_verdict(result(0.1, 0.0, plain={"top1": 0.95, "mean_ms": 1.5}), "fast")
    assert not earns and "the plain ViT is right on 95.0 % in 1.5 ms" in sentence


def test_a_plain_vit_without_an_accuracy_decides_nothing():
    assert tune_verdict(result(0.1, 0.0, plain={"top1": None, "mean_ms": 0.1}), "fast")[0]


def test_a_plain_vit_that_is_better_and_slower_decides_nothing():
    assert tune_verdict(result(0.1, 0.0, plain={"top1": 0.95, "mean_ms": 3.0}), "fast")[0]


def test_a_threshold_that_every_image_passes_does_not_use_it():
    earns, sentence = tune_verdict(result(0.0, 0.0, exits=1.0), "fast")
    assert not earns and "EE answers every image" in sentence


@pytest.mark.parametrize(
    ("better", "worse", "beyond"),
    [
        (0, 0, False),
        (5, 0, False),  # 1 in 32
        (6, 0, True),  # 1 in 64
        (9, 1, True),  # 11 in 1024
        (8, 2, False),  # 56 in 1024
        (1040, 960, False),  # 1.79 standard deviations
        (1050, 950, True),  # 2.24
    ],
)
def test_chance_is_mcnemar_s(better, worse, beyond):
    assert is_beyond_chance(better, worse) is beyond


def mode(told, reason=None, *, valid=True):
    table = None if told is None else {"eta 0.5": {"latency": told}}
    return {"main": "eta 0.5", "valid": valid, "break_even": {"by_threshold": table, "reason": reason}}


def told(needed, gain, verdict, ends=(0.3, 0.7), rounds=3):
    low, high = ends
    needs = {"exit_rate": needed, "exit_rate_low": low, "exit_rate_high": high, "measured_exit_rate": 0.5}
    return {**needs, "gain": gain, "verdict": verdict, "rounds": rounds}


@pytest.mark.parametrize(
    ("pay_off", "earns", "words"),
    [
        (told(0.4, 1.25, "gain"), True, "earns its cost in time on these images: 50.0 % of the images exit at eta 0.5"),
        (
            told(0.4, 1.25, "gain"),
            True,
            "1.25 times as fast as the plain ViT (it is faster when more than 40.0 % exit).",
        ),
        (told(0.6, 0.8, "loss"), False, "does not earn its cost in time on these images"),
        (
            told(0.6, 0.8, "loss"),
            False,
            "takes 1.25 times as long as the plain ViT (it is faster when more than 60.0 % exit).",
        ),
        (told(1.2, 0.5, "loss"), False, "(it would be faster at no exit rate)"),
        (told(-0.1, 2.0, "gain"), True, "(it is faster at every exit rate)"),
        (
            told(0.5, 2.0, "gain", (-0.1, 1.1)),
            True,
            "(the rounds differ too much to say above which exit rate it is faster)",
        ),
        (told(0.4, 1.05, "no difference"), False, "exit), a difference within the spread of the rounds."),
        (
            told(0.4, 1.25, "contradiction"),
            False,
            "not known from this run: the rounds and the costs of the paths contradict",
        ),
        (told(0.4, 1.25, "unknown", rounds=1), False, "not known from this run: there was one round"),
    ],
)
def test_a_profile_compares_the_chain_with_the_plain_vit(pay_off, earns, words):
    found, sentence = profile_verdict(mode(pay_off))
    assert found is earns and words in sentence


def test_a_profile_without_a_plain_vit_says_what_is_missing():
    assert profile_verdict(mode(None, "no plain ViT was measured"))[1].endswith(
        "from this run: no plain ViT was measured."
    )


def test_a_disturbed_profile_decides_nothing():
    earns, sentence = profile_verdict(mode(told(0.4, 1.25, "gain"), valid=False))
    assert not earns and "the measurement was disturbed" in sentence
