"""The code of docs/extending.md, run as a reader would add it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from sacvit.bundle.goldens import read_goldens

pytestmark = pytest.mark.programs

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"


def blocks(heading: str, language: str = "python") -> list[str]:
    """The code under a heading of the page, block by block."""
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None, heading
    return re.findall(rf"^```{language}\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)


@pytest.fixture
def add_module(tmp_path, monkeypatch):
    """A function that runs code as a module of the package, as if its file lay there."""

    def add(name: str, code: str):
        path = tmp_path / f"{name.rpartition('.')[2]}.py"
        path.write_text(code)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return add


def test_a_backend_is_a_file_and_a_row(add_module, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    import shutil

    from sacvit.runtime.chain.pipeline import Pipeline
    from sacvit.runtime.engines import backends

    file, row = blocks("A backend")
    module = add_module("sacvit.runtime.engines.reference", file)
    added = eval(row, {**vars(backends), **vars(module)})  # of our own page
    monkeypatch.setattr(backends, "BACKENDS", (*backends.BACKENDS, added))

    bundle = PAGE.parent.parent / "tests/runtime/bundles/bundle"
    for stage in ("ee", "sac"):
        shutil.copy(bundle / f"{stage}.onnx", tmp_path / f"{stage}.reference")
    images = read_goldens(bundle).images[:6]
    found = Pipeline.load(tmp_path / "ee.reference", tmp_path / "sac.reference")(images)
    expected = Pipeline.load(bundle / "ee.onnx", bundle / "sac.onnx")(images)
    assert [(one.index, one.stage) for one in found] == [(one.index, one.stage) for one in expected]
    assert {one.stage for one in found} == {"EE", "SAC"}


def test_a_precision_is_a_file_and_a_row(add_module, tiny_checkpoint, calibration_images, tmp_path):
    pytest.importorskip("onnx")
    from sacvit.bundle import precision
    from sacvit.bundle.manifest import read_manifest
    from sacvit.calibration import quantizers
    from sacvit.commands.export import main
    from sacvit.runtime.chain.pipeline import Pipeline

    file, rows = blocks("A precision")
    module = add_module("sacvit.calibration.weights8", file)
    try:
        exec(rows, {**vars(precision), **vars(quantizers), **vars(module)})  # of our own page
        words = ["--w8", "--calib", calibration_images.path, "--calib-cache", tmp_path / "cache"]
        limits = [
            "--max-logit-error",
            "10",
            "--min-top1-agreement",
            "0",
            "--min-exit-agreement",
            "0",
            "--max-far-flips",
            "1",
        ]
        limits += ["--max-band-flips", "1", "--min-target-overlap", "0", "--max-top1-drop", "100"]
        command = ["--ckpt", tiny_checkpoint, "--out", tmp_path / "build", "--threshold", calibration_images.threshold]
        assert main([str(word) for word in (*command, *words, *limits)]) == 0
        assert read_manifest(tmp_path / "build").precisions() == ["fp32", "w8"]
        pipeline = Pipeline.load(tmp_path / "build" / "ee.w8.onnx", tmp_path / "build" / "sac.w8.onnx")
        assert pipeline.ee.record.precision == "w8" and len(pipeline(calibration_images.images[:4])) == 4
    finally:
        precision.PRECISIONS[:] = [row for row in precision.PRECISIONS if row.name != "w8"]
        quantizers.QUANTIZERS.pop("weights8", None)


def test_a_model_family_is_a_graph_writer_with_a_hand_off_of_its_own(add_module, tmp_path):
    pytest.importorskip("onnx")
    import numpy as np
    import onnx

    from sacvit.bundle.preprocess import Preprocessing
    from sacvit.bundle.stage_record import StageRecord
    from sacvit.runtime.chain.pipeline import Pipeline

    (file,) = blocks("A model family")
    colours = add_module("sacvit.export.graphs.colours", file)
    rng = np.random.default_rng(0)
    first, second = (rng.normal(0, 3, (rows, 3)).astype(np.float32) for rows in (12, 13))
    graphs = {"EE": colours.build_ee(8, first), "SAC": colours.build_sac(8, second)}
    digest = {"EE": "e" * 64, "SAC": "5" * 64}
    for stage, partner in (("EE", "SAC"), ("SAC", "EE")):
        record = StageRecord(
            stage=stage, config={}, preprocessing=Preprocessing(8), labels=["red", "green", "blue"],
            checkpoint_sha256="c" * 64, graph_sha256=digest[stage], partner_sha256=digest[partner],
            threshold=0.5, threshold_source="option", hand_off=colours.HAND_OFF,
        )  # fmt: skip
        onnx.helper.set_model_props(graphs[stage], record.to_metadata())
        onnx.save(graphs[stage], tmp_path / f"{stage.lower()}.onnx")

    images = rng.integers(0, 256, (24, 8, 8, 3)).astype(np.uint8)
    found = Pipeline.load(tmp_path / "ee.onnx", tmp_path / "sac.onnx")(images)
    blocks_of = images.reshape(24, 2, 4, 2, 4, 3).astype(np.float32).mean((2, 4)) / 255  # (24, 2, 2, 3)
    seen = blocks_of.transpose(0, 3, 1, 2).reshape(24, 12)
    place = blocks_of.mean(3).reshape(24, 4).argmax(1)
    sac = np.concatenate([seen, place[:, None]], 1) @ second
    expected = [(seen @ first)[n].argmax() if one.stage == "EE" else sac[n].argmax() for n, one in enumerate(found)]
    assert [one.index for one in found] == expected and {one.stage for one in found} == {"EE", "SAC"}
    assert [one.target_blocks for one in found] == [(index,) for index in place]


def test_a_power_sensor_is_a_file_and_a_row(add_module, tmp_path, monkeypatch):
    from sacvit.commands.profile import build_parser
    from sacvit.profiles.power import open as table
    from sacvit.profiles.power.energy import measure, meter_of
    from sacvit.profiles.power.sampler import Sampler
    from sacvit.profiles.power.source import PowerError

    file, row = blocks("A power sensor")
    module = add_module("sacvit.profiles.power.plug", file)
    rows = [*table.ROWS, eval(row, {**vars(table), **vars(module)})]  # of our own page
    ticks = iter(range(1000))
    at = table.Place(tmp_path, str(tmp_path / "no-tegrastats"), lambda: float(next(ticks)) / 10)

    with pytest.raises(PowerError, match="Start the meter's service"):
        table.open_power("plug", on_gpu=False, at=at, rows=rows)
    assert "plug: " in table.open_power("auto", on_gpu=False, at=at, rows=rows).reason

    (tmp_path / "run/plug").mkdir(parents=True)
    (tmp_path / "run/plug/power_mw").write_text("5000\n")
    source = table.open_power("auto", on_gpu=False, at=at, rows=rows)
    sampler = Sampler(source, at.clock)
    while len(sampler.readings) < 150:
        sampler.take()
    first = sampler.readings[0].time_s
    window = measure(sampler, meter_of(source, sampler), first + 1, first + 12, needed_s=10.0)
    assert window.mean_mw["total"] == pytest.approx(5000.0) and window.bound_mw["total"] == 5.0  # half a step

    monkeypatch.setattr(table, "ROWS", rows)
    parser = build_parser()
    assert parser.parse_args(["--power", "plug"]).power == "plug"
    assert "plug: a meter at the wall plug" in " ".join(parser.format_help().split())


def test_a_board_is_a_record(tmp_path):
    from sacvit.profiles.estimates.boards import TABLE, load_boards

    (record,) = blocks("A board for estimates", "json")
    table = json.loads(TABLE.read_text())
    table["boards"].append(json.loads(record))
    (tmp_path / "boards.json").write_text(json.dumps(table))
    assert load_boards(tmp_path / "boards.json")["new-module"].mode("maxn").memory_gb_s == 51.2


def test_a_destination_of_events_is_a_file_and_a_row(add_module, tmp_path, monkeypatch, video):
    from sacvit.commands.run import main
    from sacvit.runtime.events.destinations import opening

    file, row = blocks("A destination of events")
    module = add_module("sacvit.runtime.events.destinations.lines", file)
    monkeypatch.setattr(opening, "KINDS", (*opening.KINDS, eval(row, vars(module))))  # of our own page

    engines = [str(PAGE.parent.parent / "tests/runtime/bundles/bundle" / name) for name in ("ee.onnx", "sac.onnx")]
    events = ["--on", "confidence>=0", "--to", f"lines:{tmp_path}/events.jsonl", "--event-queue", f"{tmp_path}/queue"]
    assert main(["--engine", *engines, "--camera", str(video), *events]) == 0
    assert [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()] == [
        "confidence>=0"
    ]


def test_a_camera_source_is_a_file_and_a_row(add_module, monkeypatch, capsys):
    from sacvit.bundle.errors import UsageError
    from sacvit.commands.run import build_parser, main
    from sacvit.runtime.sources import opening

    file, row = blocks("A camera source")
    module = add_module("sacvit.runtime.sources.ramp", file)
    monkeypatch.setattr(opening, "KINDS", (*opening.KINDS, eval(row, vars(module))))  # of our own page

    engines = [str(PAGE.parent.parent / "tests/runtime/bundles/bundle" / name) for name in ("ee.onnx", "sac.onnx")]
    assert main(["--engine", *engines, "--camera", "ramp://64", "--num-frames", "5", "--json"]) == 0
    assert [json.loads(line)["frame"] for line in capsys.readouterr().out.splitlines()] == list(range(5))

    assert main(["--check-camera", "ramp://64"]) == 0
    assert main(["--check-camera", "ramp://x"]) == 5
    assert "ramp://SIDE: pictures that grow brighter" in " ".join(build_parser().format_help().split())
    with pytest.raises(UsageError, match="ramp://SIDE"):
        opening.open_source("rtmp://cam/1")
