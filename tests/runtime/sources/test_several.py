from __future__ import annotations

import itertools
import json
import threading

import numpy as np
import pytest

from sacvit.bundle.errors import DeviceError
from sacvit.commands.run import main
from sacvit.runtime.sources.frame import Frame
from sacvit.runtime.sources.several import Several


class Listed:
    """A source of so many frames; `gate` lets each of them come when it is set."""

    live, fps, dropped = False, None, 0

    def __init__(self, count, gate=None, fault=None):
        self.total, self.faults, self._gate, self._fault = count, [], gate, fault
        self.is_closed, self.lose = False, None

    def report_losses(self, report):
        self.lose = report

    def __iter__(self):
        for index in range(self.total):
            if self._gate is not None:
                self._gate.wait(5)
            yield Frame(index, f"f{index}", np.zeros((4, 4, 3), np.uint8))
        if self._fault is not None:
            raise self._fault

    def close(self):
        self.is_closed = True
        if self._gate is not None:
            self._gate.set()


class Camera:
    """A live source: a frame at once, then one every PERIOD_S of a clock that stands until `tick` moves it on."""

    PERIOD_S = 0.1
    live, fps, total, dropped, faults = True, None, None, 0, ()

    def __init__(self):
        self._changed, self._due, self._asked, self._closed = threading.Condition(), 1, 0, False

    def __iter__(self):
        for index in itertools.count():
            with self._changed:
                self._asked = index
                self._changed.notify_all()
                self._changed.wait_for(lambda due=index: self._due > due or self._closed)
                if self._closed:
                    return
            yield Frame(index, str(index), np.zeros((4, 4, 3), np.uint8), taken_s=index * self.PERIOD_S)

    def tick(self, frames):
        """So many frames pass, and the reader has come back for the next one."""
        with self._changed:
            self._due += frames
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._asked == self._due, 5), "the reader waits with a frame in hand"

    def close(self):
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def several(*sources):
    return Several(sources, [f"camera {number}" for number in range(len(sources))])


def test_silent_cameras_let_the_loop_do_other_work(monkeypatch):
    monkeypatch.setattr("sacvit.runtime.sources.several.WAIT_S", 0.01)
    gate, calls = threading.Event(), []

    def call():
        calls.append(threading.current_thread())
        gate.set()

    source = several(Listed(1, gate))
    source.call_while_waiting(call)
    assert [frame.index for frame in source] == [0]
    assert calls[0] is threading.current_thread()  # which may change what the loop uses


def test_every_frame_of_every_stream_comes_once_and_in_its_order():
    source = several(Listed(5), Listed(3), Listed(4))
    by_stream = {}
    for frame in source:
        by_stream.setdefault(frame.stream, []).append(frame.name)
    source.close()
    assert by_stream == {stream: [f"{stream}: f{i}" for i in range(count)] for stream, count in enumerate((5, 3, 4))}


def test_a_round_has_at_most_one_frame_of_a_stream():
    source = several(Listed(20), Listed(20))
    for frames in source.rounds():
        assert len({frame.stream for frame in frames}) == len(frames)
    source.close()


