"""The table against what NVIDIA states of the modules."""

from __future__ import annotations

import json
import re

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.profiles.estimates.boards import find_board, load_boards
from sacvit.profiles.estimates.roofline import peak_tops

SPARSE = 2  # NVIDIA's totals count two operations for one: 2:4 sparsity
HALF = 0.5  # how far a stated whole number may lie from what it was rounded from


def peak(name, mode, precision):
    board = find_board(name)
    return peak_tops(board, board.mode(mode), precision)


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
    assert peak(board, mode, "int8") * SPARSE + dla == pytest.approx(stated, abs=HALF)


@pytest.mark.parametrize(("board", "mode", "stated"), [("orin-nano-8gb", "15W", 40), ("orin-nano-4gb", "10W", 20)])
def test_the_first_orin_nanos_have_the_tops_of_their_data_sheet(board, mode, stated):
    # the data sheet rounds 40.96 and 20.48 down to a multiple of ten
    assert peak(board, mode, "int8") * SPARSE == pytest.approx(stated, rel=0.025)


def test_the_super_orin_nano_4gb_has_34_tops():
    # 33.4 from the clock; NVIDIA halves the 67 of its big sister and rounds up
    assert peak("orin-nano-4gb", "MAXN_SUPER", "int8") * SPARSE == pytest.approx(34, rel=0.025)


def test_an_agx_orin_64gb_has_85_dense_int8_tops():
    assert peak("agx-orin-64gb", "MAXN", "int8") == pytest.approx(85, abs=HALF)


@pytest.mark.parametrize(
    ("board", "mode", "stated"), [("orin-nx-16gb", "MAXN", 15), ("orin-nx-16gb", "MAXN_SUPER", 19)]
)
def test_an_orin_nx_has_the_fp16_tflops_of_its_data_sheet(board, mode, stated):
    assert peak(board, mode, "fp16") == pytest.approx(stated, abs=HALF)


@pytest.mark.parametrize(
    ("board", "stated"),
    [("agx-orin-64gb", 5.3), ("agx-orin-32gb", 3.33)],  # technical brief; half of TechPowerUp's 6.66 FP16 TFLOPS
)
def test_cuda_cores_have_the_fp32_tflops_that_are_stated(board, stated):
    assert peak(board, "MAXN", "fp32") == pytest.approx(stated, rel=0.005)  # two or three digits are stated


def test_thor_has_the_sparse_int8_and_fp16_peaks_that_nvidia_states():
    # NVIDIA's 2070, 1035 and 517 fit a clock of 1.579 GHz; boards show 1.575
    assert peak("agx-thor", "MAXN", "int8") * SPARSE == pytest.approx(1035, rel=0.005)
    assert peak("agx-thor", "MAXN", "fp16") * SPARSE == pytest.approx(517, rel=0.005)


def test_a_t4000_has_the_1200_sparse_fp4_tflops_that_nvidia_states():
    # FP4 runs at twice the rate of INT8, as on the T5000: 2070 and 1035
    assert peak("thor-t4000", "MAXN", "int8") * 2 * SPARSE == pytest.approx(1200, abs=1)


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
    assert find_board(board).mode(mode).memory_gb_s == pytest.approx(stated, abs=HALF)


def test_a_mode_named_after_watts_has_them_as_its_budget():
    for board in load_boards().values():
        for mode in board.modes:
            watts = mode.name.removeprefix("MODE_").removesuffix("W")
            assert not watts.isdigit() or mode.budget_w == int(watts), (board.name, mode.name)


def test_int8_is_twice_as_fast_as_fp16_on_tensor_cores():
    for board in load_boards().values():
        assert board.gpu.int8_ops == 2 * board.gpu.fp16_ops, board.name


def test_fp8_is_as_fast_as_int8_and_bf16_no_faster_than_fp16_where_a_source_states_them():
    gpus = {board.gpu.name: board.gpu for board in load_boards().values()}.values()
    stated = [gpu for gpu in gpus if gpu.fp8_ops is not None and gpu.bf16_ops is not None]
    assert {gpu.name for gpu in stated} == {"Ada", "Blackwell RTX"}
    assert all(gpu.fp8_ops == gpu.int8_ops and gpu.bf16_ops <= gpu.fp16_ops for gpu in stated)


