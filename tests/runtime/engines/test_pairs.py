from __future__ import annotations

import shutil
from pathlib import Path
from threading import Barrier

import pytest

from sacvit.bundle.errors import EngineError, UsageError
from sacvit.runtime.engines import pairs
from sacvit.runtime.engines.backends import load_stage
from sacvit.runtime.engines.options import EngineOptions
from sacvit.runtime.engines.pairs import find_pair, load_pair


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_two_files_are_taken_as_they_are():
    assert find_pair("a.onnx", Path("b.onnx"), "openvino") == (Path("a.onnx"), Path("b.onnx"), "openvino")


def test_of_a_folder_the_fp32_files_are_taken(tmp_path):
    touch(tmp_path, "ee.onnx", "sac.onnx", "ee.int8.onnx", "sac.int8.onnx", "ee.plan", "sac.plan")
    assert find_pair(str(tmp_path))[:2] == (tmp_path / "ee.onnx", tmp_path / "sac.onnx")


def test_of_a_folder_with_nothing_but_plans_these_are_taken(tmp_path):
    touch(tmp_path, "ee.plan", "sac.plan", "sac.onnx")
    assert find_pair(tmp_path)[:2] == (tmp_path / "ee.plan", tmp_path / "sac.plan")


def test_a_folder_without_a_pair_names_the_export(tmp_path):
    with pytest.raises(EngineError, match="sacvit-export --ckpt"):
        find_pair(touch(tmp_path, "ee.onnx"))


def test_one_file_alone_asks_for_the_other(tmp_path):
    with pytest.raises(UsageError, match="two stages"):
        find_pair(touch(tmp_path, "ee.onnx") / "ee.onnx")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere does not exist.*sacvit-export"):
        find_pair(tmp_path / "nowhere")


@pytest.mark.parametrize("given", [(3,), ("ee.onnx", 3), (["ee.onnx", "sac.onnx"],)], ids=str)
def test_what_is_no_path_is_refused_by_its_type(given):
    with pytest.raises(UsageError, match=r"found (int|list)"):
        find_pair(*given)


def test_both_files_of_a_pair_are_loaded_at_once(bundles, monkeypatch):
    both = Barrier(2, timeout=20)  # seconds, after which the one that waits for the other fails

    def load_beside_the_other(path, options):
        both.wait()
        return load_stage(path, options)

    monkeypatch.setattr(pairs, "load_stage", load_beside_the_other)
    ee, sac = load_pair(bundles / "bundle" / "ee.onnx", bundles / "bundle" / "sac.onnx", EngineOptions("cpu"))
    assert (ee.record.stage, sac.record.stage) == ("EE", "SAC")


@pytest.mark.parametrize("broken", ["ee.onnx", "sac.onnx"])
def test_a_file_of_a_pair_that_does_not_load_is_named(bundles, tmp_path, broken):
    for name in ("ee.onnx", "sac.onnx"):
        shutil.copy(bundles / "bundle" / name, tmp_path)
    (tmp_path / broken).write_bytes(b"no model")
    with pytest.raises(EngineError, match=broken):
        load_pair(tmp_path / "ee.onnx", tmp_path / "sac.onnx", EngineOptions("cpu"))
