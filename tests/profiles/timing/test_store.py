from __future__ import annotations

import json

import numpy as np
import pytest

from sacvit.bundle.errors import SacvitError, UsageError
from sacvit.profiles.timing.store import open_store, read_store

HEADER = {"engines": {"EE": "abc"}, "batch": 1}


def test_what_was_added_is_there_when_it_is_opened_again(tmp_path):
    open_store(tmp_path, HEADER).add("window", {"round": 0}, {"total": np.arange(3.0)})
    again = open_store(tmp_path, HEADER)
    (line,) = again.of("window")
    assert line["round"] == 0 and list(again.arrays(line)["total"]) == [0.0, 1.0, 2.0]


def test_a_line_that_a_kill_cut_is_measured_again(tmp_path):
    store = open_store(tmp_path, HEADER)
    store.add("window", {"round": 0})
    with store.path.open("a") as file:
        file.write('{"kind": "window", "rou')
    again = open_store(tmp_path, HEADER)
    assert len(again.of("window")) == 1
    again.add("window", {"round": 1})
    assert [line["round"] for line in open_store(tmp_path, HEADER).of("window")] == [0, 1]


def test_a_header_that_a_kill_cut_is_written_again(tmp_path):
    (tmp_path / "run.jsonl").write_text('{"kind": "hea')
    assert open_store(tmp_path, HEADER).lines[0]["batch"] == 1


def test_a_run_of_other_engines_is_refused_and_what_differs_is_told(tmp_path):
    open_store(tmp_path, HEADER)
    with pytest.raises(UsageError, match=r"a run of something else \(batch: 1, now 4\)\. Give another folder"):
        open_store(tmp_path, HEADER | {"batch": 4})


def test_a_damaged_line_is_told_with_its_number(tmp_path):
    store = open_store(tmp_path, HEADER)
    with store.path.open("a") as file:
        file.write("no json\n")
    with pytest.raises(SacvitError, match="line 2 is damaged"):
        open_store(tmp_path, HEADER)


def test_a_file_of_somebody_else_is_no_run(tmp_path):
    (tmp_path / "run.jsonl").write_text('{"kind": "window"}\n')
    with pytest.raises(SacvitError, match="does not begin with a header"):
        read_store(tmp_path)


def test_a_line_cannot_name_a_file_outside_of_the_folder(tmp_path):
    outside = tmp_path / "outside.npz"
    np.savez(outside, total=np.zeros(1))
    store = open_store(tmp_path / "run", HEADER)
    with pytest.raises(SacvitError, match="cannot be read"):
        store.arrays({"file": "../outside.npz"})


def test_arrays_with_pickled_objects_are_refused(tmp_path):
    store = open_store(tmp_path, HEADER)
    np.savez(tmp_path / "window-0001.npz", total=np.array([{}], dtype=object))
    with pytest.raises(SacvitError, match="cannot be read"):
        store.arrays({"file": "window-0001.npz"})


def test_arrays_that_a_power_cut_left_half_written_are_told(tmp_path):
    store = open_store(tmp_path, HEADER)
    line = store.add("window", {"round": 0}, {"total": np.arange(1000.0)})
    path = tmp_path / line["file"]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(SacvitError, match="cannot be read"):
        store.arrays(line)


def test_arrays_that_unpack_to_more_than_any_window_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sacvit.profiles.timing.store.MAX_ARRAYS_BYTES", 1000)
    np.savez_compressed(tmp_path / "window-0001.npz", total=np.zeros(1000))
    with pytest.raises(SacvitError, match="larger than any window"):
        open_store(tmp_path, HEADER).arrays({"file": "window-0001.npz"})


def test_a_folder_without_a_run_gives_none(tmp_path):
    assert read_store(tmp_path) is None


def test_every_line_is_json_by_itself(tmp_path):
    store = open_store(tmp_path, HEADER)
    store.add("idle", {"when": "before"})
    assert [json.loads(line)["kind"] for line in store.path.read_text().splitlines()] == ["header", "idle"]
