"""sacvit-run as a user starts it: exit codes, messages, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import cv2
import pytest
from mjpeg_server import MjpegServer
from tegrastats_program import Tegrastats

from sacvit.commands.run import main


def run(engines, *words: object) -> int:
    return main(["--engine", *engines, *map(str, words)])


def test_a_folder_gives_a_line_a_picture(engines, picture_folder, capsys):
    assert run(engines, "--camera", picture_folder) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 7
    assert err.splitlines()[0].startswith("threshold 0.5, fp32, ONNX Runtime ")
    assert err.splitlines()[1].startswith("6 frames in ")


def first_line(engines, picture_folder, capsys, *words: object) -> str:
    """What a user is told before the first result."""
    assert run(engines, "--camera", picture_folder, *words) == 0
    return capsys.readouterr().err.splitlines()[0]


def test_an_int8_pair_is_told_with_both_thresholds(int8_engines, picture_folder, capsys):
    line = first_line(int8_engines, picture_folder, capsys)
    assert line.startswith("threshold 0.502 (FP32: 0.5), int8, ONNX Runtime ")


def test_a_threshold_of_the_users_own_is_told_without_fp32s(int8_engines, picture_folder, capsys):
    line = first_line(int8_engines, picture_folder, capsys, "--threshold", 0.4)
    assert line.startswith("threshold 0.4, int8, ONNX Runtime ")


def test_an_int8_ee_runs_with_the_fp32_sac_of_its_export(engines, int8_engines, picture_folder, capsys):
    line = first_line((int8_engines[0], engines[1]), picture_folder, capsys)
    assert line.startswith("threshold 0.502 (FP32: 0.5), EE int8, SAC fp32, ONNX Runtime ")


def test_an_fp32_ee_brings_its_own_threshold_to_an_int8_sac(engines, int8_engines, picture_folder, capsys):
    line = first_line((engines[0], int8_engines[1]), picture_folder, capsys)
    assert line.startswith("threshold 0.5, EE fp32, SAC int8, ONNX Runtime ")


def test_an_int8_ee_is_no_pair_with_the_sac_of_another_export(bundles, int8_engines, capsys):
    assert main(["--engine", int8_engines[0], str(bundles / "cousin" / "sac.onnx"), "--camera", "0"]) == 4
    assert "come from the same checkpoint but from two exports" in capsys.readouterr().err


def test_json_lines_are_one_object_a_frame(engines, video, capsys):
    assert run(engines, "--camera", video, "--json") == 0
    frames = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [frame["frame"] for frame in frames] == list(range(20))


def test_save_and_sheet_write_their_files(engines, video, tmp_path, capsys):
    assert run(engines, "--camera", video, "--save", tmp_path / "o.mp4", "--sheet", tmp_path / "s.png") == 0
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 20 and capture.get(cv2.CAP_PROP_FPS) == 10
    capture.release()
    assert cv2.imread(str(tmp_path / "s.png")) is not None


def test_save_into_a_folder_writes_segments_of_each_camera(engines, video, tmp_path, capsys):
    folder = tmp_path / "recordings"
    assert run(engines, "--camera", video, "--camera", video, "--save", f"{folder}/", "--segment-s", 5) == 0
    counts = {}
    for path in sorted(folder.iterdir()):  # of several files, half a second per frame
        capture = cv2.VideoCapture(str(path))
        counts.setdefault(path.name.partition("-")[0], []).append(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
    assert counts == {"camera0": [10, 10], "camera1": [10, 10]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--save", "o.mp4", "--segment-s", "5"], "--segment-s is for recordings in a folder: --save DIR/"),
        (["--keep-gib", "5"], "--keep-gib is for recordings in a folder: --save DIR/"),
        (["--clip-s", "5,10"], "--clip-s is for recordings in a folder: --save DIR/"),
        (["--save", "r/", "--clip-s", "5"], "--clip-s: give the seconds before and after an event, as 5,10; found 5"),
        (["--save", "r/", "--clip-s", "5,-1"], "--clip-s: each number lies between 0 and 300, found 5,-1"),
        (["--save", "r/", "--clip-s", "5,10"], "--clip-s writes clips around events: say with --on"),
        (["--save", "r/", "--segment-s", "0"], "--segment-s 0 writes only clips around events"),
        (["--save", "recordings"], "give a name that ends in .mp4, or in / for a folder of segments"),
    ],
)
def test_options_of_recordings_need_a_folder(engines, video, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run(engines, "--camera", video, *words) == 2
    assert message in capsys.readouterr().err


def test_a_run_does_not_record_into_the_folder_that_it_reads(engines, picture_folder, capsys):
    """The oldest recordings are removed there: they could be its input."""
    assert run(engines, "--camera", picture_folder, "--save", picture_folder) == 2
    assert "holds files that this run reads" in capsys.readouterr().err


def test_events_are_lines_on_stdout(engines, video, tmp_path, capsys):
    words = ["--on", "confidence>=0", "--event-queue", tmp_path / "queue"]
    assert run(engines, "--camera", video, "--json", *words) == 0
    events = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "event" in line]
    assert [(event["event"], event["frame"], event["redelivered"]) for event in events] == [("confidence>=0", 0, False)]


def test_events_of_a_file_are_all_stored_with_their_frames(engines, video, tmp_path):
    """More than frames wait in memory."""
    rules = [word for number in range(25) for word in ("--on", f"confidence>=0.{number:04}")]
    words = ["--to", f"snapshots:{tmp_path / 'events'}", "--event-queue", tmp_path / "queue"]
    assert run(engines, "--camera", video, *rules, *words) == 0
    assert len(list((tmp_path / "events").glob("*.jpg"))) == 25


def test_an_event_has_a_clip_around_it(engines, video, tmp_path, capsys):
    """Of a file with 10 frames per second; the first of 20 is the event."""
    folder = tmp_path / "recordings"
    words = ["--save", f"{folder}/", "--segment-s", 0, "--clip-s", "1,0.5", "--event-queue", tmp_path / "queue"]
    assert run(engines, "--camera", video, "--json", "--on", "confidence>=0", *words) == 0
    event = next(line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "event" in line)
    assert [path.name for path in folder.iterdir()] == [event["clip"]]
    capture = cv2.VideoCapture(str(folder / event["clip"]))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    capture.release()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--on", "lable=bee"], "\n  lable=bee\n  ^"),
        (["--on", "label=bea"], "this model has no label bea (did you mean bee?)"),
        (["--on", "label=bee", "--to", "webhok:http://host"], "(did you mean webhook?)"),
        (["--on", "degraded"], "--on degraded needs --deadline-ms"),
        (["--on", "recording-stopped", "--save", "o.mp4"], "--on recording-stopped needs --save DIR/"),
        (["--to", "stdout"], "--to needs --on"),
    ],
)
def test_a_mistake_in_an_event_is_reported_before_the_first_frame(
    engines, video, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert run(engines, "--camera", video, *words) == 2
    out, err = capsys.readouterr()
    assert message in err and out == ""


# Power: the sensors themselves are tested in tests/profiles/power


@pytest.fixture
def tegrastats(tmp_path, monkeypatch):
    """A tegrastats on the PATH that prints a line each 10 ms."""
    line = "RAM 1/2MB (lfb 1x4MB) CPU [1%@2] VDD_IN 5000mW/5000mW VDD_CPU_GPU_CV 900mW/900mW VDD_SOC 800mW/800mW"
    program = Tegrastats(tmp_path / "bin", [line] * 1000)
    monkeypatch.setenv("PATH", str(program.path.parent), prepend=os.pathsep)
    return program


def test_power_is_read_beside_a_run(engines, video, tegrastats, tmp_path, capsys):
    words = ["--power", "tegrastats", "--power-log", tmp_path / "power.jsonl", "--json"]
    assert run(engines, "--camera", video, *words) == 0
    out, err = capsys.readouterr()
    assert {json.loads(line)["power"] for line in out.splitlines()} == {None}  # no window of 10 s has ended
    assert "power: tegrastats\n" in err and "total: VDD_IN: " in err
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "power.jsonl").read_text().splitlines()]
    assert kinds[0] == "header" and kinds[-1] == "end" and "second" in kinds


def test_the_log_of_power_does_not_hold_the_command(engines, video, tegrastats, tmp_path, monkeypatch):
    """Destinations of events may hold passwords."""
    monkeypatch.setattr(sys, "argv", ["sacvit-run", "--to", "mqtt://user:secret@127.0.0.1/topic"])
    assert run(engines, "--camera", video, "--power", "tegrastats", "--power-log", tmp_path / "p.jsonl") == 0
    assert "secret" not in (tmp_path / "p.jsonl").read_text()


def test_a_named_source_of_power_that_is_missing_ends_the_run(engines, video, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(engines, "--camera", video, "--power", "tegrastats") == 5
    assert "--power auto" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--power-log", "p.jsonl"], "give --power too"),
        (["--power", "auto", "--power-log", "p.txt"], "give a name that ends in .jsonl"),
        (["--power", "auto", "--power-log", "run.jsonl"], "is no log of this option"),
    ],
)
def test_a_mistake_in_the_log_of_power_is_reported(engines, video, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.jsonl").write_text('{"frame": 0}\n')
    assert run(engines, "--camera", video, *words) == 2
    assert message in capsys.readouterr().err


def test_the_log_of_power_is_not_written_over_what_the_run_reads(engines, picture_folder, tmp_path, capsys):
    pictures = picture_folder.rename(tmp_path / "p.jsonl")
    assert run(engines, "--camera", pictures, "--power", "auto", "--power-log", pictures) == 2
    capsys.readouterr()


def test_a_lost_camera_is_an_event(engines, tmp_path):
    camera = MjpegServer()
    code = HEED + "import sys; from sacvit.commands.run import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--engine", *engines, "--camera", camera.url, "--json"]
    command += ["--on", "camera-lost", "--event-queue", tmp_path, "--stall-timeout-s", "0.3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        camera.flowing.clear()
        event = next(line for line in map(json.loads, process.stdout) if "event" in line)
        camera.flowing.set()  # or the end of the run would wait for a read that hangs
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    camera.die()
    assert (event["event"], event["camera"]) == ("camera-lost", 0) and "no frame for 0.3 s" in event["detail"]


def test_a_batch_changes_nothing_but_the_speed(engines, video, capsys):
    def answers(*more):
        assert run(engines, "--camera", video, "--json", *more) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [(line["frame"], line["label"], line["stage"], line["target_blocks"]) for line in lines]

    assert answers("--batch", 6) == answers()


@pytest.mark.parametrize(("threshold", "stages"), [(0, {"EE"}), (1, {"SAC"})])
def test_the_threshold_decides_who_answers(engines, picture_folder, capsys, threshold, stages):
    assert run(engines, "--camera", picture_folder, "--json", "--threshold", threshold) == 0
    assert {json.loads(line)["stage"] for line in capsys.readouterr().out.splitlines()} == stages


def test_num_frames_and_loop(engines, picture_folder, capsys):
    assert run(engines, "--camera", picture_folder, "--json", "--loop", "--num-frames", 15) == 0
    assert len(capsys.readouterr().out.splitlines()) == 15


def test_fit_changes_what_is_seen(engines, video, capsys):
    def first(fit):
        assert run(engines, "--camera", video, "--json", "--fit", fit, "--num-frames", 1) == 0
        return json.loads(capsys.readouterr().out)["confidence"]

    assert first("crop") != first("stretch")


def test_unreadable_pictures_are_skipped_and_the_run_says_so(engines, picture_folder, capsys):
    (picture_folder / "03.png").write_bytes(b"no picture")
    assert run(engines, "--camera", picture_folder, "--json") == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 5
    assert "5 frames in" in err and "1 skipped" in err
    assert "error: " in err and "03.png is no picture" in err


def test_a_video_cut_short_is_done_as_far_as_it_goes(engines, video, tmp_path, capsys):
    path = tmp_path / "cut.avi"
    content = video.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content))])
    assert run(engines, "--camera", path, "--json") == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) > 5
    assert "was cut short" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--camera", "x", "--threshold", "1.5"], 2, "--threshold must be at least 0 and at most 1, found 1.5"),
        (["--camera", "x", "--batch", "0"], 2, "--batch must be at least 1, found 0"),
        (["--camera", "x", "--num-frames", "-1"], 2, "--num-frames must be at least 1, found -1"),
        (["--camera", "0", "--batch", "65"], 2, "--batch 65: these engines take at most 64 images per pass"),
        ([], 2, "--engine EE SAC or --server URL, and --camera SOURCE"),
        (["--camera", "missing.mp4"], 1, "no such file, folder or pattern"),
        (["--camera", "97"], 5, "/dev/video97 gives no picture. /dev/video97 does not exist"),
        (["--camera", "csi://x"], 2, "a CSI camera is csi://0"),
        (["--camera", "http://127.0.0.1:1/x"], 5, "127.0.0.1:1 does not answer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message_and_its_exit_code(engines, capsys, words, code, message):
    assert run(engines, *words) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--camera", "0", "--batch", "0"], 2, "--batch must be at least 1"),
        (["--camera", "0", "--hysteresis", "11"], 2, "--hysteresis must be at least 0 and at most 10"),
        (["--camera", "0", "--deadline-ms", "0"], 2, "--deadline-ms must be above 0"),
        (["--camera", "0", "--deadline-ms", "5", "--overlap"], 2, "--deadline-ms and --overlap"),
        (["--camera", "0", "--open-timeout-s", "0"], 2, "--open-timeout-s must be above 0"),
        (["--camera", "0", "--camera", "1", "--batch", "2"], 2, "--batch: with several cameras"),
        (["--camera", "missing.mp4"], 1, "no such file, folder or pattern"),
        (["--camera", "0", "--save", "missing/out.mp4"], 1, "the folder missing does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_are_checked_before_engines_are_loaded(capsys, words, code, message):
    assert main(["--engine", "no-ee.onnx", "no-sac.onnx", *words]) == code
    assert message in capsys.readouterr().err


def test_sinks_are_closed_when_engines_do_not_load(picture_folder, monkeypatch):
    closed = []

    def close(table):
        closed.append(table)

    monkeypatch.setattr("sacvit.runtime.sinks.lines.Table.close", close)
    assert main(["--engine", "no-ee.onnx", "no-sac.onnx", "--camera", str(picture_folder)]) == 4
    assert len(closed) == 1


@pytest.mark.parametrize(
    ("pair", "code", "message"),
    [
        (("bundle/ee.onnx", "stranger/sac.onnx"), 4, "come from two checkpoints"),
        (("bundle/sac.onnx", "bundle/ee.onnx"), 4, "expected EE"),
        (("bundle/ee.onnx", "missing.onnx"), 4, "does not exist"),
    ],
)
def test_engines_that_do_not_fit_exit_4(bundles, capsys, pair, code, message):
    assert main(["--engine", *(str(bundles / name) for name in pair), "--camera", "0"]) == code
    assert message in capsys.readouterr().err


def test_show_without_a_display_exits_5(engines, picture_folder, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run(engines, "--camera", picture_folder, "--show") == 5
    assert "--show needs a display" in capsys.readouterr().err


def test_check_camera_prints_the_cure(capsys):
    assert main(["--check-camera", "97"]) == 5
    assert "FAULT /dev/video97 does not exist" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--camera", "0"], ["--json"]])
def test_check_camera_refuses_options_that_have_no_effect_on_it(video, capsys, words):
    assert main(["--check-camera", str(video), *words]) == 2
    assert f"{words[0]} has no effect with --check-camera" in capsys.readouterr().err


def test_check_camera_takes_the_time_limits(video):
    assert main(["--check-camera", str(video), "--open-timeout-s", "3", "--stall-timeout-s", "2"]) == 0


def test_check_camera_of_a_file_is_fine(video, capsys):
    assert main(["--check-camera", str(video)]) == 0
    assert capsys.readouterr().out.startswith("ok ")


# Under nohup SIGHUP is ignored, and in a script's background SIGINT; by children too, and sacvit-run leaves it at that.
HEED = (
    "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL);"
    " signal.signal(signal.SIGINT, signal.default_int_handler); "
)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_ends_with_its_summary_and_130(engines, tmp_path, stop):
    camera = MjpegServer()
    code = HEED + "import sys; from sacvit.commands.run import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--engine", *engines, "--camera", camera.url, "--save", "out.mp4", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for _ in range(3):  # the sinks take turns: after the third line, the clip has the second frame
            process.stdout.readline()
        process.send_signal(stop)
        _, err = process.communicate(timeout=20)
    camera.die()
    assert process.returncode == 130, err
    assert " frames in " in err and "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_what_nohup_started_outlives_its_terminal():
    from sacvit.commands.frame import stop_on_signals

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_on_signals()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL


def test_help_needs_neither_opencv_nor_onnx_runtime():
    blocked = "import sys; sys.modules['cv2'] = sys.modules['onnxruntime'] = sys.modules['numpy'] = None\n"
    code = blocked + "from sacvit.commands.run import main\nmain(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--check-camera" in done.stdout


@pytest.mark.parametrize("option", ["--save", "--sheet"])
def test_an_output_never_takes_the_place_of_an_input(engines, video, picture_folder, tmp_path, capsys, option):
    source = tmp_path / ("clip.mp4" if option == "--save" else "00.png")
    source.write_bytes(video.read_bytes() if option == "--save" else (picture_folder / "00.png").read_bytes())
    before = source.read_bytes()
    assert run(engines, "--camera", source, option, source) == 2
    assert f"{option} {source} would overwrite what --camera reads" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_a_sheet_inside_the_folder_that_is_read_is_refused_where_it_is_a_picture_of_it(engines, picture_folder, capsys):
    assert run(engines, "--camera", picture_folder, "--sheet", picture_folder / "02.png") == 2


@pytest.mark.parametrize("spec", ["", "  "])
def test_an_empty_source_is_not_the_current_folder(engines, capsys, spec):
    assert run(engines, "--camera", spec) == 2
    assert "--camera is empty" in capsys.readouterr().err


def test_a_glob_without_pictures_says_so(engines, tmp_path, video, capsys):
    (tmp_path / "a.mp4").write_bytes(video.read_bytes())
    assert run(engines, "--camera", tmp_path / "*.mp4") == 1
    assert "matches 1 files, but no picture" in capsys.readouterr().err


@pytest.mark.parametrize(("url", "code"), [("http://", 2), ("http://a..b/x", 5), ("http://host:port/x", 2)])
def test_an_address_that_cannot_be_is_told_from_a_camera_that_is_not_there(engines, capsys, url, code):
    assert run(engines, "--camera", url) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_as_engine_is_told(bundles, capsys):
    assert main(["--engine", str(bundles / "bundle"), str(bundles / "bundle"), "--camera", "0"]) == 4
    assert "is a folder" in capsys.readouterr().err


def test_a_line_leaves_through_a_pipe_when_its_frame_is_done(engines):
    """Not when a buffer is full: a camera gives one frame and then stalls."""
    camera = MjpegServer()
    code = HEED + "import sys; from sacvit.commands.run import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--engine", *engines, "--camera", camera.url, "--json"]
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=plain) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = camera.served
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    camera.die()
    assert seen < 200  # 8 kB of buffer would hold back some fifty lines; start-up takes most of what was served
    assert process.returncode == 130


def test_nothing_saved_is_said(engines, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert run(engines, "--camera", tmp_path / "bad.png", "--save", tmp_path / "o.mp4") == 1
    assert "bad.png" in capsys.readouterr().err
    assert not (tmp_path / "o.mp4").exists()
