"""Session settings by processor: told from a cpuinfo file, and on the safe side where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacvit.machine.cpu import cpu_settings, processor_flags

EXACT = {"session.x64quantprecision": "1"}  # the slower kernel, whose sums do not saturate
CALM = {"session.force_spinning_stop": "1"}


def planted(folder: Path, flags: str) -> Path:
    """A cpuinfo of two processors, as Linux writes it."""
    path = folder / "cpuinfo"
    one = f"processor\t: 0\nmodel name\t: A processor\nflags\t\t: fpu {flags} sse2\nvmx flags\t: vnmi\nbugs\t\t:\n\n"
    path.write_text(one * 2)
    return path


@pytest.mark.parametrize("flags", ["avx2 avx512_vnni", "avx2 avx_vnni"])
def test_a_processor_with_vnni_keeps_the_fast_kernel(tmp_path: Path, flags: str) -> None:
    assert cpu_settings(planted(tmp_path, flags), "x86_64") == CALM


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_a_processor_with_avx2_alone_asks_for_the_exact_kernel(tmp_path: Path, machine: str) -> None:
    assert cpu_settings(planted(tmp_path, "avx2"), machine) == CALM | EXACT


def test_a_flag_that_only_begins_like_vnni_is_none(tmp_path: Path) -> None:
    assert cpu_settings(planted(tmp_path, "avx2 avx_vnni_int8"), "x86_64") == CALM | EXACT


def test_an_x86_processor_that_nobody_describes_asks_for_the_exact_kernel(tmp_path: Path) -> None:
    assert cpu_settings(tmp_path / "missing", "x86_64") == CALM | EXACT


def test_an_arm_processor_has_no_such_kernel(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n")
    assert cpu_settings(tmp_path / "cpuinfo", "aarch64") == CALM


def test_flags_are_those_of_the_first_processor(tmp_path: Path) -> None:
    assert processor_flags(planted(tmp_path, "avx2")) == {"fpu", "avx2", "sse2"}


def test_a_file_that_is_no_text_names_no_flags(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_bytes(b"\xff\xfe\x00flags: avx512_vnni\n")
    assert processor_flags(tmp_path / "cpuinfo") == set()


def test_onnx_runtime_takes_the_settings_of_this_machine() -> None:
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    for key, value in (cpu_settings() | EXACT).items():
        options.add_session_config_entry(key, value)
        assert options.get_session_config_entry(key) == value
