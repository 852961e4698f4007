"""Dense bundles in the commands: run, profile and build take them, and what needs a class per image refuses them at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")  # the bundle is exported here

from sacvit.bundle.manifest import read_manifest
from sacvit.commands import build, export, profile, run, serve, tune
from sacvit.export.precision.request import PrecisionOptions
from sacvit.export.write_bundle import export as export_bundle
from sacvit.runtime.chain import pipeline as pipeline_module


@pytest.fixture
def pair(dense_bundle: Path) -> list[str]:
    return ["--engine", str(dense_bundle / "ee.onnx"), str(dense_bundle / "sac.onnx")]


@pytest.fixture
def labelled(tmp_path: Path, images: np.ndarray) -> Path:
    path = tmp_path / "images.npz"
    np.savez(path, images=images, labels=np.arange(len(images)) % 3)
    return path


@pytest.fixture
def no_engine_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("an engine was loaded before the refusal")

    monkeypatch.setattr(pipeline_module, "load_pair", load)


@pytest.mark.usefixtures("no_engine_is_loaded")
def test_sacvit_tune_refuses_a_dense_bundle(pair: list[str], labelled: Path, tmp_path: Path, capsys) -> None:
    assert tune.main([*pair, "--data", str(labelled), "--out", str(tmp_path / "out")]) == 2
    assert "ee.onnx is of --task dense" in capsys.readouterr().err


@pytest.mark.usefixtures("no_engine_is_loaded")
def test_sacvit_serve_refuses_a_dense_bundle(pair: list[str], tmp_path: Path, capsys) -> None:
    assert serve.main([*pair, "--out", str(tmp_path / "models")]) == 2
    assert "ee.onnx is of --task dense" in capsys.readouterr().err


@pytest.mark.usefixtures("no_engine_is_loaded")
def test_sacvit_tune_refuses_a_dense_plain_vit_beside_a_classifier(
    tiny_bundle: Path, dense_bundle: Path, labelled: Path, tmp_path: Path, capsys
) -> None:
    engines = [str(tiny_bundle / "ee.onnx"), str(tiny_bundle / "sac.onnx")]
    words = ["--data", str(labelled), "--plain", str(dense_bundle / "plain.onnx"), "--out", str(tmp_path / "out")]
    assert tune.main(["--engine", *engines, *words]) == 2
    assert "plain.onnx is of --task dense" in capsys.readouterr().err


def test_sacvit_profile_refuses_a_dense_plain_vit_beside_a_classifier(
    tiny_bundle: Path, dense_bundle: Path, capsys
) -> None:
    engines = [str(tiny_bundle / "ee.onnx"), str(tiny_bundle / "sac.onnx")]
    assert profile.main(["--engine", *engines, "--plain", str(dense_bundle / "plain.onnx")]) == 2
    assert "plain.onnx: task dense, the chain has classify" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--min-top1"], ["--eval", "IMAGES"]])
def test_sacvit_export_refuses_what_needs_a_label_per_image(
    make_checkpoint, labelled: Path, tmp_path: Path, words: list[str], capsys
) -> None:
    words = [word.replace("IMAGES", str(labelled)) for word in words]
    options = ["--ckpt", str(make_checkpoint(task="dense", classes=3)), "--out", str(tmp_path / "out"), "--int8"]
    assert export.main([*options, *words]) == 2
    assert f"{words[0]} needs a label per image" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.programs
def test_a_dense_variant_is_guarded_without_labels(make_checkpoint, labelled: Path, tmp_path: Path) -> None:
    limits = {"logit_error": 1.0, "exit_agreement": 0.5, "far_flips": 1.0, "top1_agreement": 0.5, "target_overlap": 0.5}
    wanted = PrecisionOptions(int8=True, calib=labelled, calib_cache=tmp_path / "cache", limits=limits)
    folder = export_bundle(make_checkpoint(task="dense", classes=3), tmp_path / "build", precision=wanted).folder
    names = [guard["name"] for guard in read_manifest(folder).variants["int8"].guards]
    assert any(name.startswith("top-1 agreement") for name in names)
    assert not any(name.startswith("top-1 lost") for name in names)


def test_sacvit_run_writes_cells_and_draws_them(pair: list[str], picture_folder: Path, tmp_path: Path, capsys) -> None:
    files = ["--save", str(tmp_path / "clip.mp4"), "--sheet", str(tmp_path / "sheet.png")]
    assert run.main([*pair, "--camera", str(picture_folder), "--json", *files]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 6 and all(sum(line["cells"]["runs"][1::2]) == 64 for line in lines)
    assert (tmp_path / "clip.mp4").is_file() and (tmp_path / "sheet.png").is_file()


def test_sacvit_profile_measures_a_dense_pair_beside_its_plain_vit(pair: list[str], dense_bundle: Path, capsys) -> None:
    words = ["--plain", str(dense_bundle / "plain.onnx"), "--duration-s", "0.05", "--warmup-ms", "1", "--json"]
    assert profile.main([*pair, *words]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] is None


@pytest.mark.programs
def test_sacvit_build_judges_a_dense_bundle_by_its_reference_answers(
    dense_bundle: Path, tmp_path: Path, capsys
) -> None:
    folder = Path(shutil.copytree(dense_bundle, tmp_path / "build"))
    assert build.main([str(folder), "--only", "onnxruntime"]) == 0
    assert (folder / "engines.json").is_file()
