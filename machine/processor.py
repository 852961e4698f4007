"""The processor: its name, the cores that this process may use, and how busy the machine is."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .small_files import ROOT, read_text

CPUINFO_BYTES = 1 << 18  # a block for each core; some processors have their name in the last one only
GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"


def describe_machine(root: Path = ROOT) -> dict[str, Any]:
    """The conditions that are stored with every number: processor, cores, load, and the clock governor where there is one."""
    return {
        "processor": processor_name(root) or platform.machine(),
        "cores": usable_cores(root),
        "load_1min": load_1min(root),
        "governor": read_text(root / GOVERNOR),
    }


def processor_name(root: Path = ROOT) -> str | None:
    """The processor's name as Linux prints it; None where it prints none."""
    text = read_text(root / "proc/cpuinfo", CPUINFO_BYTES) or ""
    found = re.search(r"^(?:model name|Model)\s*:[ \t]*(\S.*)$", text, re.MULTILINE)
    return found[1].strip() if found else None


def usable_cores(root: Path = ROOT) -> int | None:
    """How many cores are online and open to this process."""
    return len(core_numbers(root)) or None


def core_numbers(root: Path = ROOT) -> set[int]:
    """The numbers of those cores; empty where Linux does not list them."""
    online = _numbers_in(read_text(root / "sys/devices/system/cpu/online") or "")
    status = re.search(r"^Cpus_allowed_list:\s*(\S+)$", read_text(root / "proc/self/status") or "", re.MULTILINE)
    allowed = _numbers_in(status[1]) if status else set()
    return online & allowed if online and allowed else online | allowed


def physical_cores(root: Path = ROOT) -> int | None:
    """How many of those cores can compute at once: hyper-threads of one core count once, and a cgroup may allow fewer."""
    siblings = {
        read_text(root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list") or f"core {core}"
        for core in core_numbers(root)
    }
    return max(1, min([len(siblings), *map(math.ceil, _quotas(root))])) if siblings else None


def _quotas(root: Path) -> Iterator[float]:
    """How many cores' time each cgroup (version 2) around this process may take, as containers and systemd limit it."""
    top = root / "sys/fs/cgroup"
    own = re.search(r"^0::/(.*)$", read_text(root / "proc/self/cgroup") or "", re.MULTILINE)
    folder = top / (own[1] if own else "")
    for group in (folder, *folder.parents):
        limit = re.fullmatch(r"([0-9]{1,15}) ([1-9][0-9]{0,14})", read_text(group / "cpu.max") or "")
        if limit:
            yield int(limit[1]) / int(limit[2])
        if group == top:
            return


def _numbers_in(text: str) -> set[int]:
    """{0, 1, 2, 5} of "0-2,5"; empty for anything else."""
    spans = [re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part) for part in text.split(",")]
    return {core for span in spans if span for core in range(int(span[1]), int(span[2] or span[1]) + 1)}


def load_1min(root: Path = ROOT) -> float | None:
    found = re.match(r"[0-9]{1,6}\.[0-9]{1,6}", read_text(root / "proc/loadavg") or "")
    return float(found[0]) if found else None
