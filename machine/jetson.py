"""What a Jetson's files say about it, and what Linux says about memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .small_files import ROOT, read_text

TABLE_BYTES = 1 << 20  # of nvpmodel.conf, which has 10 to 30 kB
MIB_IN_KIB = 1024
JETPACKS = {  # by the first number of Jetson Linux
    "28": "JetPack 3", "31": "JetPack 4", "32": "JetPack 4", "34": "JetPack 5", "35": "JetPack 5", "36": "JetPack 6",
    "38": "JetPack 7", "39": "JetPack 7",
}  # fmt: skip
NVPMODEL_STATUS = "var/lib/nvpmodel/status"
NVPMODEL_TABLE = "etc/nvpmodel.conf"
POWER_MODEL = r"^\s*<\s*POWER_MODEL\s+ID=(\d{1,9})\s+NAME=([^\s>]+)"


def l4t_release(root: Path = ROOT) -> str | None:
    """Jetson Linux as in "36.4.3", None where this is no Jetson. JetPack 6 has 36, 7 has 38 and 39."""
    text = read_text(root / "etc/nv_tegra_release") or ""
    found = re.match(r".*?R(\d+)\s.*REVISION:\s*([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else None


def jetpack_generation(release: str) -> str | None:
    """ "JetPack 6" for the Jetson Linux release "36.4.3"."""
    return JETPACKS.get(release.partition(".")[0])


def board_model(root: Path = ROOT) -> str | None:
    """As in "NVIDIA Jetson Orin Nano Developer Kit"; None where no device tree says."""
    return read_text(root / "proc/device-tree/model") or None


@dataclass(frozen=True)
class PowerMode:
    """A mode of nvpmodel; name: None without a table. The same id is another mode on another module."""

    id: int
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.id} ({self.name})" if self.name else str(self.id)


def known_power_modes(root: Path = ROOT) -> list[PowerMode]:
    """The modes of nvpmodel's table, sorted by id; empty without a table."""
    table = read_text(root / NVPMODEL_TABLE, TABLE_BYTES) or ""
    names = {int(mode): name for mode, name in re.findall(POWER_MODEL, table, re.MULTILINE)}
    return [PowerMode(mode, names[mode]) for mode in sorted(names)]


def power_mode_in_use(root: Path = ROOT) -> PowerMode | None:
    """The mode that nvpmodel noted when it set it; None without a note."""
    found = re.search(r"pmode:(\d{1,9})", read_text(root / NVPMODEL_STATUS) or "")
    if not found:
        return None
    number = int(found[1])
    return next((mode for mode in known_power_modes(root) if mode.id == number), PowerMode(number))


def power_mode(root: Path = ROOT) -> str | None:
    """The nvpmodel mode in use, as in "MAXN_SUPER"; its number where the table does not name it; None without one."""
    mode = power_mode_in_use(root)
    return None if mode is None else mode.name or str(mode.id)


def available_memory_mib(root: Path = ROOT) -> int | None:
    """The memory that Linux could give to a new process, without swap."""
    return _memory_mib(root, "MemAvailable")


def process_memory_mib(pid: int | str = "self", root: Path = ROOT) -> tuple[float, float] | None:
    """Resident memory of a process, now and at its peak; None where it is gone, or Linux does not say."""
    text = read_text(root / f"proc/{pid}/status") or ""
    now, most = (re.search(rf"^{name}:\s*(\d{{1,15}}) kB$", text, re.MULTILINE) for name in ("VmRSS", "VmHWM"))
    return None if now is None or most is None else (int(now[1]) / MIB_IN_KIB, int(most[1]) / MIB_IN_KIB)


def used_swap_mib(root: Path = ROOT) -> int | None:
    """Swap space in use; 0 on a machine without any."""
    total, free = _memory_mib(root, "SwapTotal"), _memory_mib(root, "SwapFree")
    return None if total is None or free is None else total - free


def _memory_mib(root: Path, name: str) -> int | None:
    text = read_text(root / "proc/meminfo") or ""
    found = re.search(rf"^{name}:\s*(\d{{1,15}})\b", text, re.MULTILINE)
    return int(found[1]) // MIB_IN_KIB if found else None
