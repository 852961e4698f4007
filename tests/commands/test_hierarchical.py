"""A hierarchical network in the commands: they take it as they take a ViT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")  # the bundle is exported here

from sacvit.bundle.manifest import read_manifest
from sacvit.commands import export, profile, run, train, tune
from sacvit.export.precision.request import PrecisionOptions
from sacvit.export.write_bundle import export as export_bundle
from sacvit.model.checkpoint import load_checkpoint
from sacvit.model.config import ModelConfig, preset
from sacvit.model.cost import count_cost
from sacvit.profiles.reports.about import about_model
from sacvit.runtime.chain.pipeline import Pipeline

LEVELS: dict[str, Any] = {"levels": (1, 2), "depth": 3, "heads": 4}


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Any) -> Path:
    return make_checkpoint(**LEVELS)


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_bundle(checkpoint, tmp_path_factory.mktemp("bundle") / "build", threshold=0.4, plain=True).folder


@pytest.fixture
def labelled(tmp_path: Path, images: np.ndarray) -> Path:
    path = tmp_path / "images.npz"
    np.savez(path, images=images, labels=np.arange(len(images)) % 7)
    return path


def test_windows_that_do_not_divide_the_image_are_refused_before_the_data_is_looked_at(tmp_path: Path, capsys) -> None:
    words = ["--data", str(tmp_path / "nothing"), "--preset", "demo-hierarchical", "--image-size", "72"]
    assert train.main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "windows of 16 x 16 pixels do not divide an image of 72 x 72" in capsys.readouterr().err


def test_the_chain_decides_as_the_network_does(checkpoint: Path, bundle: Path, images: np.ndarray) -> None:
    import torch

    model = load_checkpoint(checkpoint).model
    with torch.no_grad():
        ee = model.ee(torch.from_numpy(images))
        sac = model.sac(torch.from_numpy(images), *ee.handed)
    threshold = float(ee.confidence.median())
    exits = ee.confidence.numpy() >= threshold
    expected = np.where(exits, ee.logits.argmax(1).numpy(), sac.argmax(1).numpy())
    found = Pipeline.load(bundle, threshold=threshold)(images)
    assert [one.index for one in found] == expected.tolist()
    assert [one.stage for one in found] == ["EE" if leaves else "SAC" for leaves in exits] and 0 < exits.mean() < 1


def test_sacvit_export_ranks_windows_by_their_norm(checkpoint: Path, tmp_path: Path) -> None:
    assert export.main(["--ckpt", str(checkpoint), "--selection", "norm", "--out", str(tmp_path), "--no-build"]) == 0
    assert read_manifest(tmp_path).model["selection"] == "norm"


def test_a_full_vit_is_not_compared_with_a_hierarchical_chain(
    bundle: Path, make_checkpoint: Any, tmp_path: Path, capsys
) -> None:
    vit = export_bundle(make_checkpoint(heads=4, depth=4), tmp_path / "vit", plain=True).folder
    chain = export_bundle(make_checkpoint(heads=4, depth=4, levels=(1,)), tmp_path / "chain").folder
    assert profile.main(["--engine", str(chain), "--plain", str(vit / "plain.onnx")]) == 2
    assert "levels [], the chain has [1]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (preset("hierarchical-s"), "hierarchical-s (width 384, depth 8 behind levels of 2, 2)"),
        (preset("hierarchical-s", levels=()), "ViT of width 384, depth 8"),
        (
            preset("deit-s", levels=(2, 2), heads=12),
            "hierarchical network of width 384, depth 12 behind levels of 2, 2",
        ),
    ],
)
def test_a_page_names_its_family_and_levels(config: ModelConfig, name: str) -> None:
    assert dict(about_model(config.to_dict(), None))["Model"].startswith(f"{name}, ")


def test_the_manifest_has_its_levels_and_its_costs(checkpoint: Path, bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert manifest.model["levels"] == [1, 2]
    assert manifest.cost["sac"]["macs"] == count_cost(load_checkpoint(checkpoint).config).sac.macs


def test_sacvit_run_takes_its_bundle(bundle: Path, picture_folder: Path, tmp_path: Path, capsys) -> None:
    words = ["--camera", str(picture_folder), "--json", "--save", str(tmp_path / "clip.mp4")]
    assert run.main(["--engine", str(bundle), *words]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 6 and (tmp_path / "clip.mp4").is_file()


def test_sacvit_profile_measures_it_beside_its_full_network(bundle: Path, capsys) -> None:
    words = ["--plain", str(bundle / "plain.onnx"), "--duration-s", "0.05", "--warmup-ms", "1", "--json"]
    assert profile.main(["--engine", str(bundle), *words]) == 0
    assert json.loads(capsys.readouterr().out)


def test_sacvit_tune_fits_its_threshold(bundle: Path, labelled: Path, tmp_path: Path) -> None:
    assert tune.main(["--engine", str(bundle), "--data", str(labelled), "--out", str(tmp_path / "tuned")]) == 0
    assert (tmp_path / "tuned" / "tune.json").is_file()


@pytest.mark.programs
def test_every_precision_passes_its_guards(checkpoint: Path, tmp_path: Path) -> None:
    options = PrecisionOptions(int8=True, fp16=True, calib_count=64, calib_cache=tmp_path / "cache")
    folder = export_bundle(checkpoint, tmp_path / "build", precision=options).folder
    variants = read_manifest(folder).variants
    assert set(variants) == {"int8", "int8fp16", "fp16"}
    assert all(variant.guards for variant in variants.values())
