"""sacvit-run as a service: real processes, signals and a real notification socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import pytest
from mjpeg_server import MjpegServer
from service_manager import ServiceManagerSocket, path_in

pytestmark = pytest.mark.programs

WATCHDOG_US = 400_000
QUEUE = "event-queue = 'queue'\n"
START = (
    "import signal, sys, threading; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "from sacvit.commands.run import main\n"
)
HANG = """
from sacvit.runtime.chain.pipeline import Pipeline
run, passes = Pipeline.run, []
def hang(self, count):
    passes.append(count)
    if len(passes) == 5:
        print("hangs", flush=True)
        threading.Event().wait()
    return run(self, count)
Pipeline.run = hang
"""


class Service:
    """A running sacvit-run with --config, its camera, its standard output and systemd's end of the socket."""

    def __init__(self, folder: Path, engines: tuple[str, str], text: str, planted: str = "") -> None:
        self.folder, self.camera = folder, MjpegServer()
        self.systemd = ServiceManagerSocket(path_in(folder))
        self.file = folder / "sacvit.toml"
        self.head = f"engine = {list(engines)}\ncamera = ['{self.camera.url}']\njson = true\n"
        self.write(text)
        code = f"{START}{planted}\nsys.exit(main(['--config', {str(self.file)!r}]))"
        told = {"NOTIFY_SOCKET": self.systemd.address, "WATCHDOG_USEC": str(WATCHDOG_US)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | told | {"PYTHONUNBUFFERED": "1"},
        )
        self.lines: list[str] = []  # of stderr
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()

    def _read_log(self) -> None:
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def write(self, text: str) -> None:
        self.file.write_text(self.head + text)

    def hang_up(self, logged: str) -> None:
        """Sends SIGHUP and waits until a line of the log holds such words."""
        self.process.send_signal(signal.SIGHUP)
        with self._changed:
            assert self._changed.wait_for(lambda: any(logged in line for line in self.lines), 30), self.lines

    def answers(self) -> dict[str, object]:
        return next(line for line in map(json.loads, self.process.stdout) if "stage" in line)

    def end(self) -> int:
        self.camera.die()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self._reader.join(30)
        self.process.stdout.close()
        self.process.stderr.close()
        self.systemd.close()
        return self.process.returncode


@pytest.fixture
def start(tmp_path, engines):
    started = []

    def begin(text: str, planted: str = "") -> Service:
        started.append(Service(tmp_path, engines, text, planted))
        return started[-1]

    yield begin
    for service in started:
        service.end()


def until(service: Service, stage: str) -> None:
    while service.answers()["stage"] != stage:
        pass


def test_a_hang_up_changes_threshold_and_events_and_the_run_goes_on(start, tmp_path):
    service = start("threshold = 0.0\n")
    first = service.systemd.receive_until("READY=1")[-1]
    assert first[1].startswith("STATUS=1 frames, ")
    assert service.answers()["stage"] == "EE"
    service.write(f"threshold = 1.0\non = ['stage=SAC']\nto = ['snapshots:events']\nbatch = 2\n{QUEUE}")
    service.hang_up("needs a restart to change: batch")
    messages = [message[0] for message in service.systemd.receive_until("READY=1")]
    assert messages[-2:] == ["RELOADING=1", "READY=1"]
    until(service, "SAC")
    service.write("threshold = = 1\n")
    service.hang_up("is no TOML")
    assert service.answers()["stage"] == "SAC"
    service.process.send_signal(signal.SIGTERM)
    service.process.stdout.read()
    assert service.process.wait(30) == 130, service.lines
    assert service.systemd.receive_until("STOPPING=1")
    assert len(list((tmp_path / "events").glob("*.json"))) == 1


def test_a_lost_camera_feeds_the_watchdog_and_settings_can_be_read_meanwhile(start):
    events = f"stall-timeout-s = 0.5\non = ['camera-lost']\n{QUEUE}"
    service = start(events)
    service.systemd.receive_until("READY=1")
    service.camera.flowing.clear()
    while "event" not in json.loads(service.process.stdout.readline()):
        pass
    service.systemd.waiting()
    service.write(f"threshold = 1.0\n{events}")
    service.hang_up("threshold is applied")
    assert service.systemd.receive_until("WATCHDOG=1")
    service.camera.flowing.set()
    until(service, "SAC")


def test_a_hang_in_the_engine_starves_the_watchdog(start):
    service = start("", planted=HANG)
    service.systemd.receive_until("READY=1")
    while service.process.stdout.readline() != "hangs\n":
        pass
    service.systemd.waiting()
    assert service.systemd.silent_for(4 * WATCHDOG_US / 1e6)


def test_a_stop_leaves_complete_files(start, tmp_path):
    service = start(f"save = 'recordings/'\non = ['confidence>=0']\nto = ['snapshots:events']\n{QUEUE}")
    lines = [service.process.stdout.readline() for _ in range(20)]
    service.process.send_signal(signal.SIGTERM)
    lines += service.process.stdout.read().splitlines()
    assert service.process.wait(30) == 130, service.lines
    frames = [json.loads(line)["frame"] for line in lines]  # each line is whole
    assert frames == list(range(len(frames)))
    [event] = (tmp_path / "events").glob("*.json")
    assert json.loads(event.read_text())["attempt"] == 1 and cv2.imread(str(event.with_suffix(".jpg"))) is not None
    [segment] = (tmp_path / "recordings").glob("*.mkv")
    capture = cv2.VideoCapture(str(segment))
    count = 0
    while capture.read()[0]:
        count += 1
    assert count in (len(frames), len(frames) - 1)  # the stop may fall between the line and the recording
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0, service.lines  # it was closed: it has a length
    capture.release()
