from __future__ import annotations

from pathlib import Path

import pytest

from sacvit.bundle.errors import EngineError, UsageError
from sacvit.runtime.engines.pairs import find_pair


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
