"""Each guard fails when its fault is planted, holds when it is not, and says whose layers to blame."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from sacvit.bundle.precision import FP16_LIMITS, INT8_LIMITS, Limits
from sacvit.calibration.decisions import Comparison, StageAnswers
from sacvit.calibration.guards import BAND, FEWEST_IN_BAND, Guard, judge

COUNT, ETA = 200, 0.5
NONE = Limits(1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0)  # nothing may differ


def answers() -> StageAnswers:
    classes = np.arange(COUNT) % 7
    return StageAnswers(classes, classes.copy(), np.zeros(COUNT), np.zeros(COUNT))


def identical() -> Comparison:
    """A variant that does what FP32 does: half exit, 40 images are within the band, three of four answers are right."""
    confidence = np.concatenate([
        np.linspace(0.1, 0.4, 80), np.linspace(0.46, 0.49, 20), np.linspace(0.51, 0.54, 20), np.linspace(0.6, 0.9, 80)
    ]).astype(np.float32)  # fmt: skip
    labels = np.arange(COUNT) % 7
    labels[::4] += 1
    return Comparison(confidence, confidence.copy(), np.ones(COUNT), answers(), answers(), labels)


def judged(
    comparison: Comparison, limits: Limits = INT8_LIMITS, eta: float = ETA, variant: float = ETA
) -> dict[str, Guard]:
    return {guard.name: guard for guard in judge(comparison, eta, variant, limits)}


def failed(comparison: Comparison, limits: Limits = INT8_LIMITS, **etas: float) -> list[str]:
    return [name for name, guard in judged(comparison, limits, **etas).items() if not guard.holds]


AGREEMENT = "exit agreement"
FAR, NEAR = f"gate flips farther than {BAND} from eta", f"gate flips within {BAND} of eta"
KEPT = "target blocks kept"
TOP1_EXIT, TOP1_FULL = "top-1 agreement, exit path", "top-1 agreement, full path"
ERROR_EE, ERROR_SAC = "mean logit error, EE", "mean logit error, SAC"
LOST = "top-1 lost by the chain, in points"
ALL = [AGREEMENT, FAR, NEAR, KEPT, TOP1_EXIT, ERROR_EE, TOP1_FULL, ERROR_SAC, LOST]
NEAR_LOW, NEAR_HIGH, FAR_LOW, FAR_HIGH = 90, 110, 40, 160  # images on either side of eta


def flipped(*images: int) -> Comparison:
    """The variant sends these images the other way."""
    comparison = identical()
    comparison.variant_confidence[list(images)] = 1 - comparison.confidence[list(images)]
    return comparison


def with_stage(name: str, **changes: Any) -> Comparison:
    comparison = identical()
    return replace(comparison, **{name: replace(getattr(comparison, name), **changes)})


# Nothing planted


def test_an_identical_variant_holds_every_guard_without_any_tolerance() -> None:
    guards = judged(identical(), NONE)
    assert list(guards) == ALL
    assert all(guard.holds for guard in guards.values())


@pytest.mark.parametrize("limits", [FP16_LIMITS, INT8_LIMITS], ids=["fp16", "int8"])
def test_an_identical_variant_holds_the_default_limits(limits: Limits) -> None:
    assert failed(identical(), limits) == []


def test_each_guard_says_whose_layers_to_blame() -> None:
    owners = {name: guard.stage for name, guard in judged(identical()).items()}
    assert owners == dict.fromkeys([AGREEMENT, FAR, NEAR, KEPT, TOP1_EXIT, ERROR_EE], "EE") | dict.fromkeys(
        [TOP1_FULL, ERROR_SAC], "SAC"
    ) | {LOST: "chain"}


def test_each_guard_has_the_limit_of_its_flag() -> None:
    limits = Limits(0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17)
    flags = {
        guard.flag.removeprefix("--min-").removeprefix("--max-"): guard.limit
        for guard in judged(identical(), limits).values()
    }
    assert {name.replace("-", "_"): limit for name, limit in flags.items()} == asdict(limits)


def test_a_flag_says_whether_its_limit_is_the_least_or_the_most() -> None:
    assert all(
        guard.flag.startswith("--min-" if guard.at_least else "--max-") for guard in judged(identical()).values()
    )


# Gates


def test_flips_beyond_the_limit_break_the_exit_agreement() -> None:
    assert AGREEMENT in failed(flipped(90, 91, 92, 110, 111))  # 2.5 %, where 2 % are allowed


def test_flips_up_to_the_limit_hold_the_exit_agreement() -> None:
    assert AGREEMENT not in failed(flipped(90, 91, 110, 111))


def test_flips_count_in_both_directions() -> None:
    assert judged(flipped(90, 91, 110))[AGREEMENT].value == pytest.approx(1 - 3 / COUNT)


def test_the_exit_agreement_tells_how_many_gates_flip() -> None:
    assert "3 of 200 gates flip" in str(judged(flipped(90, 91, 110))[AGREEMENT])


def test_a_flip_far_from_eta_breaks_its_own_guard_only() -> None:
    assert failed(flipped(FAR_LOW, FAR_HIGH)) == [FAR]


def test_a_flip_near_eta_is_no_far_flip() -> None:
    assert judged(flipped(NEAR_LOW, NEAR_HIGH))[FAR].value == 0


def test_far_is_measured_from_fp32_s_confidence() -> None:
    comparison = identical()
    comparison.variant_confidence[NEAR_LOW] = 1.0  # it flips, and was close
    assert judged(comparison)[FAR].value == 0


def test_many_flips_within_the_band_break_its_guard() -> None:
    many = range(NEAR_LOW, NEAR_LOW + 10)
    loose = INT8_LIMITS.but(exit_agreement=0.0, band_flips=0.2)
    assert failed(flipped(*many), loose) == [NEAR]


def test_the_band_s_share_is_of_the_images_in_it() -> None:
    guard = judged(flipped(NEAR_LOW, NEAR_HIGH, FAR_LOW))[NEAR]
    assert guard.value == pytest.approx(2 / 40)
    assert "of 40 images there" in str(guard)


def test_a_band_of_few_images_is_not_judged() -> None:
    comparison = identical()
    comparison.confidence[80 : 120 - FEWEST_IN_BAND + 1] = 0.3  # one below the fewest is left
    assert NEAR not in judged(comparison)


def test_a_band_of_just_enough_images_is_judged() -> None:
    comparison = identical()
    comparison.confidence[80 : 120 - FEWEST_IN_BAND] = 0.3
    assert NEAR in judged(comparison)


def test_a_shifted_eta_breaks_the_exit_agreement() -> None:
    assert failed(identical(), variant=ETA + 0.03) == [AGREEMENT, NEAR]


def test_a_variant_is_judged_at_its_own_threshold() -> None:
    comparison = identical()
    comparison.variant_confidence[:] = comparison.confidence / 2  # compressed, and its eta refitted
    assert failed(comparison, NONE, variant=ETA / 2) == []


def test_the_gate_compares_in_fp32() -> None:
    comparison = identical()
    comparison.confidence[0] = comparison.variant_confidence[0] = 0.7  # as FP32 below the double 0.7
    assert judged(comparison, NONE, eta=0.7, variant=float(np.float32(0.7)))[AGREEMENT].holds


# Targets and answers


def test_lost_target_blocks_break_their_guard() -> None:
    comparison = replace(identical(), overlap=np.full(COUNT, 0.89))
    assert failed(comparison) == [KEPT]


def test_the_share_of_target_blocks_is_the_mean_over_all_images() -> None:
    overlap = np.where(np.arange(COUNT) < 50, 0.5, 1.0)
    assert judged(replace(identical(), overlap=overlap))[KEPT].value == 0.875


def test_the_image_that_keeps_fewest_target_blocks_is_told() -> None:
    overlap = np.ones(COUNT)
    overlap[7] = 0.25
    assert judged(replace(identical(), overlap=overlap))[KEPT].worst == 0.25


def other_class(*images: int) -> np.ndarray:
    classes = np.arange(COUNT) % 7
    classes[list(images)] = 99
    return classes


def test_other_answers_on_the_exit_path_break_its_guard() -> None:
    comparison = with_stage("ee", variant_top1=other_class(*range(150, 156)))  # 6 % of 100
    assert failed(comparison, INT8_LIMITS.but(top1_drop=100)) == [TOP1_EXIT]


def test_other_answers_of_ee_for_images_that_go_on_do_not_matter() -> None:
    assert failed(with_stage("ee", variant_top1=other_class(*range(100))), NONE) == []


def test_other_answers_on_the_full_path_break_its_guard() -> None:
    comparison = with_stage("sac", variant_top1=other_class(*range(10, 16)))
    assert failed(comparison, INT8_LIMITS.but(top1_drop=100)) == [TOP1_FULL]


def test_other_answers_of_sac_for_images_that_exit_do_not_matter() -> None:
    assert failed(with_stage("sac", variant_top1=other_class(*range(100, 200))), NONE) == []


def test_a_path_s_agreement_is_over_images_that_both_send_there() -> None:
    guards = judged(flipped(90, 91, 110))
    assert "over 99 images" in str(guards[TOP1_EXIT])
    assert "over 98 images" in str(guards[TOP1_FULL])


def test_logit_errors_of_ee_break_its_guard() -> None:
    assert failed(with_stage("ee", mean_error=np.full(COUNT, 0.26))) == [ERROR_EE]


def test_logit_errors_of_sac_break_its_guard() -> None:
    assert failed(with_stage("sac", mean_error=np.full(COUNT, 0.26))) == [ERROR_SAC]


def test_ee_s_logit_errors_count_on_every_image() -> None:
    assert judged(with_stage("ee", mean_error=np.arange(COUNT) / 100))[ERROR_EE].value == pytest.approx(0.995)


def test_sac_s_logit_errors_count_on_the_images_that_reach_it() -> None:
    assert judged(with_stage("sac", mean_error=np.arange(COUNT) / 100))[ERROR_SAC].value == pytest.approx(0.495)


def test_sac_s_logit_errors_count_where_only_one_of_the_two_goes_on() -> None:
    comparison = with_stage("sac", worst_error=np.arange(COUNT) * 1.0)
    comparison.variant_confidence[199] = 0.1
    assert judged(comparison)[ERROR_SAC].worst == 199


def test_the_worst_image_s_logit_error_is_told() -> None:
    worst = np.zeros(COUNT)
    worst[3] = 8.5
    assert judged(with_stage("ee", worst_error=worst))[ERROR_EE].worst == 8.5


def right_and_wrong(wrong: int) -> Comparison:
    """FP32 is right on every image, the variant's chain on all but `wrong` that exit."""
    comparison = with_stage("ee", variant_top1=other_class(*range(COUNT - wrong, COUNT)))
    return replace(comparison, labels=np.arange(COUNT) % 7)


