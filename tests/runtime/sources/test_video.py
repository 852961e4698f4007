from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.commands.run import main
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.opening import open_source


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
