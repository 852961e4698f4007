"""The gate that is stored beside the engines: what was written is read, what is damaged or of another export is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacvit.bundle.errors import EngineError, UsageError
from sacvit.bundle.manifest import FORMAT, MANIFEST_NAME, StageRecord
from sacvit.bundle.preprocess import Preprocessing
from sacvit.bundle.stored_gate import Tuned, read_tuned, write_tuned

TUNED = Tuned(0.62, 1.7, "balanced")


def record(precision="fp32", graph="e" * 64) -> StageRecord:
    return StageRecord("EE", {}, Preprocessing(32), None, "c" * 64, graph, "5" * 64, 0.4, "option", precision)


@pytest.fixture
def engine(tmp_path) -> Path:
    manifest = {"format": FORMAT, "graphs": {"EE": "e" * 64, "SAC": "5" * 64}, "labels": ["é"], "files": {"a": 1}}
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(manifest))
    return tmp_path / "ee.onnx"


def content(engine: Path):
    return json.loads((engine.parent / MANIFEST_NAME).read_text())


def change(engine: Path, **entries) -> None:
    (engine.parent / MANIFEST_NAME).write_text(json.dumps(content(engine) | entries))


def test_what_was_stored_is_read(engine):
    write_tuned(engine, record(), TUNED, {"data": {"fit": "photos"}})
    assert read_tuned(engine, record()) == TUNED


def test_details_stand_beside_the_gate(engine):
    write_tuned(engine, record(), TUNED, {"data": {"fit": "photos"}})
    assert content(engine)["tuned"] == {
        "fp32": {"threshold": 0.62, "temperature": 1.7, "point": "balanced", "data": {"fit": "photos"}}
    }


def test_the_rest_of_the_manifest_stays(engine):
    before = content(engine)
    write_tuned(engine, record(), TUNED, {})
    after = content(engine)
    del after["tuned"]
    assert after == before


def test_each_precision_has_its_own_gate(engine):
    write_tuned(engine, record(), TUNED, {})
    write_tuned(engine, record("int8"), Tuned(0.5, 1.1, "fast"), {})
    assert [read_tuned(engine, record(kind)) for kind in ("fp32", "int8", "fp16")] == [
        TUNED, Tuned(0.5, 1.1, "fast"), None,
    ]  # fmt: skip


def test_a_later_gate_takes_the_place_of_an_earlier_one(engine):
    write_tuned(engine, record(), TUNED, {"old": 1})
    write_tuned(engine, record(), Tuned(0.3, 1.0, "fast"), {})
    assert read_tuned(engine, record()) == Tuned(0.3, 1.0, "fast") and "old" not in content(engine)["tuned"]["fp32"]


def test_nothing_was_tuned_where_no_manifest_stands(engine):
    (engine.parent / MANIFEST_NAME).unlink()
    assert read_tuned(engine, record()) is None


def test_a_manifest_of_another_export_is_not_listened_to(engine):
    write_tuned(engine, record(), TUNED, {})
    assert read_tuned(engine, record(graph="a" * 64)) is None


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"threshold": 1.2, "temperature": 1, "point": "x"}, "threshold 1.2"),
        ({"threshold": -0.1, "temperature": 1, "point": "x"}, "threshold -0.1"),
        ({"threshold": float("nan"), "temperature": 1, "point": "x"}, "threshold nan"),
        ({"threshold": 0.5, "temperature": 0, "point": "x"}, "temperature 0"),
        ({"threshold": 0.5, "temperature": float("inf"), "point": "x"}, "temperature inf"),
        ({"threshold": "0.5", "temperature": 1, "point": "x"}, "are no two numbers"),
        ({"threshold": True, "temperature": 1, "point": "x"}, "are no two numbers"),
        ({"threshold": 0.5, "point": "x"}, "temperature"),
        ({"threshold": 0.5, "temperature": 1}, "point"),
        ([0.5, 1], "what sacvit-tune stored is damaged"),
        ("0.5", "what sacvit-tune stored is damaged"),
    ],
    ids=str,
)
def test_a_damaged_entry_is_told(entry, words, engine):
    change(engine, tuned={"fp32": entry})
    with pytest.raises(EngineError, match=r"sacvit\.json: what sacvit-tune stored is damaged .*Tune again") as fault:
        read_tuned(engine, record())
    assert words in str(fault.value)


@pytest.mark.parametrize("tuned", [5, "x", [1]], ids=str)
def test_entries_that_are_no_table_are_told(tuned, engine):
    change(engine, tuned=tuned)
    with pytest.raises(EngineError, match="what sacvit-tune stored is damaged"):
        read_tuned(engine, record())


def test_tuning_again_mends_what_was_damaged(engine):
    change(engine, tuned=[1])
    write_tuned(engine, record(), TUNED, {})
    assert read_tuned(engine, record()) == TUNED


def test_a_long_name_of_a_point_is_cut(engine):
    change(engine, tuned={"fp32": {"threshold": 0, "temperature": 1, "point": "x" * 1000}})
    assert read_tuned(engine, record()) == Tuned(0.0, 1.0, "x" * 100)


def test_storing_without_a_manifest_is_refused(engine):
    (engine.parent / MANIFEST_NAME).unlink()
    with pytest.raises(UsageError, match=r"sacvit\.json is missing: the gate is stored there"):
        write_tuned(engine, record(), TUNED, {})


def test_storing_in_a_manifest_of_another_export_is_refused(engine):
    with pytest.raises(UsageError, match=r"is of another export than ee\.onnx"):
        write_tuned(engine, record(graph="a" * 64), TUNED, {})
    assert "tuned" not in content(engine)


@pytest.mark.parametrize("graphs", [None, [], "x"], ids=str)
def test_storing_in_a_manifest_that_tells_of_no_graphs_is_refused(graphs, engine):
    change(engine, graphs=graphs)
    with pytest.raises(UsageError, match="is of another export"):
        write_tuned(engine, record(), TUNED, {})


def test_a_fault_while_writing_leaves_the_manifest_as_it_was(engine, monkeypatch):
    before = content(engine)

    def full(path, *arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            write_tuned(engine, record(), TUNED, {})
    assert content(engine) == before and [path.name for path in engine.parent.iterdir()] == [MANIFEST_NAME]