@pytest.mark.parametrize("precision", ["fp8", "bf16"])
def test_a_precision_that_no_source_states_is_refused(precision):
    with pytest.raises(UsageError, match=f"no source states how fast orin-nano-8gb is in {precision.upper()}"):
        peak_tops(load_boards()["orin-nano-8gb"], load_boards()["orin-nano-8gb"].mode(), precision)


MODE = {"name": "MAXN", "sms": 4, "gpu_mhz": 1000, "memory_mhz": 3200, "bus_bits": 64, "source": "a data sheet"}
TABLE = {
    "gpus": [
        {
            "name": "Ampere",
            "int8_ops": 4096,
            "fp16_ops": 2048,
            "fp32_ops": 256,
            "source": "a data sheet",
            "launch_us": 0.5,
            "launch_source": "a log",
        }
    ],
    "boards": [{"name": "new", "module": "A New Module", "gpu": "Ampere", "modes": [MODE]}],
}


def table_with(tmp_path, **changes):
    path = tmp_path / "boards.json"
    path.write_text(json.dumps({**TABLE, "boards": [{**TABLE["boards"][0], **changes}]}))
    return path


def test_a_board_is_one_record(tmp_path):
    board = load_boards(table_with(tmp_path))["new"]
    assert board.mode().tera_ops(board.gpu.int8_ops) == pytest.approx(16.384)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modes": []}, "length >= 1 - at `$[0].modes`"),
        ({"modes": [{**MODE, "gpu_mhz": "1000"}]}, "Expected `float`, got `str` - at `$[0].modes[0].gpu_mhz`"),
        ({"modes": [{**MODE, "gpu_mhz": 0}]}, "Expected `float` > 0.0 - at `$[0].modes[0].gpu_mhz`"),
        ({"modes": [{**MODE, "budget_w": -5}]}, "Expected `float` > 0.0 - at `$[0].modes[0].budget_w`"),
        ({"modes": [{**MODE, "source": ""}]}, "length >= 1 - at `$[0].modes[0].source`"),
        ({"modes": [{**MODE, "watts": 5}]}, "unknown field `watts` - at `$[0].modes[0]`"),
        ({"modes": [MODE, {**MODE, "name": "FASTER", "gpu_mhz": 1001}]}, "the fastest mode comes first - at `$[0]`"),
        ({"l2_mib": 2}, "l2_mib and l2_source belong together"),
        ({"gpu": "Hopper"}, "boards[0].gpu: expected one of Ampere"),
        ({"module": None}, "Expected `str`, got `null` - at `$[0].module`"),
    ],
)
def test_a_record_that_cannot_be_meant_is_refused_by_its_place(tmp_path, changes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        load_boards(table_with(tmp_path, **changes))


def test_two_records_of_one_name_are_refused(tmp_path):
    path = tmp_path / "boards.json"
    path.write_text(json.dumps({**TABLE, "boards": TABLE["boards"] * 2}))
    with pytest.raises(ValueError, match="two records have one name"):
        load_boards(path)


def test_the_mode_of_a_board_is_its_fastest_when_none_is_named():
    assert find_board("orin-nano-8gb").mode().name == "MAXN_SUPER"


def test_a_mode_is_found_in_small_letters_too():
    assert find_board("orin-nano-8gb").mode("maxn_super").gpu_mhz == 1020


def test_an_unknown_board_is_refused_with_the_nearest_and_all_known_ones():
    with pytest.raises(UsageError) as caught:
        find_board("orin-nano-8gb-super")
    assert str(caught.value).startswith("no board 'orin-nano-8gb-super' (did you mean orin-nano-8gb?); known: ")
    assert all(name in str(caught.value) for name in load_boards())


def test_an_unknown_mode_is_refused_with_the_boards_own():
    with pytest.raises(UsageError, match=r"orin-nano-8gb has no mode '40W'.*; known: MAXN_SUPER, 25W, 15W$"):
        find_board("orin-nano-8gb").mode("40W")
