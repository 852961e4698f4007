"""The processor's activity by Linux's counters: its time by program, waiting tasks, and the time that a host took away."""

from __future__ import annotations

import os
import re
import resource
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .processor import core_numbers, load_1min
from .small_files import ROOT, listed, read_text

STAT_BYTES = 1 << 20  # a line for each core, and one of numbers for each interrupt
NEEDED = ("cpu", "ctxt ", "procs_running ")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
NS = 1e-9


@dataclass(frozen=True)
class Activity:
    """Counters at one time. Seconds are of processor time, summed over the cores that this process may use.

    busy_s: of all programs; own_s: of this process and of those that measure for it; stolen_s: in which the host of a virtual
    machine ran something else. waited_s: by thread of this process, the time that it was ready and had no core.
    """

    time_s: float
    cores: int
    busy_s: float
    own_s: float
    stolen_s: float
    waited_s: dict[int, float]
    running: int  # tasks that run or are ready to
    switches: int  # from task to task, on the whole machine
    forced_switches: int  # away from this process while it was ready to go on
    load_1min: float | None


def read_activity(measured_thread: int, own_pids: Collection[int] = (), root: Path = ROOT) -> Activity | None:
    """The counters now; None where Linux does not give them.

    measured_thread: the Python thread whose waiting counts, together with threads that libraries started. The others only
    observe. own_pids: processes that measure for this one.
    """
    stat = read_text(root / "proc/stat", STAT_BYTES) or ""
    lines = [line.split() for line in stat.splitlines() if line.startswith(NEEDED)]
    fields = {line[0]: line[1:] for line in lines}
    rows = [fields[f"cpu{core}"] for core in core_numbers(root) if f"cpu{core}" in fields]
    if not rows or not {"procs_running", "ctxt"} <= set(fields):
        return None
    try:
        ticks = [[int(value) for value in row[:8]] for row in rows]
        running, switches = int(fields["procs_running"][0]), int(fields["ctxt"][0])
    except (ValueError, IndexError):
        return None
    if any(len(row) < 8 for row in ticks):
        return None
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Activity(
        time_s=time.perf_counter(),
        cores=len(ticks),
        # user, nice, system, idle, iowait, irq, softirq, steal: proc(5)
        busy_s=TICK_S * sum(row[0] + row[1] + row[2] + row[5] + row[6] for row in ticks),
        own_s=usage.ru_utime + usage.ru_stime + sum(_processor_s(root, pid) for pid in own_pids),
        stolen_s=TICK_S * sum(row[7] for row in ticks),
        waited_s=_waited_s(root, measured_thread),
        running=running,
        switches=switches,
        forced_switches=usage.ru_nivcsw,
        load_1min=load_1min(root),
    )


def read_running(root: Path = ROOT) -> int | None:
    """The number of tasks that run or are ready to: that of `Activity.running`, in a fiftieth of its time."""
    found = re.match(r"\S+ \S+ \S+ ([0-9]{1,9})/", read_text(root / "proc/loadavg") or "")
    return int(found[1]) if found else None


def _processor_s(root: Path, pid: int) -> float:
    """User and system time of another process; 0 when it is gone."""
    behind_name = (read_text(root / f"proc/{pid}/stat") or "").rpartition(")")[2].split()
    found = [value for value in behind_name[11:13] if re.fullmatch(r"[0-9]{1,18}", value)]
    return TICK_S * sum(map(int, found))


def _waited_s(root: Path, measured_thread: int) -> dict[int, float]:
    """Empty where the kernel does not count it (CONFIG_SCHED_INFO)."""
    watching = {thread.native_id for thread in threading.enumerate()} - {measured_thread}
    waited = {}
    for path in listed(root / "proc/self/task", "*"):
        words = (read_text(path / "schedstat") or "").split()  # running, waiting, slices
        if len(words) == 3 and words[1].isdecimal() and path.name.isdecimal() and int(path.name) not in watching:
            waited[int(path.name)] = NS * int(words[1])
    return waited
