"""Records inside engines: what was written is read, what is foreign, damaged or mismatched is refused by name."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle import stage_record
from sacvit.bundle.errors import EngineError
from sacvit.bundle.manifest import MANIFEST_NAME, read_manifest, require_exported
from sacvit.bundle.preprocess import Preprocessing
from sacvit.bundle.records import encode_record
from sacvit.bundle.stage_record import FORMAT, PREFIX, YOUNGER, StageRecord, require_pair

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


def test_a_record_of_before_an_entry_came_is_read() -> None:
    old = {name: text for name, text in a_record().to_metadata().items() if name.removeprefix(PREFIX) not in YOUNGER}
    assert StageRecord.from_metadata(ENGINE, old) == a_record()


def test_an_ee_has_several_sacs_as_partners() -> None:
    ee, sac = a_pair()
    with pytest.raises(EngineError, match="two exports"):
        require_pair(ENGINE, ee, ENGINE, replace(sac, graph_sha256="7" * 64))
    require_pair(ENGINE, replace(ee, further_partners=("7" * 64,)), ENGINE, replace(sac, graph_sha256="7" * 64))


@pytest.mark.parametrize(
    "key", sorted(a_record().to_metadata().keys() - {PREFIX + name for name in ("format", *YOUNGER)})
)
def test_a_record_without_an_entry_is_refused_by_its_name(key: str) -> None:
    metadata = a_record().to_metadata()
    del metadata[key]
    assert f"build/ee.onnx has a damaged sacvit record: {key!r}" in refusal(metadata)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("stage", "TAIL", "$.stage"),
        ("labels", "{}", "$.labels"),
        ("labels", '["cat", 3]', "$.labels[1]"),
        ("labels", '["cat"', "truncated"),
        ("threshold", "1.01", "$.threshold"),
        ("threshold", "null", "$.threshold"),
        ("precision", "fp4", "no precision 'fp4'"),
        ("config", "[]", "$.config"),
        ("preprocessing", '{"image_size": 0}', "image size"),
    ],
)
def test_a_damaged_entry_is_refused_with_its_place(key: str, value: str, reason: str) -> None:
    said = refusal(a_record().to_metadata() | {PREFIX + key: value})
    assert reason in said and said.startswith(f"{ENGINE} has a damaged sacvit record: ")


def test_a_record_above_the_size_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_record, "MAX_JSON_BYTES", 100)
    assert "larger than 100 bytes" in refusal(a_record().to_metadata())


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


def test_a_folder_without_a_manifest_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="sacvit-export --ckpt"):
        read_manifest(tmp_path)


def test_a_manifest_of_another_format_is_refused(bundles: Path, tmp_path: Path) -> None:
    content = json.loads((bundles / "bundle" / MANIFEST_NAME).read_text())
    (tmp_path / MANIFEST_NAME).write_bytes(encode_record(content | {"format": 2}))
    with pytest.raises(EngineError, match=r"at `\$\.format`.*Export again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["ee.onnx", "sac.int8.onnx"])
def test_the_manifest_gives_the_record_that_the_file_carries(bundles: Path, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(bundles / "typed" / name), providers=["CPUExecutionProvider"])
    carried = StageRecord.from_metadata(Path(name), session.get_modelmeta().custom_metadata_map)
    assert read_manifest(bundles / "typed").record(name) == carried


def test_a_file_that_the_manifest_does_not_name_has_no_record(bundles: Path) -> None:
    with pytest.raises(EngineError, match=r"does not describe other\.onnx"):
        read_manifest(bundles / "typed").record("other.onnx")


def test_one_flipped_bit_of_an_engine_is_refused(bundles: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundles / "bundle", tmp_path / "bundle"))
    content = bytearray((folder / "ee.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "ee.onnx").write_bytes(content)
    with pytest.raises(EngineError, match="its size or hash differs"):
        require_exported(folder / "ee.onnx")


def test_an_engine_without_its_manifest_is_not_vouched_for(bundles: Path, tmp_path: Path) -> None:
    shutil.copy(bundles / "bundle" / "ee.onnx", tmp_path / "ee.onnx")
    assert not require_exported(tmp_path / "ee.onnx")
    assert require_exported(bundles / "bundle" / "ee.onnx")
