from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.runtime.sources.files import PictureFiles
from sacvit.runtime.sources.opening import diagnose, open_source


def names(source) -> list[str]:
    try:
        return [frame.name for frame in source]
    finally:
        source.close()


def test_a_folder_gives_its_pictures_by_name(picture_folder):
    (picture_folder / "notes.txt").write_text("no picture")
    assert names(open_source(str(picture_folder))) == [f"{i:02}.png" for i in range(6)]


def test_a_picture_is_told_by_its_content(picture_folder):
    (picture_folder / "00.png").rename(picture_folder / "00.jfif")
    (picture_folder / "01.png").rename(picture_folder / "01")
    (picture_folder / "._02.png").write_bytes(b"what macOS writes beside a picture")
    assert names(open_source(str(picture_folder))) == ["00.jfif", "01", *(f"0{i}.png" for i in range(2, 6))]
    assert names(open_source(str(picture_folder / "01"))) == ["01"]
    assert names(open_source(str(picture_folder / "0*"))) == ["00.jfif", "01", *(f"0{i}.png" for i in range(2, 6))]


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


def test_a_damaged_video_prints_none_of_its_bytes_on_the_terminal(video, tmp_path):
    content = video.read_bytes()
    path = tmp_path / "a.avi"
    path.write_bytes(content[:12] + content[12:].replace(b"LIST", b"\x1b[2J", 1))
    code = (
        "import sys; from sacvit.images.opencv import silence_opencv; silence_opencv()\n"
        "from sacvit.runtime.sources.opening import open_source\n"
        "list(open_source(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False)
    assert b"\x1b" not in done.stderr + done.stdout


def test_a_missing_path_is_refused_with_what_is_possible(tmp_path):
    with pytest.raises(ImageError, match="no such file, folder or pattern"):
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

    monkeypatch.setattr("sacvit.images.decode.read_picture", broken)
    with pytest.raises(MemoryError, match="planted"):
        list(open_source(str(picture_folder)))


def test_grey_and_16_bit_pictures_come_as_8_bit_bgr(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((8, 8), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((8, 8, 3), 77 * 256, np.uint16))
    for frame in open_source(str(tmp_path)):
        assert frame.image.shape == (8, 8, 3) and frame.image.dtype == np.uint8
        assert abs(int(frame.image[0, 0, 0]) - 77) <= 1


@pytest.mark.parametrize("scheme", ["file://", "FILE://", "file://localhost"])
def test_a_file_url_may_be_percent_encoded(picture_folder, scheme):
    (picture_folder / "02.png").rename(picture_folder / "my picture#2.png")
    url = f"{scheme}{picture_folder}/my%20picture%232.png"
    assert names(open_source(url)) == ["my picture#2.png"]


def test_a_percent_sign_in_a_path_is_itself(picture_folder):
    (picture_folder / "02.png").rename(picture_folder / "a%20b.png")
    assert names(open_source(str(picture_folder / "a%20b.png"))) == ["a%20b.png"]


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(ImageError, match=r"clip\.mp4 is a named pipe"):
        open_source(str(tmp_path / "clip.mp4"))


def test_a_device_is_refused_and_not_read_for_ever():
    with pytest.raises(ImageError, match="/dev/zero is a character device"):
        open_source("/dev/zero")


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path may have 107 characters
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("cam.mp4")
        with pytest.raises(ImageError, match=r"cam\.mp4 is a socket"):
            open_source("cam.mp4")


def test_a_link_to_a_pipe_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "clip.mp4").symlink_to("pipe")
    with pytest.raises(ImageError, match="named pipe"):
        open_source(str(tmp_path / "clip.mp4"))


def test_a_folder_with_a_video_s_name_is_a_folder(tmp_path):
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(ImageError, match="holds no pictures"):
        open_source(str(tmp_path / "clip.mp4"))


def test_a_check_of_a_file_reads_a_frame(picture_folder):
    assert [cure for _, cure in diagnose(str(picture_folder))] == [None]
    (picture_folder / "x.png").write_bytes(b"no picture")
    ((finding, cure),) = diagnose(str(picture_folder / "x.png"))
    assert "x.png" in finding and cure is not None


def test_a_check_of_a_missing_file_says_so(tmp_path):
    ((finding, cure),) = diagnose(str(tmp_path / "clip.mp4"))
    assert "no such file" in finding and cure is not None
