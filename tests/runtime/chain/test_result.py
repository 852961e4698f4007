from __future__ import annotations

import numpy as np
import pytest

from sacvit.bundle.errors import UsageError
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.chain.result import Result, rank


@pytest.fixture(scope="module")
def pipeline(bundles) -> Pipeline:
    return Pipeline.load(bundles / "bundle")


def answer(probability: float = 0.5) -> Result:
    return Result(1, "bee", probability, "EE", probability, (0, 1), 2.5, None)


LOGITS = np.array([0.0, 3.0, 1.0, -1.0, 3.0, 2.0, 0.5], np.float32)


def test_the_first_choice_is_the_answer_on_both_paths(pipeline, pictures):
    results = pipeline(pictures)
    assert {result.stage for result in results} == {"EE", "SAC"}
    for result in results:
        first = result.top(1)[0]
        assert (first.index, first.label, first.probability) == (result.index, result.label, result.probability)


def test_the_choices_of_all_classes_add_up_to_one(pipeline, pictures):
    for result in pipeline(pictures):  # 5 classes
        assert sum(choice.probability for choice in result.top()) == pytest.approx(1, abs=1e-6)  # FP32 sums


def test_choices_come_by_their_probability_and_then_by_their_index():
    found = rank(answer(), LOGITS, 1.0, None, 4, False).top(4)
    assert [choice.index for choice in found] == [1, 4, 5, 2]


def test_the_temperature_of_the_gate_holds_for_the_choices():
    shares = np.exp(LOGITS / 2.0) / np.exp(LOGITS / 2.0).sum()
    found = rank(answer(), LOGITS, 2.0, None, 3, False).top(3)
    assert found[2].probability == pytest.approx(shares[5], abs=1e-6)  # FP32 logits


def test_more_classes_are_ranked_on_request(pipeline, pictures):
    assert len(rank(answer(), LOGITS, 1.0, None, 7, False).top(7)) == 7
    assert len(pipeline(pictures[0], top=2).top(2)) == 2


@pytest.mark.parametrize("count", [0, 6])
def test_more_classes_than_were_ranked_are_refused_with_the_call(count):
    with pytest.raises(UsageError, match=r"pipeline\(image, top="):
        rank(answer(), LOGITS, 1.0, None, 5, False).top(count)


def test_a_result_of_a_model_with_few_classes_gives_them_all(pipeline, pictures):
    assert len(rank(answer(), LOGITS[:3], 1.0, None, 5, False).top(5)) == 3


def test_no_class_to_rank_is_refused(pipeline, pictures):
    with pytest.raises(UsageError, match="top=0"):
        pipeline(pictures[0], top=0)


def test_logits_are_kept_on_request_only(pipeline, pictures):
    assert pipeline(pictures[0]).logits is None
    results = pipeline(pictures, logits=True)
    assert [int(result.logits.argmax()) for result in results] == [result.index for result in results]


def test_logits_that_were_kept_do_not_change_with_the_next_pass(pipeline, pictures):
    first = pipeline(pictures[0], logits=True).logits
    before = first.copy()
    pipeline(pictures[1])
    np.testing.assert_array_equal(first, before)


def test_a_result_that_left_early_shows_its_answer_and_its_time():
    assert repr(answer(0.91)) == "Result('bee' 91.0 %, exit after EE, 2.50 ms)"


def test_a_result_of_both_stages_shows_what_ee_was_sure_of():
    result = Result(2, "cat\x1b", 0.66, "SAC", 0.312, (), 2.5, 4.5)
    assert repr(result) == "Result('cat\\x1b' 66.0 %, SAC after EE at 31.2 %, 2.50 + 4.50 ms)"


def test_a_choice_shows_its_label_and_probability(pipeline, pictures):
    assert repr(pipeline(pictures[0]).top(1)).startswith("['ant' ")