def test_a_loss_of_exactly_the_limit_holds() -> None:
    assert LOST not in failed(right_and_wrong(1), FP16_LIMITS)  # half a point of 200 images


def test_lost_accuracy_breaks_the_chain_s_guard() -> None:
    assert failed(right_and_wrong(3), INT8_LIMITS) == [LOST]  # one point and a half, where one is allowed


def test_lost_accuracy_is_counted_in_points() -> None:
    assert judged(right_and_wrong(3))[LOST].value == pytest.approx(1.5)


def test_a_gain_in_accuracy_is_no_loss() -> None:
    comparison = replace(identical(), labels=other_class(150))
    comparison.ee.variant_top1[150] = 99
    assert judged(comparison, NONE)[LOST].value == pytest.approx(-0.5)


# Paths that no image took


@pytest.mark.parametrize(("confidence", "path"), [(0.1, TOP1_EXIT), (0.9, TOP1_FULL)])
def test_a_path_that_no_image_took_is_judged_by_the_answers_to_all_images(confidence: float, path: str) -> None:
    comparison = identical()
    comparison.variant_confidence[:] = comparison.confidence[:] = confidence
    guards = judged(comparison)
    assert [name for name in ALL if name not in guards] == [NEAR]
    assert guards[path].note == f"  over all {len(comparison.confidence)} images: only 0 took the {path.split(', ')[1]}"


