from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.commands.run import main
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.opening import open_source
from sacvit.runtime.sources.video import ONE, stored_quarters


def names(source) -> list[str]:
    try:
        return [frame.name for frame in source]
    finally:
        source.close()


def test_a_video_gives_every_frame(video):
    source = open_source(str(video))
    assert source.total == 20 and source.fps == 10
    assert names(source) == [f"clip.avi#{i}" for i in range(20)]
    assert source.faults == [] and source.dropped == 0


def test_a_looped_video_starts_over(video):
    source = open_source(str(video), OpenOptions(loop=True))
    frames = iter(source)
    assert [next(frames).name for _ in range(22)][-2:] == ["clip.avi#0", "clip.avi#1"]
    source.close()


def test_a_video_cut_short_gives_what_is_there_and_says_so(video, tmp_path):
    path = tmp_path / "cut.avi"
    content = video.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content))])
    source = open_source(str(path))
    frames = names(source)
    assert 5 < len(frames) < 15
    assert source.faults == [f"{path} was cut short: {len(frames)} of 20 frames could be decoded"]


def test_a_file_that_is_no_video_is_refused(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no video" * 100)
    with pytest.raises(ImageError, match=r"clip\.mp4 is no video that this OpenCV can decode"):
        open_source(str(path))


@pytest.fixture
def av1_video():
    """Three grey frames by ffmpeg's libaom-av1. OpenCV's wheel knows the codec and decodes none: it has no AV1 in software."""
    path = Path(__file__).parents[2] / "fixtures" / "av1.mp4"
    if cv2.VideoCapture(str(path)).read()[0]:
        pytest.skip("this OpenCV decodes AV1")
    return path


def test_a_codec_that_is_not_decoded_is_named_with_the_cure(av1_video):
    with pytest.raises(ImageError, match=r"av1\.mp4: .* codec is AV01.*ffmpeg -i"):
        names(open_source(str(av1_video)))


def test_no_frame_at_all_is_a_fault_of_the_run(av1_video, engines, capsys):
    assert main(["--engine", *engines, "--camera", str(av1_video)]) == 1
    assert "av1.mp4" in capsys.readouterr().err


def write(path: Path, count: int = 20) -> Path:
    """A clip at 10 frames per second whose upper left quarter is white."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32] = 255
    for _ in range(count):
        writer.write(image)
    writer.release()
    return path


def change(path: Path, before: bytes, after: bytes) -> None:
    content = path.read_bytes()
    assert content.count(before) == 1 and len(before) == len(after)
    path.write_bytes(content.replace(before, after))


def test_a_recording_whose_rate_varies_is_not_called_cut_short(tmp_path):
    """Matroska stores no count. At a fifth of the stored time per frame, 20 frames over 2 s look like 100."""
    path = write(tmp_path / "clip.mkv")
    duration = b"\x23\xe3\x83\x84"  # DefaultDuration, in nanoseconds
    change(path, duration + struct.pack(">I", 100_000_000), duration + struct.pack(">I", 20_000_000))
    source = open_source(str(path))
    assert source.total == 100
    assert len(names(source)) == 20 and source.faults == []


def test_a_recording_without_a_count_that_is_cut_short_is_called_so(tmp_path):
    path = write(tmp_path / "clip.mkv", 100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(str(path))
    given = len(names(source))
    assert 20 < given < 80 and source.faults == [f"{path} was cut short: {given} of 100 frames could be decoded"]


CORNERS = {0: (0, 0), 1: (0, 1), 2: (1, 1), 3: (1, 0)}  # where the white quarter goes, clockwise: row and column


@pytest.mark.parametrize(
    ("matrix", "quarters"),
    [((ONE, 0, 0, ONE), 0), ((0, ONE, -ONE, 0), 1), ((-ONE, 0, 0, -ONE), 2), ((0, -ONE, ONE, 0), 3)],
)
def test_a_video_of_a_phone_comes_upright(tmp_path, matrix, quarters):
    """Releases of OpenCV turn it the wrong way round, or not at all."""
    path = write(tmp_path / "phone.mp4")
    plain = struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    a, b, c, d = matrix
    change_first(path, plain, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))
    source = open_source(str(path))
    image = next(iter(source)).image
    source.close()
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    means = {(i, j): image[i * rows :, j * columns :][:rows, :columns].mean() for i in (0, 1) for j in (0, 1)}
    assert image.shape[:2] == ((48, 64) if quarters % 2 == 0 else (64, 48))
    assert max(means, key=means.__getitem__) == CORNERS[quarters] and stored_quarters(path) == quarters


def change_first(path: Path, before: bytes, after: bytes) -> None:
    """In the track's header; the movie's header has the same matrix."""
    content = path.read_bytes()
    place = content.index(before, content.index(b"tkhd"))
    path.write_bytes(content[:place] + after + content[place + len(before) :])


@pytest.mark.parametrize("kept", [4, 20, 0.6, 0.98])
def test_the_turn_of_a_damaged_file_is_not_known_and_no_error(tmp_path, kept):
    path = write(tmp_path / "phone.mp4")
    content = path.read_bytes()
    path.write_bytes(content[: kept if kept > 1 else int(kept * len(content))])
    assert stored_quarters(path) in (None, 0)


@pytest.mark.parametrize("rest", ["next(iter(source))", "frames = iter(source); next(frames)"])
def test_a_program_that_leaves_a_video_unread_ends_without_a_crash(tmp_path, rest):
    """A thread inside OpenCV aborts the program when Python ends."""
    path = write(tmp_path / "clip.mp4", 200)
    code = f"from sacvit.runtime.sources.opening import open_source; source = open_source({str(path)!r}); {rest}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_of_many_jpegs_is_a_video(tmp_path):
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    (tmp_path / "camera.mjpeg").write_bytes(jpeg * 7)
    assert len(names(open_source(str(tmp_path / "camera.mjpeg")))) == 7
