"""engines.json: what `--engine DIR` makes of it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sacvit.bundle.errors import EngineError
from sacvit.bundle.manifest import Tuned, read_manifest
from sacvit.bundle.stored_gate import write_tuned
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.backends import read_record
from sacvit.runtime.engines.choice import (
    CHOICE_NAME,
    Candidate,
    EngineChoice,
    Timing,
    place_here,
    read_choice,
    write_choice,
)
from sacvit.runtime.engines.pairs import find_pair

FP32 = Candidate(
    name="onnxruntime fp32", backend="onnxruntime", provider="cpu", precision="fp32", files=("ee.onnx", "sac.onnx"),
    timings={"1": Timing(2, 2, 1, 3, (3, 3), 1.0, (1, 1), 9)},
)  # fmt: skip
INT8 = msgspec.structs.replace(
    FP32, name="onnxruntime int8", precision="int8", files=("ee.int8.onnx", "sac.int8.onnx"), threshold=0.123,
    timings={"1": Timing(1, 1, 1, 1.5, (1, 2), 2.0, (2, 2), 9)},
)  # fmt: skip
OPENVINO = msgspec.structs.replace(
    FP32, name="openvino fp32", backend="openvino", provider="openvino",
    timings={"1": Timing(1, 1, 1, 1.5, (1, 2), 3.0, (3, 3), 9)},
)  # fmt: skip


@pytest.fixture
def bundle(bundles: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles / "typed", tmp_path / "bundle"))


def choose(folder: Path, name: str, **further: Any) -> EngineChoice:
    manifest = read_manifest(folder)
    settings = {
        "place": place_here(), "goldens_sha256": manifest.goldens_sha256, "graphs": dict(manifest.graphs), "exit_rate": 0.5,
        "images": 96, "batches": (1,), "candidates": [OPENVINO, INT8, FP32], "reference": FP32.name, "choice": name,
        "reason": "a test", **further,
    }  # fmt: skip
    choice = EngineChoice(**settings)
    write_choice(folder, choice)
    return choice


def test_a_choice_is_read_as_it_was_written(bundle):
    written = choose(bundle, FP32.name)
    assert read_choice(bundle) == written


def test_the_folder_gives_the_files_and_the_provider_that_were_chosen(bundle):
    choose(bundle, OPENVINO.name)
    assert find_pair(bundle) == (bundle / "ee.onnx", bundle / "sac.onnx", "openvino")


def test_a_provider_that_is_asked_for_takes_the_fp32_files(bundle):
    choose(bundle, INT8.name)
    assert find_pair(bundle, provider="cpu") == (bundle / "ee.onnx", bundle / "sac.onnx", "cpu")


def test_without_a_choice_fp32_is_run_and_the_command_that_finds_a_faster_one_is_named(bundle, caplog):
    caplog.set_level(logging.INFO)
    assert find_pair(bundle) == (bundle / "ee.onnx", bundle / "sac.onnx", "auto")
    assert f"sacvit-build {bundle}" in caplog.text


def test_where_the_choice_cannot_be_run_the_fastest_that_can_is_taken(bundle):
    choose(bundle, OPENVINO.name)
    assert find_pair(bundle, backends=("onnxruntime",))[:2] == (bundle / "ee.int8.onnx", bundle / "sac.int8.onnx")


@pytest.mark.parametrize(
    "change", [{"processor": "Another"}, {"cores": 99}, {"instructions": "0"}, {"board": "Orin"}], ids=str
)
def test_the_choice_of_another_machine_is_refused_with_the_command(bundle, change):
    choose(bundle, FP32.name, place=msgspec.structs.replace(place_here(), **change))
    with pytest.raises(EngineError, match=f"made on another machine .* sacvit-build {bundle}"):
        find_pair(bundle)


def test_the_choice_for_other_graphs_is_refused_with_the_command(bundle):
    choose(bundle, FP32.name, graphs={"EE": "0" * 64})
    with pytest.raises(EngineError, match=f"made for other graphs .* sacvit-build {bundle}"):
        find_pair(bundle)


def test_a_choice_that_was_edited_by_hand_is_refused(bundle):
    choose(bundle, FP32.name)
    path = bundle / CHOICE_NAME
    path.write_text(path.read_text().replace('"choice": "onnxruntime fp32"', '"choice": "onnxruntime int8"'))
    with pytest.raises(EngineError, match=rf"{CHOICE_NAME} is damaged: .*changed.* sacvit-build"):
        find_pair(bundle)


@pytest.mark.parametrize("name", ["../ee.onnx", "/etc/passwd", ".hidden", "a/b.onnx", "a\\b"])
def test_a_choice_cannot_name_files_outside_its_folder(bundle, name):
    choose(bundle, FP32.name, candidates=[msgspec.structs.replace(FP32, files=(name, "sac.onnx"))])
    with pytest.raises(EngineError, match=r"is damaged: .*files"):
        find_pair(bundle)


# The threshold


def test_a_threshold_that_was_fitted_to_the_engine_takes_the_place_of_the_exports(bundle):
    choose(bundle, INT8.name)
    assert Pipeline.load(bundle).threshold == 0.123


def test_two_files_get_the_threshold_that_their_folder_gets(bundle):
    choose(bundle, OPENVINO.name)
    pair = bundle / "ee.int8.onnx", bundle / "sac.int8.onnx"
    assert Pipeline.load(*pair).threshold == 0.123


def test_a_tuned_gate_takes_precedence_over_a_fitted_threshold(bundle):
    choose(bundle, INT8.name)
    ee = bundle / "ee.int8.onnx"
    write_tuned(ee, read_record(ee), Tuned(0.456, 1.0, "a test"))
    assert Pipeline.load(bundle).threshold == 0.456


def test_the_fitted_threshold_of_another_machine_is_not_used(bundle):
    choose(bundle, INT8.name, place=msgspec.structs.replace(place_here(), cores=99))
    pair = bundle / "ee.int8.onnx", bundle / "sac.int8.onnx"
    assert Pipeline.load(*pair).threshold == read_record(pair[0]).threshold
