from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import BEGIN_S, BEGIN_UNIX, json_lines, write_log

from sacvit.bundle.errors import SacvitError
from sacvit.bundle.records import encode_line
from sacvit.profiles.beside_run import read_run
from sacvit.profiles.beside_run.page import run_lines
from sacvit.profiles.beside_run.read_run import read_recorded
from sacvit.profiles.beside_run.timeline import draw_timeline


def test_a_power_log_gives_frames_readings_and_windows(tmp_path):
    run = read_recorded(write_log(tmp_path / "p.jsonl", 25))
    assert len(run.frames.ms) == 25 * 30 and sum(run.frames.is_full) == 25 * 10
    assert run.frames.answered_s[0] + run.frames.offset_s[0] == pytest.approx(BEGIN_UNIX + 0.5 / 30 + 0.01)
    assert list(run.power_w) == ["VDD_IN", "VDD_SOC"] and set(run.power_w["VDD_IN"][1]) == {5.0}
    assert run.windows is not None and len(run.windows.kept) == 2
    assert run.windows.per_frame_mj()["total"].value == pytest.approx(5000 / 30, rel=0.01)
    assert run.zones_c["tj"][1][0] == 50.0 and dict(run.about)["Board"] == "a board"


def test_a_killed_run_is_read_to_its_last_whole_line(tmp_path):
    path = write_log(tmp_path / "p.jsonl", 5)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    run = read_recorded(path)
    assert len(run.frames.ms) == 4 * 30
    assert "The run was killed: the state of the machine at its end is not known." in run.notes


def test_the_power_of_a_counter_is_its_slope(tmp_path):
    path = write_log(tmp_path / "p.jsonl", 3)
    header, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    header["source"]["kind"] = "energy"
    for line in lines:
        if line["kind"] == "second":
            line["readings"]["rails"] = [[4000.0 * s for s in line["readings"]["s"]]] * 2
    for line in (header, *lines):
        del line["checksum"]
    path.write_bytes(b"".join(encode_line(line) + b"\n" for line in (header, *lines)))
    assert read_recorded(path).power_w["VDD_IN"][1][5] == pytest.approx(4.0)


def test_a_damaged_line_of_a_log_is_refused_with_its_number(tmp_path):
    path = write_log(tmp_path / "p.jsonl", 5)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b"5000", b"9000")
    path.write_bytes(b"".join(lines))
    with pytest.raises(SacvitError, match=r"p\.jsonl, line 5 is damaged: its checksum does not fit.*Remove the line"):
        read_recorded(path)


def test_lines_of_json_give_frames_with_their_times(tmp_path):
    (tmp_path / "run.jsonl").write_text(json_lines(2))
    run = read_recorded(tmp_path / "run.jsonl")
    assert len(run.frames.ms) == 60 and run.frames.ms[0] == 15.0 and run.frames.ms[1] == 6.0
    assert run.frames.answered_s[0] == pytest.approx(BEGIN_S + 0.5 / 30 + 0.01)
    assert run.windows is None and not run.power_w


def test_the_power_of_each_window_in_lines_of_json_is_a_step(tmp_path):
    power = {"ended_s": BEGIN_S + 10, "window_s": 10.0, "w": {"VDD_IN": 5.0, "total": 5.0}}
    (tmp_path / "run.jsonl").write_text(json_lines(2, power=power))
    run = read_recorded(tmp_path / "run.jsonl")
    assert {rail: (list(s), list(w)) for rail, (s, w) in run.power_w.items()} == {
        "VDD_IN": ([BEGIN_S, BEGIN_S + 10], [5.0, 5.0])
    }


def test_events_between_lines_of_json_are_passed_over(tmp_path):
    event = json.dumps({"event": "label=bee", "frame": 3, "time": "2025-11-26T17:00:00.000Z"})
    first = json.dumps({"event": "camera-lost", "camera": 0})
    (tmp_path / "run.jsonl").write_text(f"{first}\n{json_lines(1)}{event}\n")
    assert len(read_recorded(tmp_path / "run.jsonl").frames.ms) == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"monotonic_s": None}, "an older sacvit wrote it"),
        ({"time": "yesterdayZ"}, "line 1 is no line of sacvit-run --json"),
        ({"time": "2025-11-26T17:00:00"}, "ends in Z"),
        ({"age_ms": "old"}, r"\$\.age_ms"),
        ({"frame": None}, "expected the entry frame"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused(tmp_path, change, message):
    line = json.loads(json_lines(1).splitlines()[0]) | change
    (tmp_path / "run.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(SacvitError, match=message):
        read_recorded(tmp_path / "run.jsonl")


def test_a_file_without_a_frame_is_refused(tmp_path):
    with pytest.raises(SacvitError, match="no frame"):
        read_recorded(write_log(tmp_path / "p.jsonl", 0))


def test_a_file_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    path = write_log(tmp_path / "p.jsonl", 2)
    monkeypatch.setattr(read_run, "MAX_BYTES", 1000)
    with pytest.raises(SacvitError, match="the limit is 1000"):
        read_recorded(path)


@given(place=st.integers(0, 5000), value=st.integers(0, 255))
def test_a_changed_byte_gives_a_run_or_a_message(tmp_path_factory, place, value):
    path = tmp_path_factory.mktemp("changed") / "run.jsonl"
    content = bytearray(json_lines(1).encode())
    content[place % len(content)] = value
    path.write_bytes(content)
    try:
        assert run_lines(read_recorded(path))
    except SacvitError as fault:
        assert "run.jsonl" in str(fault)


@pytest.mark.parametrize(
    "change",
    [
        {"monotonic_s": 1e15}, {"monotonic_s": 0}, {"age_ms": 1e9}, {"time": "0001-01-01T00:00:00Z"},
        {"time": "9999-12-31T23:59:59Z"}, {"ee_ms": 1e9},
    ],
    ids=str,
)  # fmt: skip
def test_numbers_at_the_ends_of_their_range_can_be_shown(tmp_path, change, report_packages):
    lines = json_lines(1).splitlines()
    lines[7] = json.dumps(json.loads(lines[7]) | change)
    (tmp_path / "run.jsonl").write_text("\n".join(lines) + "\n")
    run = read_recorded(tmp_path / "run.jsonl")
    assert run_lines(run) and draw_timeline(run, ("narrow",))
