from __future__ import annotations

import os
import signal

import pytest
from service_manager import ServiceManagerSocket, path_in

from sacvit.machine.service_manager import HangUp, open_service_manager


@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_message_reaches_a_socket_at_a_path_and_one_with_an_abstract_name(tmp_path, is_abstract):
    address = f"@sacvit-test-{os.getpid()}" if is_abstract else path_in(tmp_path)
    systemd = ServiceManagerSocket(address)
    manager = open_service_manager({"NOTIFY_SOCKET": address})
    assert manager.send("READY=1", "STATUS=3 frames")
    assert systemd.receive() == ["READY=1", "STATUS=3 frames"]
    manager.close()
    systemd.close()


def test_reloading_carries_the_monotonic_clock_as_systemd_wants_it(tmp_path):
    systemd = ServiceManagerSocket(path_in(tmp_path))
    manager = open_service_manager({"NOTIFY_SOCKET": systemd.address})
    manager.send_reloading()
    first, second = systemd.receive()
    assert first == "RELOADING=1" and second.removeprefix("MONOTONIC_USEC=").isdecimal()
    manager.close()
    systemd.close()


def test_what_no_service_manager_started_sends_nothing():
    assert open_service_manager({}) is None


def test_an_address_of_another_kind_is_reported(caplog):
    assert open_service_manager({"NOTIFY_SOCKET": "vsock:2:1234"}) is None
    assert "NOTIFY_SOCKET=vsock:2:1234" in caplog.text


def test_a_manager_that_is_gone_is_reported_once(tmp_path, caplog):
    manager = open_service_manager({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert not manager.send("READY=1") and not manager.send("READY=1")
    assert len(caplog.records) == 1 and "NOTIFY_SOCKET" in caplog.text
    manager.close()


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_for_this_process_only(environment, watchdog_s):
    manager = open_service_manager({"NOTIFY_SOCKET": "/run/n", **environment})
    assert manager.watchdog_s == watchdog_s
    manager.close()


@pytest.fixture
def own_hang_up():
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_hang_up_is_taken_once(own_hang_up):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    hang_up = HangUp()
    assert not hang_up.take()
    os.kill(os.getpid(), signal.SIGHUP)
    assert hang_up.take() and not hang_up.take()


def test_nohup_stays_in_effect(own_hang_up):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    HangUp()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
