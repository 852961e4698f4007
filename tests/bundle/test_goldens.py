from __future__ import annotations

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from sacvit.bundle import goldens as module
from sacvit.bundle.errors import EngineError
from sacvit.bundle.goldens import GOLDENS_NAME, Goldens, read_goldens


@pytest.fixture
def some() -> Goldens:
    rng = np.random.default_rng(0)
    floats = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 5), (3,), (3, 5))]
    index = rng.integers(0, 16, (3, 8)).astype(np.int32)
    return Goldens(rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8), floats[0], floats[1], index, floats[2])


def test_what_was_written_is_read(tmp_path, some):
    some.write(tmp_path / GOLDENS_NAME)
    for name, array in vars(read_goldens(tmp_path)).items():
        assert np.array_equal(array, getattr(some, name)), name


def test_missing_goldens_are_told_with_the_next_command(tmp_path):
    with pytest.raises(EngineError, match=r"goldens\.npz is missing: .* Export again: sacvit-export"):
        read_goldens(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_truncated_goldens_are_damaged(tmp_path, some, share):
    path = tmp_path / GOLDENS_NAME
    some.write(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(EngineError, match=r"goldens\.npz is damaged"):
        read_goldens(tmp_path)


def test_arrays_of_unequal_length_are_damaged(tmp_path, some):
    replace(some, confidence=some.confidence[:2]).write(tmp_path / GOLDENS_NAME)
    with pytest.raises(EngineError, match="confidence is float32"):
        read_goldens(tmp_path)


def test_pickled_goldens_are_never_loaded(tmp_path, some):
    replace(some, images=np.array([{"a": 1}] * 3, dtype=object)).write(tmp_path / GOLDENS_NAME)
    with pytest.raises(EngineError, match="is damaged"):
        read_goldens(tmp_path)


def test_goldens_that_unpack_to_too_much_are_refused_unread(tmp_path, some, monkeypatch):
    some.write(tmp_path / GOLDENS_NAME)
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    monkeypatch.setattr(module.np, "load", None)
    with pytest.raises(EngineError, match=r"unpacks to .* bytes, the limit is 100"):
        read_goldens(tmp_path)


def test_a_zip_without_the_arrays_is_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / GOLDENS_NAME, "w") as archive:
        archive.writestr("other.txt", "x")
    with pytest.raises(EngineError, match="is damaged"):
        read_goldens(tmp_path)
