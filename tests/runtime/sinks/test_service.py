"""What the service manager hears of a run, through a real socket and with a clock of the test's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from service_manager import ServiceManagerSocket, path_in

from sacvit.machine.service_manager import ServiceManager
from sacvit.runtime.chain.result import Result
from sacvit.runtime.sinks.overlay import Running
from sacvit.runtime.sinks.service import STATUS_S, ServiceSink
from sacvit.runtime.sinks.sink import Answer
from sacvit.runtime.sources.frame import Frame

PIXELS = np.zeros((4, 4, 3), np.uint8)
ANSWER = Answer(
    Frame(0, "f", PIXELS), Result(3, "nut", 0.9, "EE", 0.9, (), 1.0, None), PIXELS, (0, 0, 4, 4), 1, 0.5, 0, 0,
    Running(0.75, 1.0, 0),
)  # fmt: skip
WATCHDOG_S = 20.0


class Service:
    """A sink, its clock and systemd's end."""

    def __init__(self, folder) -> None:
        self.systemd = ServiceManagerSocket(path_in(folder))
        self.now_s = 100.0
        self.manager = ServiceManager(self.systemd.address, WATCHDOG_S)
        self.sink = ServiceSink(self.manager, lambda: self.now_s)

    def after(self, seconds: float) -> list[list[str]]:
        """The messages when the loop is between two frames, so much later."""
        self.now_s += seconds
        self.sink.between_frames()
        return self.systemd.waiting()


@pytest.fixture
def service(tmp_path):
    made = Service(tmp_path)
    yield made
    made.manager.close()
    made.systemd.close()


def test_ready_follows_the_first_answer_and_comes_once(service):
    assert service.after(1) == []
    service.sink.write(ANSWER)
    assert service.systemd.waiting() == [["READY=1", "STATUS=1 frames, 75.0% exits"]]
    service.sink.write(ANSWER)
    assert service.systemd.waiting() == []


def test_the_watchdog_is_fed_by_progress_and_four_times_per_interval(service):
    fed = [service.after(1) for _ in range(int(WATCHDOG_S))]
    assert fed.count([["WATCHDOG=1"]]) == 4 and fed.count([]) == WATCHDOG_S - 4


def test_an_answer_feeds_the_watchdog_too(service):
    service.sink.write(ANSWER)
    service.systemd.waiting()
    service.now_s += WATCHDOG_S
    service.sink.write(ANSWER)
    assert ["WATCHDOG=1"] in service.systemd.waiting()


def test_a_camera_without_frames_feeds_the_watchdog_and_stands_in_the_status(service):
    service.sink.write(ANSWER)
    service.systemd.waiting()
    assert service.after(STATUS_S) == [["WATCHDOG=1"], ["STATUS=1 frames, 75.0% exits, no frame for 5 s"]]


def test_a_reload_begins_and_ends(service):
    service.sink.write(ANSWER)
    service.systemd.waiting()
    service.sink.begin_reload()
    service.sink.end_reload()
    begun, ended = service.systemd.waiting()
    assert begun[0] == "RELOADING=1" and ended[0] == "READY=1"


def test_a_reload_before_the_first_answer_makes_no_service_ready(service):
    service.sink.begin_reload()
    service.sink.end_reload()
    assert service.systemd.waiting() == []


def test_the_end_is_announced(service):
    service.sink.close()
    assert service.systemd.waiting() == [["STOPPING=1", "STATUS=0 frames, 0.0% exits"]]


def test_ready_is_sent_again_where_it_did_not_arrive(service):
    address = service.systemd.address
    service.systemd.close()
    service.sink.write(ANSWER)
    Path(address).unlink()
    service.systemd = ServiceManagerSocket(address)
    service.sink.write(ANSWER)
    assert service.systemd.receive()[0] == "READY=1"
