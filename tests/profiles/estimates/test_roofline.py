"""The roofline by hand, on round numbers; then its properties, and the text."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from sacvit.bundle.errors import UsageError
from sacvit.model.config import preset
from sacvit.model.cost import ModelCost, StageCost, count_cost
from sacvit.profiles.estimates.boards import Board, Gpu, Mode, find_board, load_boards
from sacvit.profiles.estimates.roofline import estimate, estimate_stage, kernels_of
from sacvit.profiles.estimates.text import assumption_lines, camera_lines, estimate_lines, pay_off_line

PRECISIONS = ("fp32", "fp16", "int8", "int8fp16")
# 1 SM at 1000 MHz: 8 INT8, 4 FP16, 1 FP32 TOPS; 10 GB/s
TOY_MODE = Mode("TOY", 1, 1000, 5000 / 8, 64, "made up", 20)
TOY = Board(
    "toy", "Toy", Gpu("toy", 8000, 4000, 1000, "made up", 5.0, "made up"), (TOY_MODE,), l2_mib=1, l2_source="made up"
)
STAGE = StageCost(macs=10**9, weight_bytes=40_000_000, input_bytes=150_000, output_bytes=50_000)
ALL_MODES = [(board, mode) for board in load_boards().values() for mode in board.modes]
SPLIT = ModelCost(ee=STAGE, sac=replace(STAGE, macs=2 * 10**9), plain=replace(STAGE, macs=4 * 10**9))


def found(precision="fp16", batch=1, exit_rate=0.5, model=SPLIT, board=TOY, mode=None, kernels=None):
    return estimate(model, board, board.mode(mode), precision, batch, exit_rate, kernels)


@pytest.mark.parametrize(
    ("precision", "compute_ms"), [("fp32", 2.0), ("fp16", 0.5), ("int8", 0.25), ("int8fp16", 0.25)]
)
def test_compute_time_is_two_operations_a_mac_over_the_peak_of_the_precision(precision, compute_ms):
    assert estimate_stage(STAGE, TOY, TOY_MODE, precision, 1).compute_ms == pytest.approx(compute_ms)


@pytest.mark.parametrize(
    ("precision", "memory_ms"), [("fp32", 4.02), ("fp16", 2.02), ("int8", 1.02), ("int8fp16", 1.02)]
)
def test_memory_time_is_the_weights_in_their_width_and_the_buffers_in_fp32(precision, memory_ms):
    assert estimate_stage(STAGE, TOY, TOY_MODE, precision, 1).memory_ms == pytest.approx(memory_ms)


def test_a_batch_reads_the_weights_once_and_the_buffers_for_each_image():
    assert estimate_stage(STAGE, TOY, TOY_MODE, "fp16", 10).memory_ms == pytest.approx(2 + 10 * 0.02)


def test_a_batch_computes_for_each_image():
    assert estimate_stage(STAGE, TOY, TOY_MODE, "fp16", 10).compute_ms == pytest.approx(10 * 0.5)


def test_an_image_takes_its_share_of_the_slower_side():
    stage = estimate_stage(STAGE, TOY, TOY_MODE, "fp16", 10)
    assert (stage.image_ms, stage.bound_by) == (pytest.approx(0.5), "compute")
    stage = estimate_stage(STAGE, TOY, TOY_MODE, "fp16", 1)
    assert (stage.image_ms, stage.bound_by) == (pytest.approx(2.02), "memory")


@pytest.mark.parametrize("exit_rate", [0, 0.25, 1])
def test_the_chain_is_ee_and_the_survivors_share_of_sac(exit_rate):
    result = found(exit_rate=exit_rate)
    assert result.chain_ms == pytest.approx(result.ee.image_ms + (1 - exit_rate) * result.sac.image_ms)


def test_break_even_is_the_exit_rate_at_which_chain_and_plain_vit_take_the_same():
    needed = found("fp32").pay_off.exit_rate  # 4.02 + (1 - p) 4.02 = 8
    assert needed == pytest.approx((4.02 + 4.02 - 8) / 4.02)
    same = found("fp32", exit_rate=needed)
    assert same.chain_ms == pytest.approx(same.plain.image_ms)


def test_energy_is_milliseconds_times_nominal_watts():
    assert found().energy_mj(3.0) == 60.0


def test_without_a_known_budget_there_is_no_energy():
    board = changed(TOY, modes=(changed(TOY_MODE, budget_w=None),))
    result = found(board=board)
    assert result.energy_mj(3.0) is None
    assert result.to_json()["per_image"]["EE"]["energy_mj_at_budget"] is None
    assert "- No energy: no source states the nominal power of this mode." in estimate_lines(result)


def test_deit_s_in_fp16_on_an_orin_nano_is_memory_bound_for_one_image_and_compute_bound_for_sixteen():
    board = find_board("orin-nano-8gb")
    one, many = (found("fp16", batch, model=count_cost(preset("deit-s")), board=board) for batch in (1, 16))
    assert (one.ee.bound_by, one.sac.bound_by) == ("memory", "memory")
    assert (many.ee.bound_by, many.sac.bound_by, many.plain.bound_by) == ("compute", "compute", "compute")


def test_deit_s_in_fp32_on_an_orin_nano_is_compute_bound_even_for_one_image():
    result = found("fp32", model=count_cost(preset("deit-s")), board=find_board("orin-nano-8gb"))
    assert {result.ee.bound_by, result.sac.bound_by, result.plain.bound_by} == {"compute"}


def test_where_compute_bounds_everything_the_speedup_is_that_of_the_macs():
    cost = count_cost(preset("deit-s"))
    result = found("fp32", 16, 0.77, model=cost, board=find_board("orin-nano-8gb"))
    assert result.pay_off.gain == pytest.approx(cost.speedup_limit(0.77))


def test_where_memory_bounds_everything_two_stages_cannot_pay_off():
    result = found("int8", model=count_cost(preset("deit-s")), board=find_board("agx-thor"))
    assert result.pay_off.exit_rate > 1
    assert pay_off_line(result) == "By these bounds the chain is slower than the plain ViT at every exit rate."


def test_the_bound_of_the_first_mode_holds_in_every_mode():
    for board, mode in ALL_MODES:
        first = found("int8fp16", model=count_cost(preset("deit-s")), board=board)
        other = found("int8fp16", model=count_cost(preset("deit-s")), board=board, mode=mode.name)
        assert first.chain_ms <= other.chain_ms and first.plain.image_ms <= other.plain.image_ms, (
            board.name,
            mode.name,
        )


COUNTS = st.integers(0, 10**13)
STAGES = st.builds(StageCost, COUNTS, COUNTS, COUNTS, COUNTS)
FIELDS = st.sampled_from(["macs", "weight_bytes", "input_bytes", "output_bytes"])
SETTINGS = st.sampled_from(ALL_MODES)


@given(STAGES, FIELDS, COUNTS, SETTINGS, st.sampled_from(PRECISIONS), st.integers(1, 1024))
def test_the_bound_never_falls_when_macs_or_bytes_rise(stage, field, more, setting, precision, batch):
    raised = replace(stage, **{field: getattr(stage, field) + more})
    assert (
        estimate_stage(raised, *setting, precision, batch).image_ms
        >= estimate_stage(stage, *setting, precision, batch).image_ms
    )


@given(STAGES, SETTINGS, st.sampled_from(PRECISIONS), st.integers(1, 512))
def test_an_image_of_a_larger_batch_never_takes_longer(stage, setting, precision, batch):
    alone = estimate_stage(stage, *setting, precision, batch).image_ms
    # rounding of doubles: the two sides are sums and products of a handful of numbers
    assert estimate_stage(stage, *setting, precision, 2 * batch).image_ms <= alone * (1 + 1e-12)


def test_weights_that_fit_the_cache_weaken_the_memory_side_and_the_text_says_so():
    small = replace(STAGE, weight_bytes=4 * 2**20)
    assert estimate_stage(small, TOY, TOY_MODE, "int8", 1).fits_l2
    assert not estimate_stage(replace(small, weight_bytes=4 * 2**20 + 4), TOY, TOY_MODE, "int8", 1).fits_l2
    result = found("int8", model=ModelCost(small, small, small))
    assert any(line.startswith("Weights fit the GPU's 1 MiB cache") for line in assumption_lines(result))
    assert not any(line.startswith("Weights fit") for line in assumption_lines(found("int8")))


def test_a_board_whose_cache_is_unknown_claims_no_fit():
    assert not estimate_stage(STAGE, changed(TOY, l2_mib=None, l2_source=""), TOY_MODE, "int8", 1).fits_l2


def test_a_model_whose_second_stage_costs_nothing_has_no_break_even():
    result = found(model=replace(SPLIT, sac=StageCost(0, 0, 0, 0)))
    assert pay_off_line(result) == "There is no break-even: a stage costs nothing."
    assert result.to_json()["break_even_exit_rate"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"precision": "int4"},
            r"no precision 'int4' \(did you mean int8\?\); known: fp32, fp16, bf16, fp8, int8fp16, int8",
        ),
        ({"batch": 0}, "a batch holds at least 1 image, found 0"),
        ({"exit_rate": 77}, r"an exit rate lies in \[0, 1\], found 77"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        found(**changes)


def test_a_mode_of_another_board_is_refused():
    with pytest.raises(UsageError, match="TOY is no mode of agx-thor; known: MAXN"):
        estimate(SPLIT, find_board("agx-thor"), TOY_MODE, "fp16", 1, 0.5)


def test_the_text_is_headed_as_an_estimate_and_ends_with_how_to_measure():
    lines = estimate_lines(found())
    assert lines[0] == "ESTIMATE, nothing was measured: toy in mode TOY, fp16, batch 1"
    assert lines[-2:] == [
        "To measure instead, run on the board, in mode TOY:",
        "  sacvit-profile --engine ee.plan sac.plan",
    ]


def test_the_text_has_a_row_for_each_stage_the_chain_and_the_plain_vit():
    lines = estimate_lines(found("fp32", exit_rate=0.25))
    assert "EE                           4.020      2.000     4.020         -  memory       80.40" in lines
    assert "chain, 25.0% exit            7.035                                             140.70" in lines
    assert "plain ViT                    8.000      8.000     4.020         -  compute     160.00" in lines


def test_the_text_says_that_energy_is_no_bound_and_which_other_modes_there_are():
    board = find_board("orin-nano-8gb")
    text = "\n".join(estimate_lines(found(model=count_cost(preset("deit-s")), board=board, mode="25W")))
    assert "the mode's nominal 25 W, and no bound: modes cap clocks, not watts" in text
    assert "\nOther modes: MAXN_SUPER, 15W\n" in text


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_text_says_what_the_precision_is_taken_to_run_on(precision):
    wanted = {
        "fp32": "our plans are built with TF32 off",
        "fp16": "in FP16 on the tensor cores",
        "int8": "only the linear layers do; the rest is FP32",
        "int8fp16": "only the MLPs do; attention is FP16",
    }
    assert wanted[precision] in estimate_lines(found(precision))[estimate_lines(found(precision)).index("Assumed:") + 1]


def test_no_line_is_wider_than_110_columns():
    for board, mode in ALL_MODES:
        for line in estimate_lines(found("int8fp16", 128, 0.123, count_cost(preset("deit-b")), board, mode.name)):
            assert len(line) <= 110, line


def test_json_holds_what_the_text_prints():
    result = found("fp32", exit_rate=0.25)
    entries = json.loads(json.dumps(result.to_json()))
    assert (entries["kind"], entries["board"], entries["mode"]) == ("estimate", "toy", "TOY")
    assert entries["per_image"]["chain"] == {
        "latency_ms_at_least": result.chain_ms,
        "energy_mj_at_budget": 20 * result.chain_ms,
    }
    assert entries["per_image"]["plain"]["bound_by"] == "compute"
    assert entries["break_even_exit_rate"] == result.pay_off.exit_rate


KERNELS = {"EE": 1000, "SAC": 900, "plain": 800}


def test_a_pass_takes_as_long_as_its_kernels_need_to_start():
    result = found(kernels=KERNELS)  # 5 us each
    assert (result.ee.launch_ms, result.ee.image_ms, result.ee.bound_by) == (5.0, 5.0, "launches")
    assert found(kernels=KERNELS, batch=10).ee.image_ms == pytest.approx(0.5)  # compute: launches are shared


def test_kernels_that_nobody_counted_take_no_time_and_the_text_says_so():
    assert found().ee.launch_ms == 0
    assert any("kernels were not counted" in line for line in assumption_lines(found()))
    assert any("EE 1000, SAC 900, plain 800" in line for line in assumption_lines(found(kernels=KERNELS)))


def test_two_stages_that_launch_more_pay_from_several_cameras_on():
    lines = camera_lines(found(kernels=KERNELS, exit_rate=0.9))
    gains = [float(text) for text in lines[1].split()[-4:]]
    assert gains[0] < 1 < gains[1] <= gains[3]
    assert lines[-1] == "By these bounds two stages pay from 4 cameras on."
    assert found(kernels=KERNELS, exit_rate=0.9).to_json()["speedup_of_bounds_by_batch"]["1"] == pytest.approx(
        gains[0], abs=0.01
    )


@pytest.mark.parametrize(
    ("model", "verdict"),
    [
        (replace(SPLIT, plain=replace(STAGE, weight_bytes=10**9)), "pay with one camera already"),
        (replace(SPLIT, plain=STAGE), "do not pay with up to 16 cameras"),
    ],
)
def test_the_verdict_on_cameras_follows_the_bounds(model, verdict):
    assert verdict in camera_lines(found(model=model))[-1]


def test_the_fewest_kernels_of_any_gpu_are_taken_and_refusals_are_passed_over():
    one = {"file": "ee.fp16.onnx", "target": "sm89", "refusal": "", "launches": 99}
    compiled = [
        {**one, "target": "sm75", "launches": 112},
        one,
        {**one, "target": "sm80", "refusal": "too old", "launches": 0},
        {**one, "file": "sac.fp16.onnx", "launches": 91},
        {**one, "file": "plain.fp16.onnx", "launches": 88},
        {**one, "file": "ee.onnx", "launches": 161},
    ]
    assert kernels_of(compiled, "fp16") == {"EE": 99, "SAC": 91, "plain": 88}
    assert kernels_of(compiled, "fp32") is None and kernels_of(compiled[:4], "fp16") is None


@pytest.mark.parametrize(
    ("board", "tops", "gb_s"),
    [("rtx-3060", 50.9, 360), ("rtx-4060", 60.46, 272), ("rtx-4090", 330.3, 1008), ("rtx-5090", 419.2, 1792)],
)
def test_graphics_cards_have_the_dense_fp16_peak_and_the_bandwidth_that_are_stated(board, tops, gb_s):
    mode = find_board(board).mode()
    assert mode.tera_ops(find_board(board).gpu.fp16_ops) == pytest.approx(tops, rel=0.005)
    assert mode.memory_gb_s == gb_s
