"""SAC graphs with other shares of target blocks, beside a bundle's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sacvit.bundle.errors import ConfigError, GuardError
from sacvit.bundle.manifest import read_manifest
from sacvit.bundle.stage_record import StageRecord, require_pair
from sacvit.export import further_sacs
from sacvit.export.checks.lint import lint_graph
from sacvit.export.precision.request import PrecisionOptions
from sacvit.export.write_bundle import export
from sacvit.model.config import preset


@pytest.fixture(scope="module")
def folder(tiny_checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("further") / "build"
    export(tiny_checkpoint, out, sac_alpha=(0.25, 0.75))
    return out


def record_of(path) -> StageRecord:
    return StageRecord.from_metadata(path, {entry.key: entry.value for entry in onnx.load(path).metadata_props})


def test_each_share_is_a_portable_sac_file_of_its_own(folder):
    names = sorted(path.name for path in folder.glob("sac*.onnx"))
    assert names == ["sac-alpha0.25.onnx", "sac-alpha0.75.onnx", "sac.onnx"]
    for name in (*names, "ee.onnx"):
        assert lint_graph(onnx.load(folder / name)) == []


def test_every_sac_is_a_partner_of_the_one_ee(folder):
    ee = record_of(folder / "ee.onnx")
    for path in folder.glob("sac*.onnx"):
        require_pair(folder / "ee.onnx", ee, path, record_of(path))


def test_the_manifest_says_of_each_file_what_its_metadata_say(folder):
    manifest = read_manifest(folder)
    for path in folder.glob("*.onnx"):
        assert manifest.record(path.name) == record_of(path)


def test_a_share_that_gives_a_number_of_targets_twice_is_refused():
    config = preset("demo")
    with pytest.raises(ConfigError, match=r"--sac-alpha 0\.49 makes 8 of 16 blocks targets, as alpha 0\.5 does"):
        further_sacs.configs_of(config, [0.49])
    with pytest.raises(ConfigError, match=r"--sac-alpha 0\.2 "):
        further_sacs.configs_of(config, [0.25, 0.2])


def test_a_share_that_leaves_no_non_target_is_refused():
    with pytest.raises(ConfigError, match=r"alpha 1\.0 makes every one of the 16 blocks a target"):
        further_sacs.configs_of(preset("demo"), [1.0])


def test_a_sac_that_reads_other_non_targets_is_not_written(tiny_checkpoint, tmp_path, monkeypatch):
    build = further_sacs.build_graphs

    def first_for_last(checkpoint, batch, forms, products, handed=None):
        graphs = build(checkpoint, batch, forms, products, handed)
        for node in graphs["cpu"]["SAC"].graph.node if handed else []:
            if node.name == "own.non_target":
                starts = next(one for one in graphs["cpu"]["SAC"].graph.initializer if one.name == node.input[1])
                stops = next(one for one in graphs["cpu"]["SAC"].graph.initializer if one.name == node.input[2])
                size = numpy_helper.to_array(stops) - numpy_helper.to_array(starts)
                node.input[1] = "planted.start"
                node.input[2] = "planted.stop"
                for name, value in (("planted.start", 0 * size), ("planted.stop", size)):
                    graphs["cpu"]["SAC"].graph.initializer.append(numpy_helper.from_array(value.astype(np.int64), name))
        return graphs

    monkeypatch.setattr(further_sacs, "build_graphs", first_for_last)
    with pytest.raises(GuardError, match=r"alpha 0\.75: SAC logits, for several SACs against for one"):
        export(tiny_checkpoint, tmp_path / "build", sac_alpha=(0.25, 0.75))


def test_an_export_without_further_sacs_removes_those_of_an_earlier_one(tiny_checkpoint, tmp_path):
    export(tiny_checkpoint, tmp_path / "build", sac_alpha=(0.25,))
    export(tiny_checkpoint, tmp_path / "build")
    assert sorted(path.name for path in (tmp_path / "build").glob("sac*")) == ["sac.onnx", "sacvit.json"]


@pytest.mark.programs
def test_further_sacs_are_judged_in_every_precision(tiny_checkpoint, calibration_images, anything, tmp_path):
    options = PrecisionOptions(
        int8=True, calib=calibration_images.path, calib_cache=tmp_path / "cache", limits=anything
    )
    export(
        tiny_checkpoint,
        tmp_path / "build",
        precision=options,
        sac_alpha=(0.25,),
        threshold=calibration_images.threshold,
    )
    manifest = read_manifest(tmp_path / "build")
    kinds = {file.precision for file in manifest.files.values() if file.alpha == 0.25}
    assert kinds == {"fp32", "int8", "int8fp16"}
    for variant in manifest.variants.values():
        assert any(guard["name"].startswith("alpha 0.25: ") for guard in variant.guards)
    assert record_of(tmp_path / "build" / "sac-alpha0.25.int8.onnx") == replace(
        manifest.record("sac.int8.onnx"),
        config={**manifest.model, "alpha": 0.25},
        graph_sha256=manifest.further_sacs["0.25"].graph,
        targets=manifest.further_sacs["0.25"].targets,
    )
