from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sacvit.machine.activity import TICK_S, read_activity, read_running

STAT = """cpu  100 0 0 0 0 0 0 0 0 0
cpu0 {user} 10 20 1000 50 3 4 {steal} 0 0
cpu1 5 0 0 900 0 0 0 0 0 0
cpu2 77777 0 0 0 0 0 0 0 0 0
intr 123 1 2 3
ctxt 4000
procs_running 6
"""
ME = threading.get_native_id()


@pytest.fixture
def root(tmp_path):
    put(tmp_path, "sys/devices/system/cpu/online", "0-2\n")
    put(tmp_path, "proc/self/status", "Cpus_allowed_list:\t0-1\n")
    put(tmp_path, "proc/loadavg", "5.50 1 1 6/300 4242\n")
    put(tmp_path, "proc/stat", STAT.format(user=100, steal=7))
    return tmp_path


def put(root, path, content):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


def test_busy_and_stolen_time_are_of_the_cores_that_the_process_may_use(root):
    activity = read_activity(ME, root=root)
    assert activity.cores == 2
    assert activity.busy_s == pytest.approx(TICK_S * (100 + 10 + 20 + 3 + 4 + 5))  # neither idle nor waiting for a disk
    assert activity.stolen_s == pytest.approx(TICK_S * 7)


def test_the_run_queue_switches_and_load_are_the_machines(root):
    activity = read_activity(ME, root=root)
    assert (activity.running, activity.switches, activity.load_1min) == (6, 4000, 5.5)


def test_the_time_of_a_process_that_measures_for_us_is_our_own(root):
    put(root, "proc/77/stat", f"77 (tegra (stats) x) S {' '.join(['0'] * 10)} 30 20 0 0\n")
    alone, with_tool = (read_activity(ME, pids, root) for pids in ((), (77,)))
    assert with_tool.own_s - alone.own_s == pytest.approx(
        50 * TICK_S, abs=0.2
    )  # and what this process did between the two


@pytest.mark.parametrize("cpu", ["", "cpu0 1 2 3\n", "cpu0 a b c d e f g h\n"])
def test_a_system_that_does_not_count_has_no_activity(root, cpu):
    put(root, "proc/stat", f"{cpu}ctxt 1\nprocs_running 1\n")
    assert read_activity(ME, root=root) is None


def test_threads_of_python_that_only_watch_do_not_wait(root):
    watching, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (watching.set(), done.wait()))
    thread.start()
    watching.wait()
    for number, waited_ns in ((ME, 5_000_000), (thread.native_id, 9_000_000), (10**6, 7_000_000)):
        put(root, f"proc/self/task/{number}/schedstat", f"1 {waited_ns} 3\n")
    found = read_activity(ME, root=root).waited_s
    done.set()
    thread.join()
    assert found == pytest.approx({ME: 0.005, 10**6: 0.007})


def test_a_kernel_that_does_not_count_waiting_has_none(root):
    assert read_activity(ME, root=root).waited_s == {}


def test_what_another_program_takes_on_this_machine_is_seen():
    first = read_activity(ME)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        while seconds_of(busy.pid) < 0.5:
            pass
        last = read_activity(ME)
    finally:
        busy.kill()
        busy.wait()
    others_s = last.busy_s - first.busy_s - (last.own_s - first.own_s)
    assert others_s > 0.4  # of 0.5 s, counted in ticks


def seconds_of(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return TICK_S * (int(fields[11]) + int(fields[12]))


def test_the_run_queue_alone_is_read_off_the_load(root):
    assert read_running(root) == 6


@pytest.mark.parametrize("text", ["", "busy", "1 2 3 x/y 5"])
def test_a_run_queue_that_is_no_number_is_absent(root, text):
    put(root, "proc/loadavg", text)
    assert read_running(root) is None
