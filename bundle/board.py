"""What a Jetson tells of itself in files, and a Linux machine of its memory. Paths are arguments: a test hands in its own."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path("/")
MIB_IN_KIB = 1024


def l4t_release(root: Path = ROOT) -> str | None:
    """Jetson Linux as in "36.4.3", None where this is no Jetson. JetPack 6 has 36, 7 has 38 and 39."""
    first = _first_line(root / "etc/nv_tegra_release")
    found = first and re.search(r"R(\d+)\s.*REVISION:\s*([\d.]+)", first)
    return f"{found[1]}.{found[2]}" if found else None


def board_model(root: Path = ROOT) -> str | None:
    """As in "NVIDIA Jetson Orin Nano Developer Kit"; None where no device tree says."""
    path = root / "proc/device-tree/model"
    try:
        return path.read_text("utf-8", "replace").strip("\0\n ") or None
    except OSError:
        return None


def power_mode(root: Path = ROOT) -> str | None:
    """The nvpmodel mode in use, as in "MAXN_SUPER"; its number where the table does not name it; None without one."""
    status = _first_line(root / "var/lib/nvpmodel/status")
    found = status and re.search(r"pmode:(\d+)", status)
    if not found:
        return None
    number = int(found[1])
    try:
        table = (root / "etc/nvpmodel.conf").read_text("utf-8", "replace")
    except OSError:
        return str(number)
    names = {int(mode): name for mode, name in re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", table)}
    return str(names.get(number, number))


def available_memory_mib(root: Path = ROOT) -> int | None:
    """What Linux could give to a new process, swap aside."""
    try:
        lines = (root / "proc/meminfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("MemAvailable:")]
    return int(found[0].split()[1]) // MIB_IN_KIB if found else None


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace").partition("\n")[0]
    except OSError:
        return None
