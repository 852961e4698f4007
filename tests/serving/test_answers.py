"""What a server answered: right answers become results, and whatever its model cannot have computed is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacvit.bundle.errors import EngineError
from sacvit.runtime.chain.result import Result
from sacvit.serving.answers import answer_bytes, results_of
from sacvit.serving.description import About

RIGHT = [
    Result(1, "bee", pytest.approx(0.9), "EE", pytest.approx(0.9), (1, 2), 1.5, None),
    Result(2, "cat", pytest.approx(0.6), "SAC", 0.25, (3, 0), 1.5, 2.5),
]


def test_a_right_answer_becomes_results(about: About, columns: Any, answer_of: Any) -> None:
    assert results_of(*answer_of(columns), about, 2, "it") == RIGHT


def test_a_right_answer_is_not_longer_than_the_limit(about: About, columns: Any, answer_of: Any) -> None:
    assert len(answer_of(columns)[0]) <= answer_bytes(about, 2)


def test_outputs_may_come_in_another_order_and_beside_others(about: About, columns: Any, answer_of: Any) -> None:
    shuffled = {"label": np.zeros((2, 3), np.uint8)} | dict(reversed(columns.items()))
    assert results_of(*answer_of(shuffled), about, 2, "it") == RIGHT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("index", 1_000_000_000),
        ("index", 3),
        ("index", -1),
        ("stage", 0),
        ("stage", 3),
        ("probability", np.nan),
        ("probability", np.inf),
        ("probability", -1),
        ("confidence", np.nan),
        ("confidence", 2),
        ("ee_ms", np.inf),
        ("ee_ms", -1),
        ("sac_ms", np.nan),
        ("target_map", -1),
        ("target_map", 1),  # 1 twice
        ("target_map", 4),  # 1 and 4
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(
    about: About, columns: Any, answer_of: Any, name: str, value: float
) -> None:
    columns[name][(1, *[0] * (columns[name].ndim - 1))] = value
    with pytest.raises(EngineError, match=f"it answered what its model cannot have computed: {name} "):
        results_of(*answer_of(columns), about, 2, "it")


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("index", np.zeros((2, 1), np.int64)),
        ("index", np.zeros((1, 1), np.int32)),
        ("index", np.zeros((2,), np.int32)),
        ("index", np.zeros((2, 1), object)),
        ("target_map", np.zeros((2, 3, 3), np.int32)),
        ("stage", np.zeros((2, 1 << 16), np.uint8)),
    ],
)
def test_a_wrong_type_or_shape_is_refused_by_its_name(
    about: About, columns: Any, answer_of: Any, name: str, column: np.ndarray
) -> None:
    with pytest.raises(EngineError, match=f"{name} is .*, expected "):
        results_of(*answer_of(columns | {name: column}), about, 2, "it")


@pytest.mark.parametrize(
    "header",
    [
        {"parameters": {"binary_data_size": 1 << 60}},
        {"parameters": {"binary_data_size": -8}},
        {"parameters": {"binary_data_size": "8"}},
        {"parameters": {}},
        {"parameters": None},
        {"shape": [2, 1.5]},
        {"shape": "x" * 60_000},
        {"datatype": "A" * 60_000},
        {"name": 5},
    ],
)
def test_a_header_that_is_wrong_is_refused(about: About, columns: Any, answer_of: Any, header: Any) -> None:
    with pytest.raises(EngineError) as fault:
        results_of(*answer_of(columns, {"index": header}), about, 2, "it")
    assert len(str(fault.value)) < 400


def test_an_answer_of_numpy_2_beside_an_old_triton_is_explained(about: About, columns: Any, answer_of: Any) -> None:
    """Right shapes with no bytes behind them."""
    with pytest.raises(EngineError, match="pip install 'numpy<2'"):
        results_of(*answer_of(columns, {"index": {"parameters": {"binary_data_size": 0}}}), about, 2, "it")


@pytest.mark.parametrize("missing", ["index", "target_map"])
def test_a_missing_output_is_refused_by_its_name(about: About, columns: Any, answer_of: Any, missing: str) -> None:
    del columns[missing]
    with pytest.raises(EngineError, match=f"no {missing}"):
        results_of(*answer_of(columns), about, 2, "it")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 900), piece=st.binary(max_size=8), length=st.text(max_size=12))
def test_no_bytes_can_raise_anything_else(
    about: About, columns: Any, answer_of: Any, place: int, piece: bytes, length: str
) -> None:
    content, header_bytes = answer_of(columns)
    for changed in (content[:place] + piece + content[place + len(piece) :], content[:place], piece):
        for size in (header_bytes, length):
            try:
                results = results_of(changed, size, about, 2, "it")
                assert all(0 <= one.index < 3 and 0 <= one.probability < 1.01 for one in results)
            except EngineError as fault:
                assert str(fault).startswith("it answered what its model cannot have computed")


def test_a_header_nested_without_end_is_refused(about: About) -> None:
    content = b'{"outputs":' + b"[" * 60_000
    with pytest.raises(EngineError):
        results_of(content, str(len(content)), about, 2, "it")
