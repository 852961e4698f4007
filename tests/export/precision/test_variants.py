"""Typed variants end to end: what is written, what it says of itself, how its threshold was found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

from sacvit.bundle.errors import GuardError, ImageError, UsageError
from sacvit.bundle.precision import families, row_of
from sacvit.bundle.stage_record import StageRecord
from sacvit.calibration.decisions import Comparison
from sacvit.calibration.stored_weights import quantized_constants
from sacvit.export.checks.lint import lint_graph
from sacvit.export.precision import variants
from sacvit.export.precision.request import PrecisionOptions
from sacvit.export.write_bundle import export
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.chain.result import Result

KINDS = ("fp32", "int8", "fp16", "int8fp16")
TYPED = KINDS[1:]
STAGES = ("EE", "SAC")


def path_of(folder: Path, stage: str, kind: str) -> Path:
    return folder / (f"{stage.lower()}.onnx" if kind == "fp32" else f"{stage.lower()}.{kind}.onnx")


def pair_in(folder: Path, ee: str, sac: str | None = None) -> tuple[Path, Path]:
    return path_of(folder, "EE", ee), path_of(folder, "SAC", sac or ee)


def record_of(path: Path) -> StageRecord:
    return StageRecord.from_metadata(path, {entry.key: entry.value for entry in onnx.load(path).metadata_props})


def accuracy(results: list[Result], labels: np.ndarray) -> float:
    return float(np.mean([result.index == label for result, label in zip(results, labels, strict=True)]))


@pytest.fixture(scope="module")
def folder(typed_bundle) -> Path:
    return typed_bundle.folder


@pytest.fixture(scope="module")
def manifest(folder) -> dict[str, Any]:
    return json.loads((folder / "sacvit.json").read_text())


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Comparison, float]]:
    """What each variant is judged by: the comparison, and its threshold."""
    found = []
    original = variants.judge

    def judge(comparison: Comparison, eta: float, variant_eta: float, *given: Any) -> Any:
        found.append((comparison, variant_eta))
        return original(comparison, eta, variant_eta, *given)

    monkeypatch.setattr(variants, "judge", judge)
    return found


def test_every_variant_is_a_pair_of_files(folder):
    expected = {path_of(folder, stage, kind).name for stage in STAGES for kind in KINDS}
    assert {path.name for path in folder.iterdir()} == expected | {"sacvit.json", "goldens.npz"}


@pytest.mark.parametrize("kind", ["int8", "int8fp16"])
@pytest.mark.parametrize("stage", STAGES)
def test_weights_are_written_in_the_type_that_they_are_rounded_to(folder, stage, kind):
    assert list(quantized_constants(onnx.load(path_of(folder, stage, kind)))) == []


@pytest.mark.programs
def test_qdq_weights_writes_weights_in_front_of_qdq_pairs_with_the_same_decisions(make_bundle, folder):
    written = make_bundle(int8=True, qdq_weights=True).folder
    for stage in STAGES:
        assert list(quantized_constants(onnx.load(path_of(written, stage, "int8"))))
    assert record_of(path_of(written, "EE", "int8")).threshold == record_of(path_of(folder, "EE", "int8")).threshold


def test_the_bundle_names_the_files_of_each_variant(typed_bundle, folder):
    assert typed_bundle.variants == {kind: pair_in(folder, kind) for kind in TYPED}


@pytest.mark.parametrize("kind", KINDS)
def test_written_graphs_are_portable(folder, kind):
    for path in pair_in(folder, kind):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert lint_graph(model, kind) == []


def test_the_manifest_tells_every_files_stage_precision_and_hash(folder, manifest):
    expected = {}
    for stage in STAGES:
        for kind in KINDS:
            content = path_of(folder, stage, kind).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            entry = {"stage": stage, "precision": kind, "bytes": len(content), "sha256": digest}
            expected[path_of(folder, stage, kind).name] = entry
    assert manifest["files"] == expected


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", TYPED)
def test_graph_and_manifest_tell_the_same_thresholds(folder, manifest, stage, kind):
    record = record_of(path_of(folder, stage, kind))
    threshold = manifest["variants"][kind]["threshold"]
    assert record.precision == kind
    assert (record.threshold, record.threshold_source) == (threshold["value"], threshold["source"])
    assert record.threshold_fp32 == threshold["fp32"] == manifest["threshold"]["value"] == 0.302


@pytest.mark.parametrize("stage", STAGES)
def test_the_fp32_graph_has_its_own_threshold_only(folder, stage):
    record = record_of(path_of(folder, stage, "fp32"))
    assert (record.precision, record.threshold, record.threshold_fp32) == ("fp32", 0.302, None)


@pytest.mark.parametrize("stage", STAGES)
def test_every_variant_names_the_fp32_graphs_that_it_was_made_from(folder, stage):
    records = [record_of(path_of(folder, stage, kind)) for kind in KINDS]
    assert len({(record.graph_sha256, record.partner_sha256, record.checkpoint_sha256) for record in records}) == 1


def test_the_manifest_tells_the_images_without_a_path_of_this_machine(manifest, calibration_images):
    assert manifest["calibration"]["source"] == calibration_images.path.name
    assert (manifest["calibration"]["images"], manifest["calibration"]["method"]) == (40, "mse")
    assert manifest["evaluation"]["sha256"] == manifest["calibration"]["sha256"]
    assert str(calibration_images.path.parent) not in json.dumps(manifest)


def test_the_manifest_tells_every_guard_of_every_variant(manifest):
    for kind in TYPED:
        guards = manifest["variants"][kind]["guards"]
        assert len(guards) == 8  # too few images lie near the threshold for the ninth
        assert all((x["value"] >= x["limit"]) if x["at_least"] else (x["value"] <= x["limit"]) for x in guards)


def test_the_manifest_tells_what_every_tensorrt_makes_of_every_file(manifest):
    told = {(entry["file"], entry["tensorrt"]) for entry in manifest["tensorrt"]}
    assert told == {(name, version) for name in manifest["files"] for version in ("8.6", "10.3", "10.16", "11.4")}


@pytest.mark.parametrize("kind", TYPED)
def test_a_variant_runs_and_decides_as_fp32(folder, calibration_images, kind):
    results = Pipeline.load(*pair_in(folder, kind))(calibration_images.images)
    assert accuracy(results, calibration_images.labels) >= 0.95  # FP32's is 1; two of forty may lie at a limit


def test_as_many_images_exit_as_in_fp32(folder, calibration_images):
    exits = [
        sum(result.exits_early for result in Pipeline.load(*pair_in(folder, kind))(calibration_images.images))
        for kind in ("fp32", "int8")
    ]
    assert exits == [21, 21]


@pytest.mark.parametrize(("ee", "sac"), [("int8", "fp32"), ("fp32", "int8"), ("int8fp16", "fp16")])
def test_stages_of_any_two_precisions_run_together(folder, calibration_images, ee, sac):
    pipeline = Pipeline.load(*pair_in(folder, ee, sac))
    assert pipeline.threshold == record_of(path_of(folder, "EE", ee)).threshold
    assert accuracy(pipeline(calibration_images.images), calibration_images.labels) >= 0.9


@pytest.mark.programs
def test_a_network_with_the_other_switches_passes_the_guards_in_every_precision(
    make_checkpoint, calibration_images, tmp_path
):
    path = make_checkpoint(positions="one", reuse="outputs", class_cluster="both")
    np.savez(tmp_path / "images.npz", images=calibration_images.images)
    options = PrecisionOptions(int8=True, fp16=True, calib=tmp_path / "images.npz", limits={"exit_agreement": 0.9})
    bundle = export(path, tmp_path / "build", products="separate", precision=options)
    assert set(bundle.variants) == {"fp16", "int8", "int8fp16"}


def test_fp16_alone_needs_no_images_and_says_what_that_is_worth(make_bundle, said):
    bundle = make_bundle(int8=False, fp16=True, calib=None, limits={})
    assert list(bundle.variants) == ["fp16"]
    assert any("FP16 is checked on 64 synthetic images, which says little about yours" in line for line in said)
    record, manifest = record_of(bundle.variants["fp16"][0]), json.loads((bundle.folder / "sacvit.json").read_text())
    assert (record.threshold, record.threshold_source) == (0.302, "option")
    assert manifest["calibration"]["source"] == "synthetic" and manifest["calibration"]["method"] is None


@pytest.fixture
def earlier(typed_bundle, tmp_path) -> Path:
    """A folder with every variant of an earlier export."""
    return Path(shutil.copytree(typed_bundle.folder, tmp_path / "build"))


def test_a_bundle_holds_no_variant_of_an_earlier_export(earlier, tiny_checkpoint):
    export(tiny_checkpoint, earlier)
    assert {path.name for path in earlier.iterdir()} == {"ee.onnx", "sac.onnx", "sacvit.json", "goldens.npz"}


def test_int8_takes_the_place_of_every_variant_of_an_earlier_export(earlier, make_bundle, said):
    assert list(make_bundle().variants) == ["int8", "int8fp16"]
    assert {path.name for path in earlier.glob("*.fp16.onnx")} == set()
    assert any(line.startswith("warning: 40 different images are few for calibration; 300 or more") for line in said)


def test_an_interrupted_export_puts_the_earlier_variants_back(earlier, tiny_checkpoint, monkeypatch):
    before = {path.name: path.read_bytes() for path in earlier.iterdir()}
    rename, calls = os.replace, []

    def interrupted(source: Path, target: Path) -> None:
        if Path(target) == earlier / "sacvit.json" and not calls:  # the last of all
            calls.append(target)
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(tiny_checkpoint, earlier)
    monkeypatch.undo()
    assert calls and {path.name: path.read_bytes() for path in earlier.iterdir()} == before


@pytest.fixture(scope="module")
def other_images(calibration_images, tmp_path_factory) -> Path:
    """Twenty of the images upside down, with labels that are right for a quarter of them or so."""
    path = tmp_path_factory.mktemp("eval") / "other.npz"
    np.savez(path, images=calibration_images.images[:20, ::-1], labels=calibration_images.labels[:20])
    return path


def test_the_threshold_is_fitted_to_the_calibration_images_and_judged_on_others(
    make_bundle, other_images, judged, manifest
):
    found = json.loads((make_bundle(evaluation=other_images).folder / "sacvit.json").read_text())
    assert [len(comparison.confidence) for comparison, _ in judged] == [20, 20]
    assert [eta for _, eta in judged] == [
        manifest["variants"][kind]["threshold"]["value"] for kind in found["variants"]
    ]
    assert (found["calibration"]["images"], found["evaluation"]["images"]) == (40, 20)
    assert found["evaluation"]["source"] == other_images.name


def test_a_threshold_that_is_not_matched_stays_fp32s(make_bundle):
    bundle = make_bundle(match="none")
    threshold = json.loads((bundle.folder / "sacvit.json").read_text())["variants"]["int8"]["threshold"]
    assert threshold == {"value": 0.302, "source": "unchanged", "fp32": 0.302}
    assert record_of(bundle.variants["int8"][0]).threshold_source == "option"


@pytest.mark.parametrize(("goal", "wanted"), [("fp32", 1.0), (80.0, 0.8)])
def test_the_smallest_threshold_that_reaches_the_top1_is_taken(make_bundle, calibration_images, said, goal, wanted):
    bundle = make_bundle(min_top1=goal)
    found = json.loads((bundle.folder / "sacvit.json").read_text())["variants"]["int8"]["threshold"]
    pipelines = [Pipeline.load(*bundle.variants["int8"], eta) for eta in (found["value"], found["value"] - 0.01)]
    reached, below = (accuracy(chain(calibration_images.images), calibration_images.labels) for chain in pipelines)
    assert found["source"] == "top1" and below < wanted <= reached
    assert "the threshold is fitted to the labels of the images that judge it: expect a little less" in said


def test_a_top1_is_fitted_on_labelled_calibration_images_where_others_judge(
    make_bundle, other_images, calibration_images, folder, said, judged
):
    make_bundle(min_top1="fp32", evaluation=other_images)
    assert not any(line.startswith("the threshold is fitted to the labels") for line in said)
    shown = [comparison.labels for comparison, _ in judged]
    assert [len(labels) for labels in shown] == [20, 20]
    pipeline = Pipeline.load(*pair_in(folder, "int8"), judged[0][1])
    assert accuracy(pipeline(calibration_images.images), calibration_images.labels) == 1.0


def test_a_top1_that_no_threshold_reaches_is_refused_with_the_best_there_is(make_bundle, calibration_images, tmp_path):
    wrong = (calibration_images.labels + 1) % 7
    wrong[:10] = calibration_images.labels[:10]
    np.savez(tmp_path / "wrong.npz", images=calibration_images.images, labels=wrong)
    wanted = (
        r"int8 reaches at most \d\d\.\d\d % top-1 at any threshold, --min-top1 asks for 90.00 %; nothing was written"
    )
    with pytest.raises(GuardError, match=wanted):
        make_bundle(calib=tmp_path / "wrong.npz", min_top1=90.0)
    assert not (tmp_path / "build").exists()


def test_a_top1_without_labels_is_a_usage_error(make_bundle, calibration_images, tmp_path):
    np.savez(tmp_path / "plain.npz", images=calibration_images.images)
    with pytest.raises(UsageError, match="--min-top1 needs labels: give --eval"):
        make_bundle(calib=tmp_path / "plain.npz", min_top1="fp32")


def test_evaluation_images_without_labels_are_refused(make_bundle, calibration_images, tmp_path):
    np.savez(tmp_path / "plain.npz", images=calibration_images.images)
    with pytest.raises(ImageError, match=r"--eval .*plain\.npz has no labels"):
        make_bundle(evaluation=tmp_path / "plain.npz")


def test_the_limits_of_fp16_are_narrower(manifest):
    limits = {kind: {guard["name"]: guard["limit"] for guard in manifest["variants"][kind]["guards"]} for kind in TYPED}
    assert limits["int8"]["mean logit error, EE"] == limits["int8fp16"]["mean logit error, EE"] == 0.25
    assert limits["fp16"]["mean logit error, EE"] == 0.01


@pytest.mark.programs
def test_operators_that_fp16_cannot_hold_are_named_in_report_and_manifest(make_bundle, said, spoil):
    name = "blocks.1.mlp.fc2.matmul"
    spoil(lambda content: content["measured"]["largest"].update({name: 600.0}))
    kept = json.loads((make_bundle().folder / "sacvit.json").read_text())["variants"]["int8fp16"]["kept_in_fp32"]
    assert kept["EE"] == kept["SAC"] == {name: 600.0, "blocks.1.mlp.fc2": 600.0}
    assert f"  EE: {name} stays in FP32: it reaches 600, the limit is 512" in said


@pytest.mark.programs
def test_a_fixed_batch_decides_as_a_symbolic_one(make_bundle, typed_bundle, calibration_images):
    """The last of fourteen batches of three has one image."""
    fixed = make_bundle(batch=3)
    mine, theirs = (
        Pipeline.load(*bundle.variants["int8"])(calibration_images.images) for bundle in (fixed, typed_bundle)
    )
    same = [(a.stage, a.index) == (b.stage, b.index) for a, b in zip(mine, theirs, strict=True)]
    assert sum(same) >= 38  # of 40: INT8 rounds at 0.5 what sums in another order put on its other side


@pytest.mark.programs
@pytest.mark.parametrize("family", [family for family in families() if family != "fp32"])
def test_each_precision_can_be_asked_for_alone(tiny_checkpoint, tmp_path, family):
    """SAC is calibrated behind the first quantised EE there is, so that each family is once the first."""
    limits = {"logit_error": 1.0, "exit_agreement": 0.5, "far_flips": 1.0, "top1_agreement": 0.5, "target_overlap": 0.5}
    options = PrecisionOptions(**{family: True}, calib_count=24, calib_cache=tmp_path / "cache", limits=limits)
    made = export(tiny_checkpoint, tmp_path / "build", precision=options)
    assert {row_of(kind).family for kind in made.variants} == {family}
