from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.runtime.sources.files import PictureFiles, VideoFile
from sacvit.runtime.sources.opening import open_source


def names(source) -> list[str]:
    try:
        return [frame.name for frame in source]
    finally:
        source.close()


def test_a_folder_gives_its_pictures_by_name(picture_folder):
    (picture_folder / "notes.txt").write_text("no picture")
    assert names(open_source(str(picture_folder))) == [f"{i:02}.png" for i in range(6)]


def test_a_glob_gives_what_it_matches(picture_folder):
    assert names(open_source(str(picture_folder / "0[13].png"))) == ["01.png", "03.png"]


def test_a_file_url_is_a_path(picture_folder):
    assert names(open_source(f"file://{picture_folder}/02.png")) == ["02.png"]


def test_unreadable_pictures_are_skipped_and_named(picture_folder):
    (picture_folder / "01.png").write_bytes(b"no picture")
    (picture_folder / "04.png").write_bytes(b"")
    source = open_source(str(picture_folder))
    assert names(source) == ["00.png", "02.png", "03.png", "05.png"]
    assert len(source.faults) == 2
    assert "01.png is no picture" in source.faults[0] and "04.png is empty" in source.faults[1]


def test_frames_are_numbered_without_gaps(picture_folder):
    (picture_folder / "01.png").write_bytes(b"no picture")
    assert [frame.index for frame in open_source(str(picture_folder))] == [0, 1, 2, 3, 4]


def test_a_loop_starts_over(picture_folder):
    source = PictureFiles(sorted(picture_folder.glob("0[01].png")), loop=True)
    frames = iter(source)
    assert [next(frames).name for _ in range(5)] == ["00.png", "01.png", "00.png", "01.png", "00.png"]
    source.close()


def test_a_loop_over_unreadable_pictures_ends(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert names(PictureFiles([tmp_path / "a.png"], loop=True)) == []


def test_a_video_gives_every_frame(video):
    source = open_source(str(video))
    assert source.total == 20 and source.fps == 10
    assert names(source) == [f"clip.avi#{i}" for i in range(20)]
    assert source.faults == [] and source.dropped == 0


def test_a_looped_video_starts_over(video):
    source = VideoFile(video, loop=True)
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


def test_a_missing_path_is_refused_with_what_is_possible(tmp_path):
    with pytest.raises(ImageError, match=r"no such file, folder or pattern. Cameras are 0, /dev/video0"):
        open_source(str(tmp_path / "missing.mp4"))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ImageError, match="holds no pictures"):
        open_source(str(tmp_path))


def test_closing_in_the_middle_ends_the_reader(picture_folder):
    for index in range(60):
        shutil.copy(picture_folder / "00.png", picture_folder / f"x{index:02}.png")
    source = open_source(str(picture_folder))
    next(iter(source))
    source.close()
    assert not source._thread.is_alive()


def test_a_fault_in_the_reader_reaches_the_consumer(picture_folder, monkeypatch):
    def broken(path):
        raise MemoryError("planted")

    monkeypatch.setattr("sacvit.runtime.sources.files.read_picture", broken)
    with pytest.raises(MemoryError, match="planted"):
        list(open_source(str(picture_folder)))


def test_grey_and_16_bit_pictures_come_as_8_bit_bgr(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((8, 8), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((8, 8, 3), 77 * 256, np.uint16))
    for frame in open_source(str(tmp_path)):
        assert frame.image.shape == (8, 8, 3) and frame.image.dtype == np.uint8
        assert abs(int(frame.image[0, 0, 0]) - 77) <= 1