def test_a_wrong_sac_fails_although_no_image_reached_it() -> None:
    comparison = identical()
    comparison.variant_confidence[:] = comparison.confidence[:] = 0.9
    assert comparison.sac is not None
    comparison.sac.variant_top1[:] = comparison.sac.top1 + 1
    assert not judged(comparison)[TOP1_FULL].holds


def test_three_images_pass_no_guard() -> None:
    whole = identical()
    few = {name: value[:3] for name, value in vars(whole).items() if isinstance(value, np.ndarray)}
    stages = {name: StageAnswers(*(part[:3] for part in vars(getattr(whole, name)).values())) for name in ("ee", "sac")}
    guard = judged(replace(whole, **few, **stages))["images to judge on"]
    assert not guard.holds and (guard.value, guard.limit) == (3, 8)


def test_without_sac_its_guards_and_the_chain_s_are_left_out() -> None:
    guards = judged(replace(identical(), sac=None))
    assert list(guards) == [AGREEMENT, FAR, NEAR, KEPT, TOP1_EXIT, ERROR_EE]


def test_without_labels_the_chain_s_guard_is_left_out() -> None:
    assert [name for name in ALL if name not in judged(replace(identical(), labels=None))] == [LOST]


# NaN


def test_a_confidence_that_is_no_number_breaks_the_exit_agreement() -> None:
    comparison = identical()
    comparison.variant_confidence[:] = np.nan
    assert AGREEMENT in failed(comparison)


