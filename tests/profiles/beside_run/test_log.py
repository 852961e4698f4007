from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sacvit.bundle.errors import SacvitError, UsageError
from sacvit.profiles.beside_run import log as log_module
from sacvit.profiles.beside_run.log import PowerLog
from sacvit.profiles.beside_run.log_lines import read_log_line
from sacvit.profiles.power.source import Reading

HEADER = {
    "source": {"source": None, "reason": "none here"}, "most_cut": 0, "survivors_share": False,
    "machine": [], "date": "2026-11-26T17:00:00.000Z",
    "utc_offset_s": 0, "host": "bench", "engines": {"EE": "ee.onnx"}, "backend": "a backend",
    "threshold": 0.5,
}  # fmt: skip
TIME = "2026-11-26T17:00:01.000Z"


def begun(path: Path, **options) -> PowerLog:
    log = PowerLog(path, **options)
    log.write_header(HEADER, ["VDD_IN"])
    return log


def lines_of(path: Path) -> list[dict]:
    found = []
    for text in path.read_bytes().splitlines():
        found.append(read_log_line(text, 1 if found else None))
    return found


def fill(log: PowerLog, second: int) -> None:
    log.add_reading(Reading(float(second), {"VDD_IN": 5000.0}))
    log.add_frame(float(second), 7.5, 6.25, "exit" if second % 2 else "full", 0)
    log.write_second(second + 0.5, TIME)


def test_a_line_holds_the_readings_and_frames_of_a_second(tmp_path):
    log = begun(tmp_path / "p.jsonl")
    log.add_reading(Reading(1.0, {"VDD_IN": 5000.0}))
    log.add_reading(Reading(1.1, {}))
    log.add_frame(1.05, 7.5, 6.25, "exit", 0)
    log.add_frame(1.06, 9.5, 8.25, "full", 1)
    log.write_second(2.0, TIME)
    header, line = lines_of(tmp_path / "p.jsonl")
    assert header["kind"] == "header"
    assert line["readings"] == {"s": [1.0, 1.1], "rails": [[5000, None]]}
    assert line["frames"] == {
        "taken_s": [1.05, 1.06], "age_ms": [7.5, 9.5], "ms": [6.25, 8.25], "path": "ef", "camera": [0, 1],
    }  # fmt: skip


def test_what_a_killed_run_has_written_is_in_the_file(tmp_path):
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_log import begun, fill
from pathlib import Path
log = begun(Path(sys.argv[1]))
for second in range(3):
    fill(log, second)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "p.jsonl")], check=False)
    assert [line["kind"] for line in lines_of(tmp_path / "p.jsonl")] == ["header", "second", "second", "second"]


def test_an_earlier_log_is_kept_under_another_name(tmp_path):
    for second in (1, 2, 3):
        log = begun(tmp_path / "p.jsonl")
        fill(log, second)
        log.close()
    assert [lines_of(tmp_path / name)[1]["readings"]["s"] for name in ("p.jsonl", "p.old.jsonl")] == [[3.0], [2.0]]


def test_a_log_of_the_limit_is_continued_in_a_new_one(tmp_path):
    log = begun(tmp_path / "p.jsonl", max_bytes=4000)
    for second in range(60):
        fill(log, second)
    log.close()
    for name in ("p.jsonl", "p.old.jsonl"):
        assert (tmp_path / name).stat().st_size <= 4000
    old, new = lines_of(tmp_path / "p.old.jsonl"), lines_of(tmp_path / "p.jsonl")
    assert old[0]["kind"] == new[0]["kind"] == "header"
    assert new[1]["readings"]["s"][0] == old[-1]["readings"]["s"][0] + 1 and new[-1]["readings"]["s"] == [59.0]


@pytest.mark.parametrize("content", ['{"frame": 0}\n', "RAM 1/2MB\n", "\x00"])
def test_a_file_that_is_no_log_is_refused_and_stays(tmp_path, content):
    path = tmp_path / "run.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match="give another name"):
        PowerLog(path)
    assert path.read_text() == content and list(tmp_path.iterdir()) == [path]


def test_a_log_that_another_run_writes_is_refused(tmp_path):
    log = begun(tmp_path / "p.jsonl")
    with pytest.raises(UsageError, match="in use"):
        PowerLog(tmp_path / "p.jsonl")
    log.close()


def test_a_folder_in_its_place_is_reported(tmp_path):
    (tmp_path / "p.jsonl").mkdir()
    with pytest.raises(SacvitError, match=r"p\.jsonl"):
        PowerLog(tmp_path / "p.jsonl")


@pytest.fixture
def limit_files():
    """A function that lets no file grow beyond a size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_reported_once_and_loses_whole_lines(tmp_path, limit_files, caplog):
    caplog.set_level(logging.INFO)
    path = tmp_path / "p.jsonl"
    log = begun(path)
    fill(log, 0)
    limit_files(path.stat().st_size + 100)
    for second in (1, 2, 3):
        fill(log, second)
    limit_files(resource.RLIM_INFINITY)
    fill(log, 4)
    log.close()
    assert [line["readings"]["s"] for line in lines_of(path)[1:]] == [[0.0], [4.0]]
    assert log.lost_s == 3
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_a_header_that_did_not_fit_comes_with_the_next_line(tmp_path, limit_files):
    path = tmp_path / "p.jsonl"
    log = PowerLog(path)
    limit_files(10)
    log.write_header(HEADER, ["VDD_IN"])
    limit_files(resource.RLIM_INFINITY)
    fill(log, 1)
    log.close()
    assert [line["kind"] for line in lines_of(path)] == ["header", "second"]


def test_frames_that_wait_for_a_disk_that_hangs_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "MOST_WAITING", 10)
    log = begun(tmp_path / "p.jsonl")
    for second in range(25):
        log.add_frame(float(second), 1.0, 1.0, "exit", 0)
    log.write_second(25.0, TIME)
    log.close()
    assert lines_of(tmp_path / "p.jsonl")[1]["frames"]["taken_s"] == [float(second) for second in range(15, 25)]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda line: line | {"kind": "minute"}, "$.kind"),
        (lambda line: line | {"monotonic_s": "now"}, "$.monotonic_s"),
        (lambda line: line | {"monotonic_s": 1e300}, "$.monotonic_s"),
        (lambda line: line | {"readings": {"s": [1.0], "rails": []}}, "$.readings"),
        (lambda line: line | {"readings": {"s": [1.0], "rails": [[1.0, 2.0]]}}, "$.readings"),
        (lambda line: line | {"frames": line["frames"] | {"path": "ee"}}, "$.frames"),
        (lambda line: line | {"frames": line["frames"] | {"path": "x"}}, "$.frames.path"),
    ],
)
def test_a_damaged_line_is_refused_with_its_place(tmp_path, change, place):
    log = begun(tmp_path / "p.jsonl")
    fill(log, 1)
    line = json.loads((tmp_path / "p.jsonl").read_bytes().splitlines()[1])
    del line["checksum"]
    with pytest.raises(ValueError, match=place.replace("$", r"\$").replace(".", r"\.")):
        read_log_line(log_module.encode_line(change(line)), 1)
