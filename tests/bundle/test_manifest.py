"""Records inside engines: what was written is read, what is foreign, damaged or mismatched is refused by name."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacvit.bundle import manifest
from sacvit.bundle.errors import EngineError
from sacvit.bundle.manifest import FORMAT, MANIFEST_NAME, PREFIX, StageRecord, read_manifest, require_pair
from sacvit.bundle.preprocess import Preprocessing

ENGINE, PARTNER = Path("build/ee.onnx"), Path("build/sac.onnx")


def a_record(**changes: Any) -> StageRecord:
    record = StageRecord(
        stage="EE",
        config={"width": 32, "window": None},
        preprocessing=Preprocessing(64),
        labels=["cat", "dog"],
        checkpoint_sha256="c" * 64,
        graph_sha256="e" * 64,
        partner_sha256="5" * 64,
        threshold=0.4,
        threshold_source="option",
    )
    return replace(record, **changes)


def a_pair(**sac_changes: Any) -> tuple[StageRecord, StageRecord]:
    return a_record(), replace(a_record(stage="SAC", graph_sha256="5" * 64, partner_sha256="e" * 64), **sac_changes)


def refusal(metadata: dict[str, str]) -> str:
    """The message for an engine with this metadata."""
    with pytest.raises(EngineError) as fault:
        StageRecord.from_metadata(ENGINE, metadata)
    return str(fault.value)


@settings(max_examples=60, deadline=None)
@given(
    stage=st.sampled_from(["EE", "SAC", "plain"]),
    labels=st.none() | st.lists(st.text(max_size=8), max_size=4),
    threshold=st.floats(0, 1),
    config=st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=4),
    source=st.sampled_from(["option", "checkpoint", "default", "exit-rate", "top1"]),
    precision=st.sampled_from(["fp32", "int8", "fp16", "int8fp16"]),
    threshold_fp32=st.none() | st.floats(0, 1),
)
def test_a_record_survives_the_metadata_of_an_engine(
    stage: Any,
    labels: list[str] | None,
    threshold: float,
    config: dict[str, Any],
    source: str,
    precision: Any,
    threshold_fp32: float | None,
) -> None:
    record = a_record(
        stage=stage,
        labels=labels,
        threshold=threshold,
        config=config,
        threshold_source=source,
        precision=precision,
        threshold_fp32=threshold_fp32,
    )
    assert StageRecord.from_metadata(ENGINE, record.to_metadata()) == record


def test_a_record_is_of_the_fp32_graph_unless_it_says_otherwise() -> None:
    metadata = a_record().to_metadata()
    assert (metadata[PREFIX + "precision"], metadata[PREFIX + "threshold_fp32"]) == ("fp32", "null")


def test_metadata_are_text_under_our_prefix() -> None:
    entries = a_record().to_metadata().items()
    assert [(key, value) for key, value in entries if not key.startswith(PREFIX) or not isinstance(value, str)] == []


def test_entries_of_others_are_ignored() -> None:
    assert StageRecord.from_metadata(ENGINE, a_record().to_metadata() | {"author": "someone"}) == a_record()


def test_an_engine_of_another_tool_is_refused_with_the_command_that_makes_one() -> None:
    assert re.search(r"build/ee\.onnx carries no sacvit record.*sacvit-export --ckpt", refusal({"author": "someone"}))


def test_a_record_of_another_format_is_refused_with_both_numbers() -> None:
    wanted = f"build/ee.onnx has record format 1, this sacvit reads {FORMAT}. Export it again"
    assert wanted in refusal(a_record().to_metadata() | {PREFIX + "format": "1"})


@pytest.mark.parametrize("key", sorted(a_record().to_metadata().keys() - {PREFIX + "format"}))
def test_a_record_without_an_entry_is_refused_by_its_name(key: str) -> None:
    metadata = a_record().to_metadata()
    del metadata[key]
    assert f"build/ee.onnx has a damaged sacvit record: {key!r}" in refusal(metadata)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("stage", "TAIL", "unknown stage 'TAIL'"),
        ("labels", "{}", "labels are not a list of names"),
        ("labels", '["cat", 3]', "labels are not a list of names"),
        ("labels", '["cat"', "Expecting"),
        ("threshold", "1.01", "threshold 1.01 is no number in [0, 1]"),
        ("threshold", "-0.01", "threshold -0.01 is no number in [0, 1]"),
        ("threshold", "NaN", "threshold nan is no number in [0, 1]"),
        ("threshold", "Infinity", "threshold inf is no number in [0, 1]"),
        ("threshold", "null", "threshold None is no number in [0, 1]"),
        ("precision", "fp8", "unknown precision 'fp8'"),
        ("precision", "INT8", "unknown precision 'INT8'"),
        ("threshold_fp32", "1.01", "threshold 1.01 is no number in [0, 1]"),
        ("threshold_fp32", "NaN", "threshold nan is no number in [0, 1]"),
        ("threshold_fp32", "true", "threshold True is no number in [0, 1]"),
        ("threshold_fp32", '"0.4"', "threshold '0.4' is no number in [0, 1]"),
        ("config", "[]", "config is not a table"),
        ("config", "{", "Expecting"),
        ("preprocessing", "null", "NoneType"),
        ("preprocessing", "[1]", "preprocessing has an unknown entry 1"),
        ("preprocessing", '{"image_size": -1}', "image size must be a positive whole number, found -1"),
        ("preprocessing", '{"image_size": 64, "mena": []}', "unknown entry 'mena' (did you mean mean?)"),
        pytest.param("config", "[" * 100_000, "recursion", id="deep"),
    ],
)
def test_a_damaged_entry_is_refused_with_the_reason(key: str, value: str, reason: str) -> None:
    message = refusal(a_record().to_metadata() | {PREFIX + key: value})
    assert message.startswith("build/ee.onnx has a damaged sacvit record: ") and reason in message


def test_a_record_above_the_size_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = a_record().to_metadata()
    monkeypatch.setattr(manifest, "MAX_JSON_BYTES", sum(map(len, metadata.values())) - 1)
    assert f"larger than {manifest.MAX_JSON_BYTES} bytes" in refusal(metadata)


def test_a_record_of_the_size_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = a_record().to_metadata()
    monkeypatch.setattr(manifest, "MAX_JSON_BYTES", sum(map(len, metadata.values())))
    assert StageRecord.from_metadata(ENGINE, metadata) == a_record()


def test_two_stages_of_one_export_are_a_pair() -> None:
    ee, sac = a_pair()
    require_pair(ENGINE, ee, PARTNER, sac)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8fp16"])
def test_stages_of_one_export_are_a_pair_in_every_mix_of_precisions(precision: str) -> None:
    ee, sac = a_pair(precision=precision)
    require_pair(ENGINE, replace(ee, precision="int8", threshold=0.38, threshold_fp32=0.4), PARTNER, sac)


def test_a_mix_of_precisions_excuses_no_other_checkpoint() -> None:
    ee, sac = a_pair(precision="int8", checkpoint_sha256="d" * 64)
    with pytest.raises(EngineError, match="come from two checkpoints"):
        require_pair(ENGINE, ee, PARTNER, sac)


def test_the_stages_in_the_wrong_order_are_refused_with_the_right_one() -> None:
    ee, sac = a_pair()
    with pytest.raises(EngineError, match=r"sac\.onnx is the SAC stage, expected EE: the order is --engine EE-FILE"):
        require_pair(PARTNER, sac, ENGINE, ee)


def test_the_same_stage_twice_is_refused() -> None:
    with pytest.raises(EngineError, match=r"ee\.onnx is the EE stage, expected SAC"):
        require_pair(ENGINE, a_record(), ENGINE, a_record())


def test_stages_of_two_checkpoints_are_refused_with_both_digests() -> None:
    ee, sac = a_pair(checkpoint_sha256="d" * 64)
    with pytest.raises(EngineError, match=r"come from two checkpoints \(c{12} and d{12}\)"):
        require_pair(ENGINE, ee, PARTNER, sac)


@pytest.mark.parametrize("key", ["graph_sha256", "partner_sha256"])
def test_stages_of_two_exports_of_one_checkpoint_are_refused(key: str) -> None:
    ee, sac = a_pair(**{key: "0" * 64})
    with pytest.raises(EngineError, match="from the same checkpoint but from two exports"):
        require_pair(ENGINE, ee, PARTNER, sac)


def write_manifest(folder: Path, content: bytes) -> Path:
    (folder / MANIFEST_NAME).write_bytes(content)
    return folder


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    content = {"format": FORMAT, "labels": ["Käse"]}
    assert read_manifest(write_manifest(tmp_path, json.dumps(content, ensure_ascii=False).encode())) == content


def test_a_folder_without_a_manifest_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"sacvit\.json is missing: .* is no bundle\. Make one: sacvit-export"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b'{"format": 2', "Expecting"),
        (b"[]", "not a manifest of format 2"),
        (b"{}", "not a manifest of format 2"),
        (b'{"format": 1}', "not a manifest of format 2"),
        (b'{"format": 2, "x": "\xff"}', "utf-8"),
        pytest.param(b"[" * 100_000, "recursion", id="deep"),
    ],
)
def test_a_damaged_manifest_is_refused_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(EngineError, match=rf"sacvit\.json is not readable: .*{reason}"):
        read_manifest(write_manifest(tmp_path, content))


def test_a_manifest_above_the_size_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_JSON_BYTES", 10)
    with pytest.raises(EngineError, match=r"sacvit\.json has 11 bytes; the limit is 10"):
        read_manifest(write_manifest(tmp_path, b"{         }"))
