"""What training scripts pickle beside weights becomes plain values, or nothing; no class of theirs is made."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import pathlib
import types
from typing import Any

import numpy as np
import pytest
import torch

from sacvit.model.pickled_values import STAND_INS, Array, Opaque


def read(value: Any, rename: tuple[bytes, bytes] | None = None) -> Any:
    """A value as it comes out of a file of torch. rename: what a name in the pickle becomes before it is read."""
    buffer = io.BytesIO()
    torch.save({"value": value}, buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue()
    if rename is not None:
        assert rename[0] in content
        content = content.replace(*rename)
    with torch.serialization.safe_globals(STAND_INS):
        return torch.load(io.BytesIO(content), weights_only=True)["value"]


@pytest.mark.parametrize("value", [np.float64(1.5), np.float32(0.25), np.float16(2), np.int64(-3), np.bool_(True)])
def test_a_scalar_of_numpy_becomes_a_number(value: Any) -> None:
    assert read(value) == value.item() and type(read(value)) is type(value.item())


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_scalars_of_both_numpys_are_read(module: str) -> None:
    ours = f"{np.float64(0).__reduce__()[0].__module__}".encode()
    assert read(np.float64(1.5), (b"c" + ours, b"c" + f"{module}.multiarray".encode())) == 1.5


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6, dtype=np.float16).reshape(2, 3).T,
        np.arange(3, dtype=">f4"),
        np.array(7.0),
        np.zeros((0, 4)),
        np.arange(4, dtype=np.uint8),
    ],
)
def test_an_array_of_numbers_becomes_a_tensor(array: Any) -> None:
    found = read(array).tensor()
    assert found.numpy().dtype == array.dtype.newbyteorder("=") and np.array_equal(found.numpy(), array)


@pytest.mark.parametrize(
    "array", [np.array([{}, 3], dtype=object), np.zeros(2, [("a", "f4")]), np.array(["text"]), np.zeros(2, "M8[s]")]
)
def test_an_array_of_anything_else_has_no_values(array: Any) -> None:
    found = read(array)
    assert isinstance(found, Array) and found.tensor() is None


@pytest.mark.parametrize(
    "value",
    [
        argparse.Namespace(lr=1e-3, output=pathlib.PurePosixPath("/out"), device=torch.device("cuda:0")),
        types.SimpleNamespace(a=1),
        pathlib.PurePosixPath("/data/imagenet"),
        pathlib.PureWindowsPath(r"C:\data"),
        pathlib.Path("here"),
        datetime.timedelta(1),
        datetime.datetime(2022, 2, 18),
        torch.__version__,
    ],
)
def test_an_object_becomes_nothing(value: Any) -> None:
    assert type(read(value)) is Opaque


@pytest.mark.parametrize(
    "name", [b"pathlib\nWindowsPath", b"pathlib._local\nPosixPath", b"pathlib._local\nWindowsPath"]
)
def test_paths_of_other_systems_and_pythons_are_read(name: bytes) -> None:
    assert type(read(pathlib.PurePosixPath("x"), (b"pathlib\nPurePosixPath", name))) is Opaque


def test_a_defaultdict_and_a_deque_keep_what_they_hold() -> None:
    assert read(collections.defaultdict(dict, {"a": {1: 2}})) == {"a": {1: 2}}
    assert read(collections.deque([1, 2], 5)) == [1, 2]


def test_the_state_of_random_generators_is_read() -> None:
    assert (
        read({"numpy": np.random.RandomState(0).get_state(), "torch": torch.get_rng_state()})["numpy"][0] == "MT19937"
    )


@pytest.mark.parametrize(
    "state",
    [None, (), (1, (2,), None, False, b""), (1, ("2",), 0, 0, 0), (1, (1 << 60, 8), "dtype", False, b"1234")],
)
def test_a_forged_array_has_no_values(state: Any) -> None:
    array = Array()
    array.__setstate__(state)
    assert array.tensor() is None