def test_whose_turn_is_first_goes_round():
    source = several(*[Listed(30) for _ in range(3)])
    first = []
    for frames in source.rounds():
        while len(source._waiting) + (3 - source._running) < 3:  # every stream that has not ended has a frame ready
            pass
        first.append((len(frames), frames[0].stream))
    source.close()
    full = [stream for count, stream in first if count == 3]
    assert len(full) > 20 and all(full.count(stream) >= len(full) // 3 - 1 for stream in range(3))


def test_behind_a_slow_consumer_no_camera_s_frame_is_older_than_a_period():
    cameras = Camera(), Camera()
    source = several(*cameras)
    rounds = source.rounds()
    taken = next(rounds)  # of one camera, or of both
    for camera in cameras:
        camera.tick(6)  # while the consumer works on the first round
    now_s = 6 * Camera.PERIOD_S
    frames = next(rounds)
    source.close()
    assert [frame.stream for frame in frames] == [1, 0]
    assert all(now_s - frame.taken_s <= Camera.PERIOD_S for frame in frames)
    assert source.dropped == 2 * 7 - len(taken) - len(frames)


def test_a_camera_that_is_stuck_holds_up_nobody():
    gate = threading.Event()
    source = several(Listed(1, gate), Listed(50))
    taken = []
    for frames in source.rounds():
        taken += [frame.stream for frame in frames]
        if taken.count(1) == 50:
            gate.set()
    source.close()
    assert taken.count(1) == 50 and taken.count(0) == 1


def test_a_camera_that_fails_ends_alone_and_is_told():
    source = several(Listed(2, fault=DeviceError("unplugged")), Listed(6))
    frames = list(source)
    source.close()
    assert len(frames) == 8 and source.faults == ["camera 0: unplugged"]


def test_when_no_camera_gives_a_frame_the_reason_is_raised():
    source = several(Listed(0, fault=DeviceError("unplugged")), Listed(0, fault=DeviceError("busy")))
    with pytest.raises(DeviceError):
        list(source)
    source.close()


def test_closing_ends_all_sources_and_their_threads():
    sources = [Listed(1000), Listed(1000)]
    source = several(*sources)
    next(iter(source.rounds()))
    source.close()
    assert all(one.is_closed for one in sources) and not any(thread.is_alive() for thread in source._threads)


def test_frames_are_numbered_through():
    source = several(Listed(4), Listed(4))
    assert [frame.index for frame in source] == list(range(8))
    source.close()


@pytest.fixture
def folders(tmp_path, pictures):
    import cv2

    for name, part in (("a", pictures[:5]), ("b", pictures[5:12])):
        (tmp_path / name).mkdir()
        for number, picture in enumerate(part):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), picture[..., ::-1])
    return tmp_path / "a", tmp_path / "b"


def test_several_cameras_answer_as_each_alone(engines, folders, capsys):
    command = ["--engine", *map(str, engines), "--threshold", "0.5", "--json"]
    alone = {}
    for stream, folder in enumerate(folders):
        assert main([*command, "--camera", str(folder)]) == 0
        lines = capsys.readouterr().out.splitlines()
        alone |= {f"{stream}: {json.loads(line)['name']}": json.loads(line) for line in lines}
    assert main([*command, "--camera", str(folders[0]), "--camera", str(folders[1])]) == 0
    together = {json.loads(line)["name"]: json.loads(line) for line in capsys.readouterr().out.splitlines()}
    assert set(together) == set(alone)
    for name, line in together.items():
        assert (line["label"], line["stage"]) == (alone[name]["label"], alone[name]["stage"])
        assert line["stream"] == int(name[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--batch", "2"], "--batch: with several cameras"), (["--save", "x.mp4"], "--save: with several cameras")],
)
def test_options_that_do_not_go_with_several_cameras_are_told(engines, folders, capsys, options, words, tmp_path):
    cameras = ["--camera", str(folders[0]), "--camera", str(folders[1])]
    assert main(["--engine", *map(str, engines), *cameras, *options]) == 2
    assert words in capsys.readouterr().err


def test_num_frames_counts_all_cameras(engines, folders, capsys):
    command = ["--engine", *map(str, engines), "--json", "--num-frames", "5"]
    assert main([*command, "--camera", str(folders[0]), "--camera", str(folders[1])]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_video_options_reach_the_run(engines, folders, capsys):
    command = ["--engine", *map(str, engines), "--threshold", "0.5", "--camera", str(folders[1])]
    assert main([*command, "--shadow", "1", "--hysteresis", "0.05"]) == 0
    err = capsys.readouterr().err
    assert "exits were shown to SAC too: it agrees with" in err and "the label changes" in err
    assert main([*command, "--deadline-ms", "0.0001"]) == 0
    assert "answers degraded: SAC would have missed the deadline" in capsys.readouterr().err


def test_a_loss_is_reported_with_the_camera_that_it_happened_to():
    fine, lost, failing = Listed(1), Listed(1), Listed(1, fault=DeviceError("unplugged"))
    source, losses = several(fine, lost, failing), []
    source.report_losses(lambda stream, message: losses.append((stream, message)))
    lost.lose(0, "no frame")
    assert len(list(source)) == 3
    source.close()
    assert losses[0] == (1, "no frame")
    assert [stream for stream, message in losses[1:] if "unplugged" in message] == [2]
