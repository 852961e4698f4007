"""Weights that are mapped from their file: the same answers, no trace of the file afterwards, and no trust in what it holds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from sacvit.runtime.engines import session_memory
from sacvit.runtime.engines.onnx import make_session
from sacvit.runtime.engines.session_memory import graph_without_weights, mapped_session


@pytest.fixture(autouse=True)
def small_weights_count(monkeypatch):
    monkeypatch.setattr(session_memory, "LEAST_BYTES", 256)  # those of the test's network are small


@pytest.fixture
def ee(bundles, tmp_path) -> Path:
    return Path(shutil.copy(bundles / "bundle" / "ee.onnx", tmp_path))


def mapped(path: Path):
    session = mapped_session(path, ort.SessionOptions())
    assert session is not None
    return session


def answers(session, pictures) -> list[bytes]:
    return [values.tobytes() for values in session.run(None, {"image": np.stack(pictures[:2])})]


def test_mapped_weights_give_the_same_answers_to_the_bit(ee, pictures):
    assert answers(mapped(ee), pictures) == answers(ort.InferenceSession(str(ee)), pictures)


def test_the_graph_leaves_its_matrices_in_the_file(ee):
    graph = graph_without_weights(ee)
    assert graph is not None and len(graph) < ee.stat().st_size / 2


def test_nothing_of_the_file_stays_mapped(ee):
    session = mapped(ee)
    assert str(ee) not in Path("/proc/self/maps").read_text()
    del session


def test_a_file_of_the_same_name_in_the_working_folder_is_not_read(ee, pictures, tmp_path, monkeypatch):
    expected = answers(ort.InferenceSession(str(ee)), pictures)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "ee.onnx").write_bytes(bytes(ee.stat().st_size))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert answers(mapped(ee), pictures) == expected


def test_a_link_leads_to_the_weights_of_its_file(ee, pictures, tmp_path):
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "sac.onnx"
    link.symlink_to(ee)
    assert answers(mapped(link), pictures) == answers(ort.InferenceSession(str(ee)), pictures)


def test_a_file_that_is_replaced_meanwhile_is_read_whole(ee, bundles, tmp_path, monkeypatch):
    def replaced_behind(path: Path) -> bytes | None:
        graph = graph_without_weights(path)
        os.replace(shutil.copy(path, tmp_path / "new"), path)
        return graph

    monkeypatch.setattr(session_memory, "graph_without_weights", replaced_behind)
    assert mapped_session(ee, ort.SessionOptions()) is None


def test_a_file_without_large_matrices_is_read_whole(ee, monkeypatch):
    monkeypatch.setattr(session_memory, "LEAST_BYTES", ee.stat().st_size // 2)
    assert graph_without_weights(ee) is None


@pytest.mark.parametrize("share", [0.0, 0.2, 0.3, 0.9])
def test_a_file_that_was_cut_is_left_to_onnx_runtime(ee, share):
    content = ee.read_bytes()
    ee.write_bytes(content[: int(share * len(content))])
    assert graph_without_weights(ee) is None


@pytest.mark.parametrize(
    "end",
    [b"\x3a\xff", b"\x3a\x04\x2a\xff\xff\x7f", b"\xff" * 64, b"\x0b", b"\x08"],
    ids=["no size", "a tensor behind the end", "an endless number", "a group", "no number"],
)
def test_a_file_that_ends_in_no_message_is_left_to_onnx_runtime(ee, end):
    ee.write_bytes(ee.read_bytes() + end)
    assert graph_without_weights(ee) is None


def test_an_older_onnx_runtime_reads_the_file_whole(ee, monkeypatch):
    monkeypatch.setattr(ort, "__version__", "1.20.1")
    assert mapped_session(ee, ort.SessionOptions()) is None


def test_sessions_on_the_cpu_share_one_arena_and_keep_their_weights_out_of_it(ee):
    options = make_session(ee, "cpu").get_session_options()
    assert options.get_session_config_entry("session.use_env_allocators") == "1"
    assert options.get_session_config_entry("session.use_device_allocator_for_initializers") == "1"


def test_an_arena_that_the_program_registered_itself_is_shared(ee, monkeypatch):
    def registered_before(*_):
        raise RuntimeError("An allocator for this device has already been registered for sharing.")  # ONNX Runtime 1.21

    monkeypatch.setattr(ort, "create_and_register_allocator", registered_before)
    session_memory._register_arena.cache_clear()
    assert make_session(ee, "cpu").get_inputs()[0].name == "image"
