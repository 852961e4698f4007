from __future__ import annotations

import resource

import cv2
import numpy as np
import pytest

from sacvit.runtime.sinks.recording.matroska import CUES, MatroskaFile, identifier

TIMES_MS = [0, 40, 1100, 1140, 40_000, 40_020]


def jpeg(shade: int) -> bytes:
    return cv2.imencode(".jpg", np.full((48, 64, 3), shade, np.uint8))[1].tobytes()


def fill(path, times_ms=TIMES_MS) -> MatroskaFile:
    file = MatroskaFile(path, (64, 48), 1_900_000_000.0)
    for place, time_ms in enumerate(times_ms):
        file.write(time_ms, jpeg(40 * place))
    return file


def read(path) -> tuple[list[int], list[int]]:
    """The shades and the times of the frames."""
    capture = cv2.VideoCapture(str(path))
    shades, times_ms = [], []
    while (frame := capture.read())[0]:
        shades.append(round(float(frame[1].mean()) / 40))
        times_ms.append(round(capture.get(cv2.CAP_PROP_POS_MSEC)))
    capture.release()
    return shades, times_ms


def test_every_frame_comes_back_at_its_time(tmp_path):
    file = fill(tmp_path / "a.mkv")
    file.finish()
    file.close()
    assert read(tmp_path / "a.mkv") == (list(range(6)), TIMES_MS)


def test_a_file_without_its_end_plays_to_the_last_frame(tmp_path):
    fill(tmp_path / "a.mkv").close()
    assert read(tmp_path / "a.mkv") == (list(range(6)), TIMES_MS)


def test_a_file_cut_anywhere_in_its_last_frame_plays_the_frames_before(tmp_path):
    """What a kill or a power cut leaves."""
    path = tmp_path / "a.mkv"
    fill(path, TIMES_MS[:5]).close()
    before = path.stat().st_size
    path.unlink()
    fill(path).close()
    content = path.read_bytes()
    for end in range(before, len(content), 37):
        path.write_bytes(content[:end])
        assert read(path)[0][:5] == list(range(5))


def test_a_finished_file_announces_its_length_and_says_where_its_index_is(tmp_path):
    file = fill(tmp_path / "a.mkv")
    file.finish()
    file.close()
    content = (tmp_path / "a.mkv").read_bytes()
    place = content.index(b"\x53\xac") + 10  # SeekPosition, behind its size
    segment_at = content.index(bytes.fromhex("18538067")) + 12
    cues_at = segment_at + int.from_bytes(content[place : place + 8], "big")
    assert content[cues_at : cues_at + 4] == identifier(CUES)
    capture = cv2.VideoCapture(str(tmp_path / "a.mkv"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
    capture.release()


def test_a_failed_write_leaves_the_frames_before_and_says_why(tmp_path):
    file = fill(tmp_path / "a.mkv")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.bytes + 100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.write(41_000, jpeg(200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "a.mkv").stat().st_size == file.bytes
    file.close()
    assert read(tmp_path / "a.mkv")[0] == list(range(6))


def test_a_file_that_exists_is_never_overwritten(tmp_path):
    (tmp_path / "a.mkv").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        MatroskaFile(tmp_path / "a.mkv", (64, 48), 0.0)
    assert (tmp_path / "a.mkv").read_bytes() == b"mine"
