from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import DeviceError, SacvitError, UsageError
from sacvit.runtime.chain.result import Result
from sacvit.runtime.sinks import lines
from sacvit.runtime.sinks.clip import ClipWriter, letterbox
from sacvit.runtime.sinks.lines import JsonLines, Table
from sacvit.runtime.sinks.overlay import (
    DIMMED,
    EE_COLOUR,
    SAC_COLOUR,
    Running,
    draw_overlay,
    draw_targets,
    printable,
    reason,
    shorten,
)
from sacvit.runtime.sinks.sheet import COLUMNS, ROWS, Sheet
from sacvit.runtime.sinks.sink import Answer
from sacvit.runtime.sinks.window import Window
from sacvit.runtime.sources.frame import Frame

EXIT = Result(1, "bee", 0.91, "EE", 0.91, (0, 1), 2.5, None)
FULL = Result(2, "cat", 0.66, "SAC", 0.31, (0, 1), 2.5, 4.5)


def make_answer(
    result: Result = FULL, shape: tuple[int, int] = (480, 640), index: int = 0, shade: int = 128, **of_frame: float
) -> Answer:
    image = np.full((*shape, 3), shade, np.uint8)
    side = min(shape)
    region = ((shape[0] - side) // 2, (shape[1] - side) // 2, side, side)
    running = Running(0.25, 7.5, 3)
    view = np.full((32, 32, 3), shade, np.uint8)
    return Answer(Frame(index, f"f{index}.png", image, **of_frame), result, view, region, 4, 0.5, 0.4, 9.25, running)


def overlay(answer: Answer) -> np.ndarray:
    return draw_overlay(answer.frame.image, answer.region, answer.grid, answer.result, answer.threshold, answer.running)


def test_the_overlay_leaves_the_frame_alone():
    answer = make_answer()
    overlay(answer)
    assert (answer.frame.image == 128).all()


def test_small_frames_are_enlarged_to_be_readable():
    assert overlay(make_answer(shape=(64, 96))).shape == (480, 720, 3)


def test_what_the_fine_pass_skipped_is_dimmed_and_targets_are_not():
    canvas = np.full((80, 80, 3), 100, np.uint8)
    draw_targets(canvas, (0, 0, 80, 80), 4, (5,))
    assert (canvas[25:35, 25:35] == 100).all()
    assert (canvas[62:78, 62:78] == round(100 * DIMMED)).all()


def test_targets_lie_where_the_region_lies():
    canvas = np.full((80, 120, 3), 100, np.uint8)
    draw_targets(canvas, (0, 40, 80, 80), 4, (3,))
    assert (canvas[:, :40] == 100).all()  # outside the region nothing changes
    assert (canvas[5:15, 105:115] == 100).all()
    assert (canvas[30:70, 50:110] < 100).all()


def test_an_exit_shows_no_mask():
    picture = overlay(make_answer(EXIT))
    assert (picture[200:380, 100:540] == 128).all()


@pytest.mark.parametrize(("result", "colour"), [(EXIT, EE_COLOUR), (FULL, SAC_COLOUR)])
def test_the_frame_has_the_colour_of_the_stage(result, colour):
    assert tuple(overlay(make_answer(result))[470, 300:301][0]) != colour
    assert tuple(overlay(make_answer(result))[479, 400]) == colour


@pytest.mark.parametrize(("result", "text"), [(EXIT, "EE confidence 0.91 >= 0.5"), (FULL, "EE confidence 0.31 < 0.5")])
def test_the_reason_says_why_this_stage_answered(result, text):
    assert reason(result, 0.5) == text


def test_long_labels_are_cut_with_dots():
    text = shorten("x" * 300, 120, 0.5, 1)
    assert text.endswith("...") and len(text) < 60


def test_labels_beyond_ascii_can_be_drawn():
    assert printable("Käfer") == "K?fer"


def test_every_size_of_frame_can_be_drawn():
    for shape in ((1, 1), (3, 500), (500, 3), (64, 64), (1080, 1920)):
        assert overlay(make_answer(shape=shape)).ndim == 3


def test_the_table_has_a_line_a_frame(capsys):
    table = Table()
    table.write(make_answer(EXIT, index=4))
    table.write(make_answer(FULL, index=5))
    table.close()
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["frame", "answer", "prob", "by", "EE", "conf", "EE", "ms", "SAC", "ms", "source"]
    assert first.split() == ["4", "bee", "0.91", "EE", "0.91", "2.50", "-", "f4.png"]
    assert second.split() == ["5", "cat", "0.66", "SAC", "0.31", "2.50", "4.50", "f5.png"]


def json_line(capsys, *arguments, **keywords) -> dict:
    JsonLines(*arguments).write(make_answer(FULL, index=5, **keywords))
    return json.loads(capsys.readouterr().out)


def test_json_lines_carry_everything(capsys):
    line = json_line(capsys)
    assert {name: value for name, value in line.items() if name not in ("monotonic_s", "time")} == {
        "frame": 5,
        "name": "f5.png",
        "label": "cat",
        "index": 2,
        "probability": 0.66,
        "stage": "SAC",
        "confidence": 0.31,
        "target_blocks": [0, 1],
        "prepare_ms": 0.4,
        "ee_ms": 2.5,
        "sac_ms": 4.5,
        "age_ms": 9.25,
        "degraded": False,
        "agreed": None,
        "stream": 0,
        "dropped": 3,
        "power": None,
    }


def test_a_json_line_has_the_time_at_which_its_frame_was_taken(capsys, monkeypatch):
    monkeypatch.setattr(lines, "unix_time_of", lambda moment_s: moment_s + 1_000_000_000)
    line = json_line(capsys, taken_s=1234.5678912)
    assert (line["monotonic_s"], line["time"]) == (1234.567891, "2001-09-09T02:07:14.567Z")


def test_a_json_line_has_the_power_that_it_is_given(capsys):
    assert json_line(capsys, lambda: {"w": {"VDD_IN": 5.0}})["power"] == {"w": {"VDD_IN": 5.0}}


def test_each_json_line_has_the_power_of_its_time(capsys):
    entries = iter([None, {"w": {"VDD_IN": 5.0}}, {"w": {"VDD_IN": 6.0}}, None])
    sink = JsonLines(lambda: next(entries))
    for index in range(4):
        sink.write(make_answer(FULL, index=index))
    found = [json.loads(line)["power"] for line in capsys.readouterr().out.splitlines()]
    assert found == [None, {"w": {"VDD_IN": 5.0}}, {"w": {"VDD_IN": 6.0}}, None]


def frames_of(path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames


def test_the_clip_holds_every_frame_at_the_first_ones_size(tmp_path):
    writer = ClipWriter(tmp_path / "out.mp4", 10)
    for index, shape in enumerate([(480, 640), (480, 640), (960, 640)]):
        writer.write(make_answer(shape=shape, index=index))
    writer.close()
    assert [frame.shape for frame in frames_of(tmp_path / "out.mp4")] == [(480, 640, 3)] * 3


def test_the_clip_has_no_name_before_it_is_closed(tmp_path):
    writer = ClipWriter(tmp_path / "out.mp4", 10)
    writer.write(make_answer())
    assert not (tmp_path / "out.mp4").exists()
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_clip_without_frames_is_no_file(tmp_path):
    ClipWriter(tmp_path / "out.mp4", 10).close()
    assert list(tmp_path.iterdir()) == []


def test_letterboxing_keeps_the_shape():
    canvas = np.full((100, 50, 3), 200, np.uint8)
    boxed = letterbox(canvas, (100, 100))
    assert (boxed[:, :25] == 0).all() and (boxed[:, 25:75] == 200).all() and (boxed[:, 75:] == 0).all()


@pytest.mark.parametrize(("kind", "name"), [(ClipWriter, "out.avi"), (Sheet, "sheet.jpg")])
def test_another_suffix_is_refused(tmp_path, kind, name):
    with pytest.raises(UsageError, match="give a name that ends in"):
        kind(tmp_path / name, *([10] if kind is ClipWriter else []))


@pytest.mark.parametrize(("kind", "name"), [(ClipWriter, "out.mp4"), (Sheet, "sheet.png")])
def test_a_missing_folder_is_told_before_the_run(tmp_path, kind, name):
    with pytest.raises(SacvitError, match="missing does not exist"):
        kind(tmp_path / "missing" / name, *([10] if kind is ClipWriter else []))


def test_the_sheet_shows_both_kinds(tmp_path):
    sheet = Sheet(tmp_path / "sheet.png")
    for index in range(4):
        sheet.write(make_answer(EXIT if index else FULL, index=index))
    sheet.close()
    assert sheet.seen == {"EE": 3, "SAC": 1}
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None


def test_the_sheet_keeps_a_sample_of_a_long_run(tmp_path):
    sheet = Sheet(tmp_path / "sheet.png")
    for index in range(500):
        sheet.write(make_answer(EXIT, shape=(48, 48), index=index))
    kept = [int(sample.name[1:-4]) for sample in sheet.samples["EE"]]
    assert len(kept) == COLUMNS * ROWS
    assert max(kept) > 250 > min(kept)  # from all over the run, not its beginning


def test_the_sheet_copies_the_view(tmp_path):
    """The view is the pipeline's buffer, which the next frame overwrites."""
    sheet = Sheet(tmp_path / "sheet.png")
    answer = make_answer(EXIT, shade=200)
    sheet.write(answer)
    answer.view[:] = 0
    assert (sheet.samples["EE"][0].picture == 200).all()


def test_a_run_without_frames_writes_no_sheet(tmp_path):
    Sheet(tmp_path / "sheet.png").close()
    assert list(tmp_path.iterdir()) == []


def test_a_window_without_a_display_is_a_missing_device(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DeviceError, match="--show needs a display"):
        Window()


def test_a_clip_that_cannot_be_played_is_no_clip(tmp_path, monkeypatch):
    """OpenCV's writer does not tell of a full disk."""
    (tmp_path / "out.mp4").write_bytes(b"an older clip")
    writer = ClipWriter(tmp_path / "out.mp4", 10)
    writer.write(make_answer())
    release = writer._writer.release

    class Cut:
        def release(self) -> None:
            release()
            content = writer._partial.read_bytes()
            writer._partial.write_bytes(content[: len(content) // 2])

    writer._writer = Cut()
    with pytest.raises(SacvitError, match=r"could not be written whole; is the disk full\?"):
        writer.close()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"an older clip"]


@pytest.mark.parametrize("written", [2, 3])
def test_an_interruption_while_a_pause_is_filled_keeps_the_clip(tmp_path, monkeypatch, written):
    """A camera's pause is filled with copies of a frame; the signal comes before or after the third of them is in the file."""
    now = [0.0]
    monkeypatch.setattr("sacvit.runtime.sinks.clip.monotonic", lambda: now[0])
    clip = ClipWriter(tmp_path / "out.mp4", 10, live=True)
    clip.write(make_answer())
    real, done = clip._writer, []

    class Interrupted:
        def write(self, picture):
            if len(done) == 1:
                if written == 3:
                    real.write(picture)
                raise KeyboardInterrupt
            done.append(real.write(picture))

        def release(self):
            real.release()

    clip._writer, now[0] = Interrupted(), 0.5
    with pytest.raises(KeyboardInterrupt):
        clip.write(make_answer())
    clip.close()
    assert len(frames_of(tmp_path / "out.mp4")) == written


def test_a_folder_in_the_way_is_told_before_the_run(tmp_path):
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(UsageError, match="is a folder; give a file's name"):
        ClipWriter(tmp_path / "out.mp4", 10)


def test_a_clip_of_a_camera_runs_as_fast_as_the_world(tmp_path, monkeypatch):
    clock = iter([0.0, 0.0, 0.5, 0.51, 1.0])
    monkeypatch.setattr("sacvit.runtime.sinks.clip.monotonic", lambda: next(clock))
    writer = ClipWriter(tmp_path / "out.mp4", 10, live=True)
    for shade in (10, 60, 110, 160):
        writer.write(make_answer(EXIT, shade=shade))
    writer.close()
    shades = [int(frame[240, 320, 0]) for frame in frames_of(tmp_path / "out.mp4")]
    assert [round(shade / 50) for shade in shades] == [0] + [1] * 5 + [3] * 5  # 0, then up to 0.5 s, then up to 1 s


def test_an_outage_of_a_camera_takes_a_second_of_the_clip(tmp_path, monkeypatch):
    """Not two minutes of repeated frames, for which the run would stand still."""
    clock = iter([0.0, 0.0, 0.1, 120.1, 120.2])
    monkeypatch.setattr("sacvit.runtime.sinks.clip.monotonic", lambda: next(clock))
    writer = ClipWriter(tmp_path / "out.mp4", 10, live=True)
    for shade in (10, 60, 110, 160):
        writer.write(make_answer(EXIT, shade=shade))
    writer.close()
    shades = [round(int(frame[240, 320, 0]) / 50) for frame in frames_of(tmp_path / "out.mp4")]
    assert shades == [0, 1] + [2] * 10 + [3]


def test_a_strip_is_not_enlarged_beyond_what_a_video_holds():
    assert max(overlay(make_answer(shape=(1, 5000))).shape) <= 5000
    assert max(overlay(make_answer(shape=(2000, 2))).shape) <= 4096


def test_labels_cannot_steer_the_terminal(capsys):
    result = Result(1, "\x1b[31mbee\n", 0.9, "EE", 0.9, (), 1.0, None)
    Table().write(make_answer(result))
    assert "\x1b" not in capsys.readouterr().out
