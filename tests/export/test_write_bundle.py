from __future__ import annotations

import hashlib
import json
import os

import onnx
import pytest

from sacvit.bundle.errors import ConfigError, GuardError, SacvitError
from sacvit.bundle.folders import WORK_PREFIX
from sacvit.bundle.stage_record import DEFAULT_THRESHOLD, StageRecord, require_pair
from sacvit.export import bundle_files as files_module
from sacvit.export import write_bundle as export_module
from sacvit.export.checks.lint import lint_graph
from sacvit.export.write_bundle import export

FILES = {"ee.onnx", "sac.onnx", "sacvit.json", "goldens.npz"}


def content_of(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def record_of(path) -> StageRecord:
    return StageRecord.from_metadata(path, {entry.key: entry.value for entry in onnx.load(path).metadata_props})


def test_a_bundle_is_two_graphs_and_a_manifest(tiny_checkpoint, tmp_path):
    bundle = export(tiny_checkpoint, tmp_path / "build")
    assert set(content_of(tmp_path / "build")) == FILES
    assert bundle.ee == tmp_path / "build" / "ee.onnx"
    assert all(check.holds for check in bundle.checks)
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


def test_written_graphs_are_portable(tiny_bundle):
    for name in ("ee.onnx", "sac.onnx"):
        assert lint_graph(onnx.load(tiny_bundle / name)) == []


def test_the_manifest_tells_the_files_and_their_hashes(tiny_bundle):
    manifest = json.loads((tiny_bundle / "sacvit.json").read_text())
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == hashlib.sha256((tiny_bundle / name).read_bytes()).hexdigest()
    assert manifest["threshold"] == {"value": 0.4, "source": "option", "fp32": None}
    assert [entry["name"] for entry in manifest["hand_off"]] == ["target_index", "target_context", "non_target"]
    assert len(manifest["checks"]) == 10


def test_the_two_graphs_name_each_other(tiny_bundle, tiny_checkpoint):
    ee, sac = record_of(tiny_bundle / "ee.onnx"), record_of(tiny_bundle / "sac.onnx")
    require_pair(tiny_bundle / "ee.onnx", ee, tiny_bundle / "sac.onnx", sac)
    assert ee.checkpoint_sha256 == hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()


def test_the_graph_hash_is_of_the_graph_without_its_record(tiny_bundle):
    model = onnx.load(tiny_bundle / "ee.onnx")
    record = record_of(tiny_bundle / "ee.onnx")
    del model.metadata_props[:]
    assert hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest() == record.graph_sha256


def test_the_same_checkpoint_gives_the_same_bytes(tiny_checkpoint, tmp_path):
    first, second = (export(tiny_checkpoint, tmp_path / name) for name in ("a", "b"))
    assert first.ee.read_bytes() == second.ee.read_bytes()
    assert first.sac.read_bytes() == second.sac.read_bytes()


def test_options_override_the_checkpoint(tiny_checkpoint, tmp_path):
    export(tiny_checkpoint, tmp_path / "b", attention="global", selection="window", window=3, alpha=0.6)
    model = json.loads((tmp_path / "b" / "sacvit.json").read_text())["model"]
    assert (model["attention"], model["selection"], model["window"], model["alpha"]) == ("global", "window", 3, 0.6)


def test_without_a_threshold_the_default_is_called_a_default(tiny_checkpoint, tmp_path):
    export(tiny_checkpoint, tmp_path / "b")
    assert record_of(tmp_path / "b" / "ee.onnx").threshold == DEFAULT_THRESHOLD
    assert record_of(tmp_path / "b" / "ee.onnx").threshold_source == "default"


def test_labels_come_from_a_file(tiny_checkpoint, tmp_path):
    names = ["a", "b", "c", "Käfer", "e", "f", "g"]
    (tmp_path / "labels.txt").write_text("\n".join(names) + "\n", "utf-8")
    export(tiny_checkpoint, tmp_path / "b", labels=tmp_path / "labels.txt")
    assert record_of(tmp_path / "b" / "sac.onnx").labels == names


def test_labels_of_another_count_are_refused(tiny_checkpoint, tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(SacvitError, match=r"labels\.txt has 2 names, the model has 7 classes"):
        export(tiny_checkpoint, tmp_path / "b", labels=tmp_path / "labels.txt")


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_the_unit_interval_is_refused(tiny_checkpoint, tmp_path, threshold):
    with pytest.raises(ConfigError, match=r"--threshold must lie in \[0, 1\]"):
        export(tiny_checkpoint, tmp_path / "b", threshold=threshold)


@pytest.mark.parametrize("batch", [0, 257])
def test_a_batch_beyond_its_limits_is_refused(tiny_checkpoint, tmp_path, batch):
    with pytest.raises(ConfigError, match=r"--batch must lie in 1 \.\. 256"):
        export(tiny_checkpoint, tmp_path / "b", batch=batch)


def break_check(monkeypatch):
    def require_held(checks):
        raise GuardError("planted")

    monkeypatch.setattr(export_module, "require_held", require_held)


def interrupt(monkeypatch):
    def describe(*_):
        raise KeyboardInterrupt  # between the graphs and the manifest

    monkeypatch.setattr(files_module, "write_manifest", describe)


def fill_disk(monkeypatch):
    def describe(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module, "write_manifest", describe)


@pytest.mark.parametrize(
    ("plant", "raised"), [(break_check, GuardError), (interrupt, KeyboardInterrupt), (fill_disk, SacvitError)]
)
def test_a_failed_export_writes_nothing(tiny_checkpoint, tmp_path, monkeypatch, plant, raised):
    plant(monkeypatch)
    with pytest.raises(raised):
        export(tiny_checkpoint, tmp_path / "build")
    assert list(tmp_path.iterdir()) == []  # not even the folder


@pytest.mark.parametrize(
    ("plant", "raised"), [(break_check, GuardError), (interrupt, KeyboardInterrupt), (fill_disk, SacvitError)]
)
def test_a_failed_export_leaves_the_old_bundle_alone(tiny_checkpoint, tmp_path, monkeypatch, plant, raised):
    export(tiny_checkpoint, tmp_path / "build")
    before = content_of(tmp_path / "build")
    plant(monkeypatch)
    with pytest.raises(raised):
        export(tiny_checkpoint, tmp_path / "build", alpha=0.3)
    assert content_of(tmp_path / "build") == before
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


def test_what_a_killed_export_left_is_cleared(tiny_checkpoint, tmp_path):
    left = tmp_path / "build" / f"{WORK_PREFIX}old"
    left.mkdir(parents=True)
    (left / "ee.onnx").write_bytes(b"half")
    export(tiny_checkpoint, tmp_path / "build")
    assert not left.exists()


@pytest.mark.parametrize("at", range(1, 9))
def test_an_interruption_between_two_renames_puts_the_old_bundle_back(tiny_checkpoint, tmp_path, monkeypatch, at):
    export(tiny_checkpoint, tmp_path / "build")
    before = content_of(tmp_path / "build")
    calls, rename = [], os.replace

    def interrupted(source, target):
        calls.append(source)
        if len(calls) == at:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(tiny_checkpoint, tmp_path / "build", alpha=0.3)
    monkeypatch.undo()
    assert content_of(tmp_path / "build") == before


def test_files_of_others_in_the_folder_stay(tiny_checkpoint, tmp_path):
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "notes.txt").write_text("mine")
    export(tiny_checkpoint, tmp_path / "build")
    assert (tmp_path / "build" / "notes.txt").read_text() == "mine"


def test_a_file_in_the_way_is_refused(tiny_checkpoint, tmp_path):
    (tmp_path / "build").write_text("a file")
    with pytest.raises(SacvitError, match="is a file; give a folder"):
        export(tiny_checkpoint, tmp_path / "build")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_message(tiny_checkpoint, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(SacvitError, match="cannot be written"):
        export(tiny_checkpoint, tmp_path / "closed" / "build")


def test_the_manifest_is_json_that_others_can_read(tiny_bundle):
    manifest = json.loads((tiny_bundle / "sacvit.json").read_text())
    assert manifest["format"] == 3 and manifest["checkpoint"]["file"] == "model.pth"
