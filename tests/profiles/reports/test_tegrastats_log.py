from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sacvit.commands.report import main
from sacvit.profiles.reports import figures, tegrastats_log
from sacvit.profiles.reports.tegrastats_log import sparkline, write_log_page

LOGS = Path(__file__).parent.parent / "tegrastats"
EXPECTED = [json.loads(line) for line in (LOGS / "expected.jsonl").read_text().splitlines()]


def run(capsys, *arguments) -> str:
    assert main(["--text", *(str(argument) for argument in arguments)]) == 0
    return str(capsys.readouterr().out)


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.txt")), ids=lambda path: path.stem)
def test_json_lines_are_the_expected_ones(path, capsys):
    printed = [json.loads(line) for line in run(capsys, path, "--json").splitlines()]
    for expected in (entry for entry in EXPECTED if entry["file"] == path.name):
        assert expected in printed


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_real_board_has_a_module_total(path, capsys):
    assert "\nmodule " in run(capsys, path)


def test_the_summary_of_an_agx_orin_adds_three_rails_and_no_more(capsys):
    printed = run(capsys, LOGS / "agx-orin-jp6-root.txt")
    assert "= VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0" in printed
    assert printed.startswith("18 samples from 2025-07-21 16:33:42 to ")


def test_an_unknown_board_has_rails_and_no_total(tmp_path, capsys):
    (tmp_path / "log").write_text("RAM 1/2MB (lfb 1x4MB) CPU [1%@2] FOO 3mW/4mW\n")
    printed = run(capsys, tmp_path / "log")
    assert "FOO" in printed and "module: no total" in printed


def test_a_log_without_rails_says_so(tmp_path, capsys):
    (tmp_path / "log").write_text("RAM 1/2MB (lfb 1x4MB) CPU [1%@2] GR3D_FREQ 0% CV0@-256C PMIC@100C tj@41C\n")
    printed = run(capsys, tmp_path / "log")
    assert "no power: this tegrastats printed no rails" in printed and "hottest: tj 41 °C" in printed


@pytest.mark.usefixtures("report_packages")
def test_a_log_whose_lines_lost_their_heads_becomes_a_summary_and_a_page(tmp_path, capsys):
    lines = (LOGS / "agx-orin-jp6-root.txt").read_text().splitlines()
    (tmp_path / "log").write_text("\n".join(line[line.index("CPU [") :] for line in lines))
    printed = run(capsys, tmp_path / "log")
    write_log_page(tmp_path / "log", tmp_path / "log.html")
    assert printed.startswith("18 samples, without times") and (tmp_path / "log.html").is_file()


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "cannot be read: No such file"), ("hello\n", "holds no line of tegrastats")]
)
def test_a_file_that_is_no_log_is_one_message(tmp_path, capsys, content, reason):
    if content is not None:
        (tmp_path / "log").write_text(content)
    assert main(["--text", str(tmp_path / "log")]) == 1
    assert reason in capsys.readouterr().err


def test_a_sparkline_goes_from_the_lowest_to_the_highest_block():
    assert sparkline(range(8)) == "▁▂▃▄▅▆▇█" and sparkline([3.0, 3.0]) == "▄▄" and sparkline([]) == ""
    assert sparkline([0.0] * 50 + [1.0] * 50, width=4) == "▁▁██"


@pytest.mark.usefixtures("report_packages")
@pytest.mark.parametrize("path", sorted(LOGS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_real_log_becomes_a_page(path, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "render", lambda label, *_: f"drawn: {label};")  # figures have tests of their own
    write_log_page(path, tmp_path / "log.html")
    assert "drawn: Memory" in (tmp_path / "log.html").read_text()


@pytest.mark.usefixtures("report_packages")
def test_a_gap_in_time_parts_the_line(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(tegrastats_log, "lines", lambda caption, drawn, *_: seen.extend(drawn) or "")
    stamps = ["00:00:01", "00:00:02", "00:00:03", "00:01:00", "00:01:01"]
    (tmp_path / "log").write_text("\n".join(f"01-01-2026 {stamp} RAM 1/2MB (lfb 1x4MB) CPU [1%@2]" for stamp in stamps))
    write_log_page(tmp_path / "log", tmp_path / "log.html")
    (memory,) = [line for line in seen if line.name == "RAM used"]
    assert [math.isnan(value) for value in memory.y] == [False, False, False, True, False, False]
