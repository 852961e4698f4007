"""Graphs in ONNX Runtime: by name, in pieces, and the same for fixed and symbolic batches."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from sacvit.bundle.stage_record import HAND_OFF
from sacvit.calibration.onnx_session import CHUNK, Pair, Session

Models = tuple[onnx.ModelProto, onnx.ModelProto]
TOLERANCE = 1e-5  # of values around 1: FP32 sums in another order; measured 5e-7


@pytest.fixture(scope="module")
def symbolic(graphs: Models) -> Pair:
    return Pair(*graphs)


@pytest.fixture(scope="module")
def fixed(fixed_graphs: Models) -> Pair:
    return Pair(*fixed_graphs)


def test_a_session_gives_every_output_by_its_name(graphs: Models, images: np.ndarray) -> None:
    outputs = Session(graphs[0]).run({"image": images[:2]})
    assert set(outputs) == {"logits", "confidence", "class_attention", *HAND_OFF}


def test_a_session_knows_the_shapes_of_its_inputs(fixed_graphs: Models) -> None:
    assert Session(fixed_graphs[0]).inputs == {"image": [4, 64, 64, 3]}


def test_a_fixed_graph_takes_pieces_of_its_own_size(fixed: Pair) -> None:
    assert (fixed.fixed, fixed.chunk) == (4, 4)


def test_a_symbolic_graph_takes_pieces_of_a_set_size(symbolic: Pair) -> None:
    assert (symbolic.fixed, symbolic.chunk) == (None, CHUNK)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_ee_of_a_fixed_graph_gives_the_symbolic_graph_s_outputs(
    fixed: Pair, symbolic: Pair, images: np.ndarray, count: int
) -> None:
    found, expected = fixed.run_ee(images[:count]), symbolic.run_ee(images[:count])
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_sac_of_a_fixed_graph_gives_the_symbolic_graph_s_logits(
    fixed: Pair, symbolic: Pair, images: np.ndarray, count: int
) -> None:
    handed = symbolic.run_ee(images[:count])
    found, expected = fixed.run_sac(images[:count], handed), symbolic.run_sac(images[:count], handed)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_an_image_s_logits_do_not_depend_on_the_images_beside_it(symbolic: Pair, images: np.ndarray) -> None:
    together = symbolic.run_sac(images[:5], symbolic.run_ee(images[:5]))
    alone = [symbolic.run_sac(images[i : i + 1], symbolic.run_ee(images[i : i + 1]))[0] for i in range(5)]
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


@pytest.mark.parametrize("which", ["fixed", "symbolic"])
def test_sac_runs_for_every_image_however_sure_ee_is(
    which: str, images: np.ndarray, request: pytest.FixtureRequest
) -> None:
    pair = request.getfixturevalue(which)
    handed = pair.run_ee(images[:3])
    handed["confidence"][:] = 1
    assert pair.run_sac(images[:3], handed).shape == (3, 7)


def test_sac_s_logits_are_not_ee_s(symbolic: Pair, images: np.ndarray) -> None:
    handed = symbolic.run_ee(images[:3])
    assert not np.allclose(symbolic.run_sac(images[:3], handed), handed["logits"], atol=0.01)


def test_sac_s_inputs_name_every_row(symbolic: Pair, fixed: Pair, images: np.ndarray) -> None:
    rows = [pair.sac_inputs(images[:3], pair.run_ee(images[:3]))["row"] for pair in (symbolic, fixed)]
    assert [(row.tolist(), row.dtype) for row in rows] == [([0, 1, 2], np.int32), ([0, 1, 2, 3], np.int32)]


def test_a_fixed_graph_s_missing_images_start_over(fixed: Pair, images: np.ndarray) -> None:
    np.testing.assert_array_equal(fixed.filled(images[:3]), images[[0, 1, 2, 0]])


def test_one_image_fills_a_whole_batch(fixed: Pair, images: np.ndarray) -> None:
    np.testing.assert_array_equal(fixed.filled(images[:1]), images[[0, 0, 0, 0]])


def test_filling_works_on_numbers_too(fixed: Pair) -> None:
    np.testing.assert_array_equal(fixed.filled(np.array([5, 6, 7])), [5, 6, 7, 5])


def test_a_symbolic_graph_is_not_filled(symbolic: Pair, images: np.ndarray) -> None:
    np.testing.assert_array_equal(symbolic.filled(images[:3]), images[:3])


def test_ee_runs_without_sac(graphs: Models, images: np.ndarray) -> None:
    pair = Pair(graphs[0])
    assert pair.sac is None
    assert pair.run_ee(images[:2])["confidence"].shape == (2,)
