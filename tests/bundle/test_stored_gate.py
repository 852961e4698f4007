"""The gate that is stored beside the engines: what was written is read, what is of another export is refused."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from sacvit.bundle.errors import EngineError, UsageError
from sacvit.bundle.manifest import MANIFEST_NAME, Tuned, read_manifest, write_manifest
from sacvit.bundle.records import encode_record
from sacvit.bundle.stage_record import StageRecord
from sacvit.bundle.stored_gate import read_tuned, write_tuned

TUNED = Tuned(0.62, 1.7, "balanced", data={"fit": "photos"})


@pytest.fixture
def engine(bundles: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles / "typed", tmp_path / "typed")) / "ee.onnx"


@pytest.fixture
def record(engine: Path) -> StageRecord:
    return read_manifest(engine.parent).record("ee.onnx")


def test_what_was_stored_is_read(engine: Path, record: StageRecord) -> None:
    write_tuned(engine, record, TUNED)
    assert read_tuned(engine, record) == TUNED


def test_the_rest_of_the_manifest_stays(engine: Path, record: StageRecord) -> None:
    before = read_manifest(engine.parent)
    write_tuned(engine, record, TUNED)
    assert msgspec.structs.replace(read_manifest(engine.parent), tuned={}) == before


def test_each_precision_has_its_own_gate(engine: Path, record: StageRecord) -> None:
    write_tuned(engine, record, TUNED)
    write_tuned(engine, replace(record, precision="int8"), Tuned(0.5, 1.1, "fast"))
    assert read_tuned(engine, record) == TUNED
    assert read_tuned(engine, replace(record, precision="int8")) == Tuned(0.5, 1.1, "fast")


def test_a_later_gate_takes_the_place_of_an_earlier_one(engine: Path, record: StageRecord) -> None:
    write_tuned(engine, record, TUNED)
    write_tuned(engine, record, Tuned(0.1, 1.0, "later"))
    assert read_tuned(engine, record) == Tuned(0.1, 1.0, "later")


def test_nothing_was_tuned_where_no_manifest_stands(engine: Path, record: StageRecord) -> None:
    (engine.parent / MANIFEST_NAME).unlink()
    assert read_tuned(engine, record) is None


def test_a_gate_of_another_export_is_not_used(engine: Path, record: StageRecord) -> None:
    write_tuned(engine, record, TUNED)
    assert read_tuned(engine, replace(record, graph_sha256="0" * 64)) is None


@pytest.mark.parametrize("entry", [{"threshold": 1.2}, {"temperature": 0}, {"threshold": "0.5"}, {"point": "x" * 101}])
def test_a_gate_that_cannot_be_is_refused_with_its_place(
    engine: Path, record: StageRecord, entry: dict[str, object]
) -> None:
    manifest = msgspec.to_builtins(read_manifest(engine.parent))
    manifest["tuned"] = {"fp32": msgspec.to_builtins(TUNED) | entry}
    (engine.parent / MANIFEST_NAME).write_bytes(encode_record(manifest))
    with pytest.raises(EngineError, match=rf"at `\$\.tuned.*{next(iter(entry))}"):
        read_tuned(engine, record)


def test_storing_without_a_manifest_is_refused(engine: Path, record: StageRecord) -> None:
    (engine.parent / MANIFEST_NAME).unlink()
    with pytest.raises(UsageError, match="Copy it beside the engines"):
        write_tuned(engine, record, TUNED)


def test_storing_in_a_manifest_of_another_export_is_refused(engine: Path, record: StageRecord) -> None:
    with pytest.raises(UsageError, match=r"is of another export than ee\.onnx"):
        write_tuned(engine, replace(record, graph_sha256="0" * 64), TUNED)


def test_a_fault_while_writing_leaves_the_manifest_as_it_was(
    engine: Path, record: StageRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (engine.parent / MANIFEST_NAME).read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_tuned(engine, record, TUNED)
    assert (engine.parent / MANIFEST_NAME).read_bytes() == before


def test_a_manifest_that_was_rewritten_is_read(engine: Path) -> None:
    manifest = read_manifest(engine.parent)
    write_manifest(engine.parent, manifest)
    assert read_manifest(engine.parent) == manifest
