from __future__ import annotations

from pathlib import Path

import pytest

from sacvit.machine.jetson import available_memory_mib, board_model, l4t_release, power_mode, process_memory_mib


def put(root: Path, path: str, content: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


@pytest.mark.parametrize(
    ("line", "release"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8", "36.4.3"),
        ("# R39 (release), REVISION: 2.0, GCID: 1", "39.2.0"),
        ("something else", None),
    ],
)
def test_jetson_linux_is_read_off_its_release_file(tmp_path, line, release):
    put(tmp_path, "etc/nv_tegra_release", line + "\nmore\n")
    assert l4t_release(tmp_path) == release


def test_the_power_mode_has_the_name_of_nvpmodels_table(tmp_path):
    put(tmp_path, "var/lib/nvpmodel/status", "pmode:0002 fmode:fan_mode_quiet")
    put(tmp_path, "etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n")
    assert power_mode(tmp_path) == "MAXN_SUPER"


def test_a_power_mode_without_a_table_is_its_number(tmp_path):
    put(tmp_path, "var/lib/nvpmodel/status", "pmode:0003")
    assert power_mode(tmp_path) == "3"


def test_the_board_tells_its_model_without_the_closing_zero(tmp_path):
    put(tmp_path, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    assert board_model(tmp_path) == "NVIDIA Jetson Orin Nano Developer Kit"


def test_available_memory_is_in_mib(tmp_path):
    put(tmp_path, "proc/meminfo", "MemTotal:        7802112 kB\nMemAvailable:    5242880 kB\n")
    assert available_memory_mib(tmp_path) == 5120


@pytest.mark.parametrize("read", [l4t_release, power_mode, board_model, available_memory_mib])
def test_a_machine_that_is_no_jetson_says_nothing(tmp_path, read):
    assert read(tmp_path) is None


def test_the_memory_of_a_process_is_read_in_mib(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("Name:\tpython\nVmHWM:\t  307200 kB\nVmRSS:\t 102400 kB\n")
    assert process_memory_mib(root=tmp_path) == (100.0, 300.0)
    assert process_memory_mib(7, tmp_path) is None