@pytest.mark.parametrize(("stage", "name"), [("ee", ERROR_EE), ("sac", ERROR_SAC)])
def test_one_logit_that_is_no_number_breaks_its_stage_s_guard(stage: str, name: str) -> None:
    error = np.zeros(COUNT)
    error[10] = np.nan
    loosest = Limits(0, 1, 1, 0, 0, np.inf, 100)
    assert failed(with_stage(stage, mean_error=error), loosest) == [name]


@pytest.mark.parametrize("at_least", [True, False])
def test_nan_never_holds(at_least: bool) -> None:
    assert not Guard("a", "EE", float("nan"), 0.5, at_least, "--a").holds


# One guard


@pytest.mark.parametrize("at_least", [True, False])
def test_a_value_at_its_limit_holds(at_least: bool) -> None:
    assert Guard("a", "EE", 0.98, 0.98, at_least, "--a").holds


@pytest.mark.parametrize(("value", "at_least", "holds"), [(0.97, True, False), (0.99, True, True),
                                                          (0.97, False, True), (0.99, False, False)])  # fmt: skip
def test_a_value_beside_its_limit_holds_on_the_right_side_only(value: float, at_least: bool, holds: bool) -> None:
    assert Guard("a", "EE", value, 0.98, at_least, "--a").holds is holds


def test_a_guard_that_holds_says_ok_with_value_and_limit() -> None:
    line = str(Guard("exit agreement", "EE", 0.9901, 0.98, True, "--a", note="  2 of 200"))
    assert line.split() == ["ok", "exit", "agreement", "0.9901", "(>=", "0.98)", "2", "of", "200"]


def test_a_guard_that_fails_says_so_with_the_worst_image() -> None:
    line = str(Guard("mean logit error, EE", "EE", 0.3, 0.25, False, "--a", 1.23456))
    assert line.split() == ["FAILED", "mean", "logit", "error,", "EE", "0.3000", "(<=", "0.25)", "worst", "1.23"]


def test_a_guard_can_be_stored_as_json() -> None:
    stored = [json.loads(json.dumps(guard.to_dict())) for guard in judged(identical()).values()]
    assert stored[3] == {"name": KEPT, "value": 1.0, "limit": 0.9, "at_least": True, "worst": 1.0}


# Limits


def test_given_limits_replace_the_defaults() -> None:
    limits = INT8_LIMITS.but(exit_agreement=0.9, top1_drop=2.0)
    assert asdict(limits) == asdict(INT8_LIMITS) | {"exit_agreement": 0.9, "top1_drop": 2.0}


def test_limits_that_are_not_given_stay() -> None:
    assert INT8_LIMITS.but(exit_agreement=None, logit_error=None) == INT8_LIMITS


def test_a_limit_of_0_is_given() -> None:
    assert INT8_LIMITS.but(far_flips=0.0).far_flips == 0


def test_int8_s_exit_agreement_is_the_promised_one() -> None:
    assert INT8_LIMITS.exit_agreement == 0.98


def test_fp16_s_mean_logit_error_is_the_promised_one() -> None:
    assert FP16_LIMITS.logit_error == 0.01


def test_fp16_may_never_cost_more_than_int8() -> None:
    least = ("exit_agreement", "top1_agreement", "target_overlap")
    fp16, int8 = asdict(FP16_LIMITS), asdict(INT8_LIMITS)
    assert all(fp16[name] >= int8[name] if name in least else fp16[name] <= int8[name] for name in fp16)


def test_exits_are_compared_at_the_gate_threshold_where_one_is_given() -> None:
    """The variant's own threshold was fitted to accuracy, and lets everyone go: that is what was asked for."""
    guards = {guard.name: guard for guard in judge(identical(), ETA, 0.0, INT8_LIMITS, gate_threshold=ETA)}
    assert guards["exit agreement"].value == 1.0


def test_accuracy_is_at_the_variant_s_own_threshold_all_the_same() -> None:
    comparison = replace(right_and_wrong(3), sac=identical().sac)
    lost = [
        next(
            guard.value for guard in judge(comparison, ETA, eta, INT8_LIMITS, gate_threshold=ETA) if guard.name == LOST
        )
        for eta in (ETA, 1.1)
    ]
    assert lost == [1.5, 0.0]  # where nobody exits, EE's three wrong answers do not count
