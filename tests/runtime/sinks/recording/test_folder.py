from __future__ import annotations

import fcntl
import os

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.runtime.sinks.recording.folder import RecordingFolder

NOON = 1_795_608_000.0  # 2026-11-25T12:00:00Z


def record(folder: RecordingFolder, began_s: float = NOON, size: int = 1000, stream: int = 0) -> str:
    path = folder.new_file(stream, began_s)
    path.write_bytes(bytes(size))
    folder.end_file(path)
    return path.name


def names(path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


def test_a_name_has_the_camera_and_the_utc_time(tmp_path):
    folder = RecordingFolder(tmp_path)
    assert record(folder, stream=2) == "camera2-00000000-20261125T120000Z.mkv"


def test_names_rise_when_the_clock_jumps_back(tmp_path):
    folder = RecordingFolder(tmp_path)
    given = [record(folder, NOON), record(folder, NOON - 3600), record(folder, NOON - 3600)]
    assert given == sorted(set(given)) and len(given) == 3


def test_a_later_run_counts_on(tmp_path):
    first = RecordingFolder(tmp_path)
    before = record(first, NOON)
    first.close()
    assert record(RecordingFolder(tmp_path), NOON - 86400) > before


def test_the_oldest_are_removed_by_their_numbers(tmp_path):
    folder = RecordingFolder(tmp_path, keep_bytes=2500)
    given = [record(folder, NOON - 100 * place) for place in range(4)]
    folder.make_room()
    assert names(tmp_path) == given[2:]


def test_what_is_being_written_counts_and_stays(tmp_path):
    folder = RecordingFolder(tmp_path, keep_bytes=1500)
    path = folder.new_file(0, NOON)
    path.write_bytes(bytes(2000))
    record(folder)
    folder.make_room()
    assert names(tmp_path) == [path.name]


def test_nothing_else_in_the_folder_is_counted_or_removed(tmp_path):
    strangers = (
        *("camera0-00000000-20261125T120000Z.mp4", "camera0-1-20261125T120000Z.mkv", "front.mkv"),
        *("camera0-00000000-20261125T120000Z.mkv.bak", "my-camera0-00000000-20261125T120000Z.mkv"),
    )
    for name in strangers:
        (tmp_path / name).write_bytes(bytes(5000))
    (tmp_path / "camera0-00000001-20261125T120000Z.mkv").mkdir()
    (tmp_path / "camera0-00000002-20261125T120000Z.mkv").symlink_to(tmp_path / "front.mkv")
    before = names(tmp_path)
    folder = RecordingFolder(tmp_path, keep_bytes=1500)
    kept = record(folder, NOON + 1)
    folder.make_room()
    assert names(tmp_path) == sorted([*before, kept])


def test_two_runs_into_one_folder_are_refused(tmp_path):
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="is in use: another sacvit command writes there"):
        RecordingFolder(tmp_path)
    os.close(other)
    RecordingFolder(tmp_path).close()


def test_a_reserve_of_the_disk_stays_free(tmp_path):
    folder = RecordingFolder(tmp_path, reserve_bytes=1000, free_bytes=lambda path: 1500)
    folder.require_room()
    with pytest.raises(OSError, match="No space left on device"):
        folder.require_room(2)
