"""report.html: what stands in it, and that no damaged or hostile profile.json breaks it."""

from __future__ import annotations

import json
import random
import re

import pytest

from sacvit.bundle.errors import SacvitError
from sacvit.profiles.reports import figures
from sacvit.profiles.reports.comparison import compare_lines
from sacvit.profiles.reports.profile_page import write_profile_page
from sacvit.profiles.reports.text import summary_lines
from sacvit.profiles.results.result_files import read_profile

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")


def page_of(folder):
    write_profile_page(folder, folder / "report.html")
    return (folder / "report.html").read_text()


def changed(folder, change):
    content = json.loads((folder / "profile.json").read_text())
    del content["checksum"]  # a test changes it by hand
    change(content)
    (folder / "profile.json").write_text(json.dumps(content))
    return folder


def labels(text):
    return set(re.findall(r'class="narrow" role="img" aria-label="([^"]*)"', text))


def facts(text):
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))


@pytest.fixture
def page(powered, figures_as_labels):
    """The page of the run as it is."""
    return page_of(powered)


def test_the_head_is_a_slide_s(page):
    found = facts(page)
    assert found["Host"] == "bench (NVIDIA Jetson Orin Nano)" and re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d", found["Date"]
    )
    assert found["Model"].startswith("deit-s (width 384, depth 12), 224 x 224 pixels")
    assert "SAC 2.81 G, plain ViT 4.6 G" in found["MACs per image"]
    assert found["Top-1"] == "not known; sacvit-tune measures it"


@pytest.mark.usefixtures("figures_as_labels")
def test_top1_is_shown_where_it_was_tuned_and_a_model_of_impossible_geometry_is_not_counted(powered):
    known = {"value": 0.9448, "threshold": 0.5, "data": "val"}

    def change(content):
        content["top1"] = known
        content["model"]["depth"] = 10**9

    found = facts(page_of(changed(powered, change)))
    assert found["Top-1"] == "94.48 % at threshold 0.5 (sacvit-tune, val)"
    assert found["Model"] == "its geometry is not known" and "MACs per image" not in found


def test_every_figure_of_a_run_with_power_is_there(page):
    assert labels(page) == {
        "Images per second",
        "Latency by path",
        "Time per image over the threshold",
        "Exits over the threshold",
        "Energy per image over the threshold, idle power included",
        "Power over time",
        "Energy per image, idle power included",
        "Energy per image above idle",
        "Energy per image by rail, idle power included",
        "Energy of one image on each path above idle, by regression over all windows",
    }


def test_the_first_sentence_says_whether_the_second_stage_earns_its_cost(page):
    assert '<p class="verdict">The second stage earns its cost in time on these images' in page


@pytest.mark.usefixtures("figures_as_labels")
def test_an_energy_that_is_smaller_than_its_error_is_not_measurable(powered):
    def blur(content):
        for contender in content["modes"][0]["contenders"].values():
            for amounts in contender["energy"]["mj_per_image"].values():
                amounts["gross"]["plus_minus"] = 2 * amounts["gross"]["value"]

    page, result = page_of(changed(powered, blur)), read_profile(powered)
    assert '<b class="word">not measurable</b><span>smaller than its error of' in page
    assert "Energy per image over the threshold, idle power included" not in labels(page)
    assert re.search(r"<td>eta 0\.5</td><td>energy</td><td>not measurable</td>", page)
    assert any(re.match(r"eta 0\.5 +not measurable +\d", line) for line in summary_lines(result))
    assert any("total, gross" in line and "not measurable" in line for line in compare_lines(result, result))


@pytest.mark.usefixtures("figures_as_labels")
def test_a_profile_without_its_samples_says_what_is_not_shown(powered, tmp_path):
    (powered / "profile.json").rename(tmp_path / "profile.json")
    page = page_of(tmp_path)
    assert "Copy the whole folder of the run" in page and "Latency by path" not in labels(page)


def test_a_rail_stands_below_its_total(powered):
    lines = summary_lines(read_profile(powered))
    start = next(place for place, line in enumerate(lines) if line.startswith("mJ per image"))
    names = [line[:20].strip() for line in lines[start + 1 : start + 7]]
    assert names == ["always exit", "eta 0.3", "eta 0.5", "A", "B", "eta 0.7"]


@pytest.mark.usefixtures("figures_as_labels")
def test_names_from_outside_stay_text(powered):
    """In figures too: test_figures.py."""
    evil = "<script>alert(1)</script>"

    def rename(content):
        content["host"] = content["images"] = content["backend"] = evil
        content["modes"][0]["warnings"] = [evil]
        table = content["modes"][0]["contenders"]
        content["modes"][0]["contenders"] = {evil if name == "eta 0.3" else name: one for name, one in table.items()}

    page = page_of(changed(powered, rename))
    assert "<script" not in page and "&lt;script&gt;" in page


def test_a_profile_with_any_value_spoilt_is_read_or_refused_in_our_words(powered, spoilt, monkeypatch):
    monkeypatch.setattr(figures, "render", lambda *_: "")  # their own test breaks figures
    content, choose = json.loads((powered / "profile.json").read_text()), random.Random(0)
    del content["checksum"]
    refused = 0
    for _ in range(60):
        (powered / "profile.json").write_text(json.dumps(spoilt(content, choose)))
        try:
            result = read_profile(powered)
        except SacvitError as fault:
            refused += 1
            assert "profile.json" in str(fault)
        else:
            assert summary_lines(result) and compare_lines(result, result) and page_of(powered)
    assert 0 < refused < 60
