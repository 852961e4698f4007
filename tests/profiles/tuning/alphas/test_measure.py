from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import EngineError, UsageError
from sacvit.bundle.manifest import read_manifest
from sacvit.commands.tune import main
from sacvit.profiles.tuning import resampling
from sacvit.profiles.tuning import tune as tune_module
from sacvit.profiles.tuning.alphas import measure
from sacvit.profiles.tuning.alphas.measure import Times, files_of, load_pipelines, measure_times
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.options import EngineOptions


@pytest.fixture
def folder(bundles, tmp_path) -> Path:
    return shutil.copytree(bundles / "alphas", tmp_path / "alphas")


@pytest.fixture
def data(tmp_path) -> Path:
    """Eight pictures of each class."""
    rng = np.random.default_rng(5)
    for name in ("ant", "bee", "cat", "dog", "emu"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(8):
            picture = cv2.resize(rng.uniform(0, 255, (5, 5, 3)).astype(np.float32), (32, 32)).clip(0, 255)
            cv2.imwrite(str(tmp_path / "data" / name / f"{number}.png"), picture.astype(np.uint8))
    return tmp_path / "data"


@pytest.fixture
def pipeline(folder) -> Pipeline:
    return Pipeline.load(folder / "ee.onnx", folder / "sac.onnx")


def test_the_own_alpha_is_always_among_those_that_are_compared(folder):
    assert files_of(folder / "sac.onnx", 0.5, [0.75]) == {
        0.5: folder / "sac.onnx",
        0.75: folder / "sac-alpha0.75.onnx",
    }


def test_an_alpha_that_the_bundle_has_no_sac_for_is_refused_with_the_export_that_makes_it(folder):
    with pytest.raises(UsageError, match=r"sac-alpha0\.9\.onnx is missing.*--sac-alpha 0\.25,0\.9"):
        files_of(folder / "sac.onnx", 0.5, [0.25, 0.9])


def test_a_sac_of_another_checkpoint_is_refused_before_any_pass(folder, bundles, pipeline):
    (folder / "sacvit.json").unlink()  # whose hash would refuse it earlier
    shutil.copy(bundles / "stranger" / "sac.onnx", folder / "sac-alpha0.25.onnx")
    with pytest.raises(EngineError, match="two checkpoints"):
        load_pipelines(pipeline, folder / "sac.onnx", [0.25], EngineOptions("cpu"))


def test_a_further_sac_is_not_what_others_are_compared_with(folder):
    given = Pipeline.load(folder / "ee.onnx", folder / "sac-alpha0.25.onnx")
    with pytest.raises(UsageError, match="give the own SAC to --engine"):
        load_pipelines(given, folder / "sac-alpha0.25.onnx", [0.75], EngineOptions("cpu"))


@pytest.mark.parametrize("batch", [1, 3])
def test_every_sac_has_a_time(folder, pipeline, monkeypatch, batch):
    monkeypatch.setattr(measure, "ROUNDS", 2)
    pipelines = load_pipelines(pipeline, folder / "sac.onnx", [0.25, 0.75], EngineOptions("cpu"))
    found = measure_times(pipelines, batch)
    assert found.ee_ms > 0 and sorted(found.sac_ms) == [0.25, 0.5, 0.75]


def test_a_time_that_no_alpha_keeps_by_turns_is_reported_with_the_best_that_can_be_reached(
    folder, tmp_path, monkeypatch, data, capsys
):
    monkeypatch.setattr(
        tune_module, "measure_times", lambda pipelines, batch: Times(1e6, dict.fromkeys(pipelines, 1e6))
    )
    engines = [str(folder / "ee.onnx"), str(folder / "sac.onnx")]
    words = ["--engine", *engines, "--data", str(data), "--out", str(tmp_path / "tuned"), "--alpha", "0.25"]
    assert main([*words, "--max-ms", "100000"]) == 3
    assert "1e+06 ms" in capsys.readouterr().err


@pytest.mark.programs
def test_the_command_compares_stores_and_the_runtime_runs_what_it_stored(folder, tmp_path, monkeypatch, data, capsys):
    monkeypatch.setattr(measure, "ROUNDS", 2)
    monkeypatch.setattr(resampling, "RESAMPLES", 10)
    monkeypatch.setattr(resampling, "SPLITS", 2)
    engines = [str(folder / "ee.onnx"), str(folder / "sac.onnx")]
    arguments = ["--data", str(data), "--out", str(tmp_path / "tuned"), "--alpha", "0.25,0.75"]
    assert main(["--engine", *engines, *arguments, "--exit-rate", "0.5"]) == 0
    shown = capsys.readouterr().out
    assert "exit rate of 0.5 over alpha and eta: alpha " in shown
    found = json.loads((tmp_path / "tuned" / "tune.json").read_text())["alphas"]
    assert [one["alpha"] for one in found["shares"]] == [0.25, 0.5, 0.75]
    stored = read_manifest(folder).tuned["fp32"]
    assert stored.report == found["points"]["exit rate of 0.5"]["report"]
    alpha = found["points"]["exit rate of 0.5"]["alpha"]
    blocks = {0.25: 4, 0.5: 8, 0.75: 12}[alpha]
    assert len(Pipeline.load(folder)(np.zeros((32, 32, 3), np.uint8)).target_blocks) == blocks
