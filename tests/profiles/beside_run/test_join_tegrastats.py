from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from made_runs import json_lines, write_log

from sacvit.bundle.errors import UsageError
from sacvit.profiles.beside_run.join_tegrastats import join_log, parse_utc_offset
from sacvit.profiles.beside_run.read_run import read_recorded

LOGS = Path(__file__).parents[1] / "tegrastats"
ORIN = LOGS / "agx-orin-jp6-root.txt"  # from 2025-07-21 16:33:42 to 16:33:57; 3 lines of 2026 follow
AT = datetime(2025, 7, 21, 16, 33, 42, tzinfo=timezone.utc).timestamp()
TOTAL_RAILS = ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]


@pytest.fixture
def zone(monkeypatch):
    """A function that sets the zone of this computer."""

    def set_zone(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


def lines_run(tmp_path, begin_unix=AT, seconds=15):
    (tmp_path / "run.jsonl").write_text(json_lines(seconds, begin_unix))
    return read_recorded(tmp_path / "run.jsonl")


def long_log(path: Path, seconds: int, begin: float = AT) -> Path:
    """A line per second: 5 W."""
    lines = [
        datetime.fromtimestamp(begin + second, timezone.utc).strftime("%m-%d-%Y %H:%M:%S")
        + " RAM 1/2MB (lfb 1x4MB) CPU [1%@2] tj@50C VDD_IN 5000mW/5000mW"
        for second in range(seconds)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_real_log_lies_over_the_frames(tmp_path):
    run = lines_run(tmp_path)
    join_log(run, ORIN, 0)
    assert list(run.power_w) == [*TOTAL_RAILS, "total"]
    times, watts = run.power_w["VDD_GPU_SOC"]
    assert times[0] - run.frames.answered_s[0] == pytest.approx(0.5, abs=0.1) and watts[0] == 2.798
    assert "covers 100% of the run; its times are taken as UTC+00:00" in run.notes[-1]


def test_the_energy_of_a_frame_follows_from_the_joined_log(tmp_path):
    """5 W at 30 frames per second; windows last 50 s, since they need 50 lines."""
    run = lines_run(tmp_path, seconds=120)
    join_log(run, long_log(tmp_path / "log", 125), 0)
    assert run.windows is not None and [round(one.end_s - one.begin_s) for one in run.windows.measured] == [50, 50]
    assert run.windows.per_frame_mj()["total"].value == pytest.approx(5000 / 30, rel=0.01)


def test_local_times_are_shifted_by_the_given_offset(tmp_path):
    run = lines_run(tmp_path, AT + 5 * 3600)
    join_log(run, ORIN, parse_utc_offset("-05:00"))
    assert "covers 100% of the run; its times are taken as UTC-05:00" in run.notes[-1]


def test_without_an_offset_that_of_the_power_log_is_taken(tmp_path):
    header = datetime(2025, 11, 26, 18, tzinfo=timezone.utc).timestamp()  # 17:00 UTC at +01:00
    run = read_recorded(write_log(tmp_path / "p.jsonl", 18))
    join_log(run, long_log(tmp_path / "log", 18, header), None)
    assert "UTC+01:00." in run.notes[-2] or "UTC+01:00," in run.notes[-1]


@pytest.mark.parametrize("before", [2 * 3600, 4 * 3600], ids=["the zone here", "another zone"])
def test_without_any_offset_the_zone_of_this_computer_is_taken(tmp_path, zone, before):
    zone("UTC-2")  # two hours east, in the notation of POSIX
    run = lines_run(tmp_path, AT - before)
    if before == 2 * 3600:
        join_log(run, ORIN, None)
        assert "UTC+02:00, the zone of this computer" in run.notes[-1]
        return
    with pytest.raises(UsageError, match=r"do not overlap.*2025-07-21T12:33:42.*They would with --utc-offset=\+04:00"):
        join_log(run, ORIN, None)


def test_a_log_of_another_day_is_refused_without_a_hint(tmp_path):
    with pytest.raises(UsageError, match=r"do not overlap.*Give the log of this run"):
        join_log(lines_run(tmp_path, AT + 7 * 86400), ORIN, 0)


def test_a_log_of_a_part_of_the_run_says_how_much_it_covers(tmp_path):
    run = lines_run(tmp_path, seconds=36)
    join_log(run, ORIN, 0)
    assert "covers 46% of the run" in run.notes[-1]


def test_a_log_without_times_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"JetPack 3 and 4.*--power tegrastats"):
        join_log(lines_run(tmp_path), LOGS / "nano-jp4-root.txt", 0)


def test_a_log_whose_times_go_backwards_is_refused(tmp_path):
    lines = ORIN.read_text().splitlines()
    (tmp_path / "log").write_text("\n".join([*lines[9:], *lines[:9]]))
    with pytest.raises(UsageError, match="go backwards"):
        join_log(lines_run(tmp_path), tmp_path / "log", 0)


def test_a_run_whose_clock_jumped_is_not_joined(tmp_path):
    run = read_recorded(write_log(tmp_path / "p.jsonl", 18, jump_s=30.0))
    with pytest.raises(UsageError, match=r"jumped by 30\.0 s"):
        join_log(run, ORIN, 0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("+02:00", 7200), ("-05:30", -19800), ("9", 32400), ("Z", 0), ("+0530", 19800)]
)
def test_an_offset_is_read(text, seconds):
    assert parse_utc_offset(text) == seconds


@pytest.mark.parametrize("text", ["", "CET", "+15:00", "+02:70", "++2"])
def test_an_offset_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="--utc-offset"):
        parse_utc_offset(text)
