"""The table against what NVIDIA states of the modules."""

from __future__ import annotations

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.profiles.estimates.boards import AMPERE, BLACKWELL, BOARDS, find_board

ALL_MODES = [(board, mode) for board in BOARDS.values() for mode in board.modes]
IDS = [f"{board.name} {mode.name}" for board, mode in ALL_MODES]
SPARSE = 2  # NVIDIA's totals count two operations for one: 2:4 sparsity
HALF = 0.5  # how far a stated whole number may lie from what it was rounded from


def mode_of(board, mode):
    return find_board(board).mode(mode)


@pytest.mark.parametrize(
    ("board", "mode", "stated", "dla"),  # sparse INT8 TOPS of the module; DLA's share of them
    [
        ("orin-nano-8gb", "MAXN_SUPER", 67, 0),
        ("orin-nx-8gb", "MAXN_SUPER", 117, 40),
        ("orin-nx-8gb", "MAXN", 70, 20),
        ("orin-nx-16gb", "MAXN_SUPER", 157, 80),
        ("orin-nx-16gb", "MAXN", 100, 40),
        ("agx-orin-64gb", "MAXN", 275, 105),
    ],
)
def test_gpu_and_dla_add_up_to_the_sparse_int8_tops_that_nvidia_states(board, mode, stated, dla):
    assert mode_of(board, mode).int8_tops * SPARSE + dla == pytest.approx(stated, abs=HALF)


@pytest.mark.parametrize(("board", "mode", "stated"), [("orin-nano-8gb", "15W", 40), ("orin-nano-4gb", "10W", 20)])
def test_the_first_orin_nanos_have_the_tops_of_their_data_sheet(board, mode, stated):
    # the data sheet rounds 40.96 and 20.48 down to a multiple of ten
    assert mode_of(board, mode).int8_tops * SPARSE == pytest.approx(stated, rel=0.025)


def test_the_super_orin_nano_4gb_has_34_tops():
    # 33.4 from the clock; NVIDIA halves the 67 of its big sister and rounds up
    assert mode_of("orin-nano-4gb", "MAXN_SUPER").int8_tops * SPARSE == pytest.approx(34, rel=0.025)


def test_an_agx_orin_64gb_has_85_dense_int8_tops():
    assert mode_of("agx-orin-64gb", "MAXN").int8_tops == pytest.approx(85, abs=HALF)


@pytest.mark.parametrize(
    ("board", "mode", "stated"), [("orin-nx-16gb", "MAXN", 15), ("orin-nx-16gb", "MAXN_SUPER", 19)]
)
def test_an_orin_nx_has_the_fp16_tflops_of_its_data_sheet(board, mode, stated):
    assert mode_of(board, mode).fp16_tflops == pytest.approx(stated, abs=HALF)


@pytest.mark.parametrize(
    ("board", "stated"),
    [("agx-orin-64gb", 5.3), ("agx-orin-32gb", 3.33)],  # technical brief; half of TechPowerUp's 6.66 FP16 TFLOPS
)
def test_cuda_cores_have_the_fp32_tflops_that_are_stated(board, stated):
    assert mode_of(board, "MAXN").fp32_tflops == pytest.approx(stated, rel=0.005)  # two or three digits are stated


def test_thor_has_the_sparse_int8_and_fp16_peaks_that_nvidia_states():
    mode = mode_of("agx-thor", "MAXN")
    # NVIDIA's 2070, 1035 and 517 fit a clock of 1.579 GHz; boards show 1.575
    assert mode.int8_tops * SPARSE == pytest.approx(1035, rel=0.005)
    assert mode.fp16_tflops * SPARSE == pytest.approx(517, rel=0.005)


def test_a_t4000_has_the_1200_sparse_fp4_tflops_that_nvidia_states():
    # FP4 runs at twice the rate of INT8, as on the T5000: 2070 and 1035
    assert mode_of("thor-t4000", "MAXN").int8_tops * 2 * SPARSE == pytest.approx(1200, abs=1)


@pytest.mark.parametrize(
    ("board", "mode", "stated"),
    [
        ("orin-nano-4gb", "10W", 34), ("orin-nano-4gb", "MAXN_SUPER", 51), ("orin-nano-8gb", "15W", 68),
        ("orin-nano-8gb", "25W", 102), ("orin-nano-8gb", "MAXN_SUPER", 102), ("orin-nx-8gb", "MAXN", 102.4),
        ("orin-nx-16gb", "MAXN", 102.4), ("agx-orin-32gb", "MAXN", 204.8), ("agx-orin-64gb", "MAXN", 204.8),
        ("agx-thor", "MAXN", 273), ("thor-t4000", "MAXN", 273),
    ],
)  # fmt: skip
def test_the_memory_clock_and_bus_make_the_bandwidth_that_nvidia_states(board, mode, stated):
    assert mode_of(board, mode).memory_gb_s == pytest.approx(stated, abs=HALF)


@pytest.mark.parametrize(
    ("name", "sms", "gpu_mhz"), [("MODE_50W", 16, 816), ("MODE_30W", 8, 612), ("MODE_15W", 6, 408)]
)
def test_lower_modes_of_an_agx_orin_64gb_slow_the_gpu_and_switch_sms_off(name, sms, gpu_mhz):
    mode = mode_of("agx-orin-64gb", name)
    assert (mode.sms, mode.gpu_mhz) == (sms, gpu_mhz)


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_the_first_mode_of_a_board_is_the_fastest_on_both_sides(name):
    first, *others = BOARDS[name].modes
    for mode in others:
        assert (first.int8_tops, first.memory_gb_s) >= (mode.int8_tops, mode.memory_gb_s)
        assert first.memory_gb_s >= mode.memory_gb_s


@pytest.mark.parametrize(("board", "mode"), ALL_MODES, ids=IDS)
def test_a_mode_named_after_watts_has_them_as_its_budget(board, mode):
    watts = mode.name.removeprefix("MODE_").removesuffix("W")
    if watts.isdigit():
        assert mode.budget_w == int(watts)


@pytest.mark.parametrize(("board", "mode"), ALL_MODES, ids=IDS)
def test_every_row_names_a_source(board, mode):
    assert mode.source and (board.l2_mib is None) == (board.l2_source == "")


@pytest.mark.parametrize("gpu", [AMPERE, BLACKWELL], ids=lambda gpu: gpu.name)
def test_int8_is_twice_as_fast_as_fp16_on_tensor_cores(gpu):
    assert gpu.int8_ops == 2 * gpu.fp16_ops


def test_the_mode_of_a_board_is_its_fastest_when_none_is_named():
    assert find_board("orin-nano-8gb").mode().name == "MAXN_SUPER"


def test_a_mode_is_found_in_small_letters_too():
    assert find_board("orin-nano-8gb").mode("maxn_super").gpu_mhz == 1020


def test_an_unknown_board_is_refused_with_the_nearest_and_all_known_ones():
    with pytest.raises(UsageError) as caught:
        find_board("orin-nano-8gb-super")
    assert str(caught.value).startswith("no board 'orin-nano-8gb-super' (did you mean orin-nano-8gb?); known: ")
    assert all(name in str(caught.value) for name in BOARDS)


def test_an_unknown_mode_is_refused_with_the_boards_own():
    with pytest.raises(UsageError, match=r"orin-nano-8gb has no mode '40W'.*; known: MAXN_SUPER, 25W, 15W$"):
        find_board("orin-nano-8gb").mode("40W")
