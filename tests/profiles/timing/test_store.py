from __future__ import annotations

import json

import numpy as np
import pytest

from sacvit.bundle.errors import SacvitError, UsageError
from sacvit.bundle.records import encode_line
from sacvit.profiles.timing.store import open_store, read_store

HEADER = {
    "engines": {"EE": {"file": "ee.onnx", "sha256": "abc", "precision": "fp32"}}, "backend": "ONNX Runtime", "images": "noise",
    "batch": 1, "scenario": None, "survivors_share": False, "stored_threshold": 0.5, "versions": {},
}  # fmt: skip
COMMAND = {"command": "sacvit-profile", "date": "today"}
TRACE = {"session": 0, "rails": ["VDD_IN"], "readings": 3, "faults": []}
SESSION = {
    "session": 0, "mode": None, "power": {"source": None, "reason": "none"}, "schedule": {"lead_s": 1.0},
    "date": "today", "conditions": None,
}  # fmt: skip


def arrays(count=3):
    return {"0_s": np.arange(float(count)), "0_mw": np.ones(count)}


def test_what_was_added_is_there_when_it_is_opened_again(tmp_path):
    store = open_store(tmp_path, HEADER)
    store.add("session", SESSION)
    store.add("trace", TRACE, arrays())
    again = open_store(tmp_path, HEADER)
    (line,) = again.of("trace")
    assert line["rails"] == ["VDD_IN"] and list(again.arrays(line)["0_s"]) == [0.0, 1.0, 2.0]


def test_a_line_that_a_kill_cut_is_measured_again(tmp_path):
    store = open_store(tmp_path, HEADER)
    store.add("command", COMMAND)
    with store.path.open("a") as file:
        file.write('{"kind": "command", "comm')
    again = open_store(tmp_path, HEADER)
    assert len(again.of("command")) == 1
    again.add("command", {**COMMAND, "date": "tomorrow"})
    assert [line["date"] for line in open_store(tmp_path, HEADER).of("command")] == ["today", "tomorrow"]


def test_a_command_with_a_name_that_is_no_text_does_not_damage_the_run(tmp_path):
    store = open_store(tmp_path, HEADER)
    store.add("command", COMMAND | {"command": "sacvit-profile --out \udcff"})
    assert open_store(tmp_path, HEADER).of("command")[0]["command"] == "sacvit-profile --out ?"


def test_a_header_that_a_kill_cut_is_written_again(tmp_path):
    (tmp_path / "run.jsonl").write_text('{"kind": "hea')
    assert open_store(tmp_path, HEADER).lines[0]["batch"] == 1


def test_a_run_of_other_engines_is_refused_and_what_differs_is_told(tmp_path):
    open_store(tmp_path, HEADER)
    with pytest.raises(UsageError, match=r"another run \(batch: 1, now 4\)\. Give another folder"):
        open_store(tmp_path, HEADER | {"batch": 4})


def test_a_damaged_line_is_told_with_its_number(tmp_path):
    store = open_store(tmp_path, HEADER)
    with store.path.open("a") as file:
        file.write("no json\n")
    with pytest.raises(SacvitError, match="line 2 is damaged"):
        open_store(tmp_path, HEADER)


def test_a_file_of_somebody_else_is_no_run(tmp_path):
    (tmp_path / "run.jsonl").write_bytes(encode_line({"kind": "command", **COMMAND}) + b"\n")
    with pytest.raises(SacvitError, match="does not begin with a header"):
        read_store(tmp_path)


def test_a_line_cannot_name_a_file_outside_of_the_folder(tmp_path):
    outside = tmp_path / "outside.npz"
    np.savez(outside, total=np.zeros(1))
    store = open_store(tmp_path / "run", HEADER)
    with pytest.raises(SacvitError, match="cannot be read"):
        store.arrays({**TRACE, "kind": "trace", "file": "../outside.npz"})


def test_arrays_with_pickled_objects_are_refused(tmp_path):
    store = open_store(tmp_path, HEADER)
    np.savez(tmp_path / "trace-0001.npz", **{"0_s": np.array([{}], dtype=object)})
    with pytest.raises(SacvitError, match="cannot be read"):
        store.arrays({**TRACE, "kind": "trace", "file": "trace-0001.npz"})


def test_arrays_that_a_power_cut_left_half_written_are_told(tmp_path):
    store = open_store(tmp_path, HEADER)
    line = store.add("trace", TRACE, arrays(1000))
    path = tmp_path / line["file"]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(SacvitError, match="cannot be read"):
        store.arrays(line)


@pytest.mark.parametrize(("offset", "value"), [(10, 99), (6, 255), (8, 1)])
def test_arrays_of_a_zip_that_cannot_be_read_are_told(tmp_path, offset, value):
    """An unknown compression, an unknown version, an encrypted member."""
    store = open_store(tmp_path, HEADER)
    line = store.add("trace", TRACE, arrays())
    path = tmp_path / line["file"]
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x01\x02") + offset] = value
    path.write_bytes(content)
    with pytest.raises(SacvitError, match="cannot be read"):
        store.arrays(line)


def test_arrays_that_unpack_to_more_than_any_window_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sacvit.profiles.timing.store.MAX_ARRAYS_BYTES", 1000)
    np.savez_compressed(tmp_path / "trace-0001.npz", **arrays(1000))
    with pytest.raises(SacvitError, match="larger than any window"):
        open_store(tmp_path, HEADER).arrays({**TRACE, "kind": "trace", "file": "trace-0001.npz"})


def test_a_folder_without_a_run_gives_none(tmp_path):
    assert read_store(tmp_path) is None


def test_every_line_is_json_by_itself(tmp_path):
    store = open_store(tmp_path, HEADER)
    store.add("command", COMMAND)
    assert [json.loads(line)["kind"] for line in store.path.read_text().splitlines()] == ["header", "command"]
