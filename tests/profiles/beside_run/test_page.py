from __future__ import annotations

import pytest
from made_runs import HEADER, SENSOR, json_lines, write_log

from sacvit.profiles.beside_run.page import run_lines, write_run_page
from sacvit.profiles.beside_run.read_run import read_recorded


def test_the_text_has_frames_power_and_energy(tmp_path):
    text = "\n".join(run_lines(read_recorded(write_log(tmp_path / "p.jsonl", 25))))
    assert text.startswith("750 frames from 2025-11-26T17:00:00.")
    assert "66.7% exits" in text and "total" in text and "5.000 ± 0.020" in text
    assert "166.67 ± 0.67" in text


def test_lines_without_power_say_how_to_get_it(tmp_path):
    (tmp_path / "run.jsonl").write_text(json_lines(1))
    assert "sacvit-run --power auto --power-log FILE" in run_lines(read_recorded(tmp_path / "run.jsonl"))[-1]


def test_a_jump_of_the_clock_is_reported_and_the_energy_stays(tmp_path):
    lines = run_lines(read_recorded(write_log(tmp_path / "p.jsonl", 25, jump_s=3600.0)))
    assert any("clock jumped by 3600.0 s" in line for line in lines) and any("166.67 ± 0.67" in line for line in lines)


@pytest.mark.usefixtures("report_packages", "narrow_figures")
def test_a_page_escapes_what_a_file_says(tmp_path):
    evil = "<script>alert(1)</script>"
    source = HEADER["source"] | {"sensors": {evil: SENSOR, "B": SENSOR}, "total_rails": [evil], "scope": evil}
    path = write_log(tmp_path / "p.jsonl", 12, source=source, host=evil)
    write_run_page(read_recorded(path), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page


def test_a_run_whose_survivors_cost_the_same_as_all_has_no_energy_by_path(tmp_path):
    text = "\n".join(run_lines(read_recorded(write_log(tmp_path / "p.jsonl", 60, survivors_share=True))))
    assert "by path: not measured: these engines compute the same for one survivor" in text
