"""tune.html: the trade-off, the gate, and the images that it gets wrong, from untrusted files."""

from __future__ import annotations

import base64
import json
import random
import re

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import SacvitError
from sacvit.profiles.reports import figures
from sacvit.profiles.reports.comparison import write_tune_comparison
from sacvit.profiles.reports.parts import trade_off
from sacvit.profiles.reports.tune_page import write_tune_page
from sacvit.profiles.reports.tune_text import summary_lines
from sacvit.profiles.results.result_files import read_tune

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")


def page_of(folder):
    write_tune_page(folder, folder / "tune.html")
    return (folder / "tune.html").read_text()


def changed(folder, change):
    content = json.loads((folder / "tune.json").read_text())
    del content["checksum"]  # a test changes it by hand
    change(content)
    (folder / "tune.json").write_text(json.dumps(content))
    return folder


def labels(text):
    return set(re.findall(r'class="narrow" role="img" aria-label="([^"]*)"', text))


def facts(text):
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))


def pictures(page):
    found = re.findall(r'<img src="data:image/jpeg;base64,([^"]*)" alt="">', page)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), cv2.IMREAD_COLOR) for one in found]


@pytest.mark.usefixtures("figures_as_labels")
def test_the_page_has_the_trade_off_the_gate_and_a_slide_s_head(tuned):
    page = page_of(tuned)
    assert {"Accuracy against speed", "Exits over the threshold", "Top-1 over the threshold"} <= labels(page)
    assert {"Date", "Host", "Model", "MACs per image", "Top-1", "Engines", "Data"} <= set(facts(page))
    assert re.search(r'<p class="verdict">.*second stage', page)


@pytest.mark.usefixtures("figures_as_labels")
def test_images_per_second_are_in_the_table_and_follow_from_the_batch(tuned):
    result = read_tune(changed(tuned, lambda content: content.update(batch=4)))
    mean_ms = result["points"]["fast"]["report"]["mean_ms"]
    assert f"<td>{4000 / mean_ms:.4g}</td>" in page_of(tuned)
    assert any(f"{4000 / mean_ms:.4g}" in line for line in summary_lines(result) if line.startswith("fast "))


@pytest.mark.usefixtures("figures_as_labels")
@pytest.mark.parametrize(("mj", "is_shown"), [(None, False), (3.21, True)])
def test_the_table_has_a_column_of_energy_where_some_was_measured(tuned, mj, is_shown):
    changed(tuned, lambda content: content["always"]["EE"].update(mj=mj))
    page = page_of(tuned)
    assert ("<th>mJ</th>" in page) == is_shown == ("<td>null</td>" in page)


def test_points_of_one_threshold_are_one_point_of_the_figure(tuned, monkeypatch):
    drawn = []
    monkeypatch.setattr(trade_off, "trade_off", lambda _, curves, points, *rest: drawn.extend(points) or "")
    changed(tuned, lambda content: [point.update(eta=0.5) for point in content["points"].values()])
    page_of(tuned)
    (point,) = drawn
    assert point.name.startswith(f"{', '.join(read_tune(tuned)['points'])}: threshold 0.5")


@pytest.mark.usefixtures("figures_as_labels")
def test_wrong_exits_are_shown_with_label_answers_and_confidence(tuned):
    page, result = page_of(tuned), read_tune(tuned)
    first = result["exited_wrong"]["images"][0]
    assert len(pictures(page)) == result["exited_wrong"]["count"] + result["broken_by_sac"]["count"] > 0
    assert f"label <b>{first['label']}</b>" in page and f"EE {first['ee']} ({first['confidence']:.2f})" in page


@pytest.mark.usefixtures("figures_as_labels")
def test_a_picture_is_dark_outside_of_its_target_blocks(tuned):
    with np.load(tuned / "thumbnails.npz") as content:
        arrays = {name: content[name] for name in content.files}
    arrays["exited_wrong"][:] = 200
    arrays["exited_wrong_targets"][:] = 0  # the first block of 4 x 4
    np.savez(tuned / "thumbnails.npz", **arrays)
    picture = pictures(page_of(tuned))[0]
    assert picture.shape == (112, 112, 3)
    assert picture[10, 10].mean() == pytest.approx(200, abs=4) and picture[80, 80].mean() < 100


@pytest.mark.usefixtures("figures_as_labels")
def test_without_thumbnails_the_images_are_named(tuned):
    (tuned / "thumbnails.npz").unlink()
    page = page_of(tuned)
    assert not pictures(page) and read_tune(tuned)["exited_wrong"]["images"][0]["image"] in page


@pytest.mark.usefixtures("figures_as_labels")
def test_labels_and_file_names_stay_text(tuned):
    """In figures too: test_figures.py."""
    evil = "<script>alert(1)</script>"

    def rename(content):
        content["exited_wrong"]["images"][0].update(label=evil, ee=evil, image=f"{evil}\udcff.png")
        content["host"] = content["data"]["report"] = evil
        content["points"] = {evil: content["points"]["fast"]}

    page = page_of(changed(tuned, rename))
    assert "<script" not in page and "&lt;script&gt;" in page and "\\udcff" in page


@pytest.mark.usefixtures("narrow_figures")
def test_two_runs_are_drawn_into_one_figure(tuned, tmp_path):
    write_tune_comparison([tuned, tuned], tmp_path / "both.html")
    page = (tmp_path / "both.html").read_text()
    assert labels(page) == {"Accuracy against speed"} and page.count('<p class="verdict">') == 2


def test_a_result_with_any_value_spoilt_is_read_or_refused_in_our_words(tuned, spoilt, monkeypatch):
    monkeypatch.setattr(figures, "render", lambda *_: "")  # their own test breaks figures
    content, choose = json.loads((tuned / "tune.json").read_text()), random.Random(0)
    del content["checksum"]
    for split in content["curves"]:
        content["curves"][split] = content["curves"][split][:3]  # or most of what is spoilt would be there
    refused = 0
    for _ in range(200):
        (tuned / "tune.json").write_text(json.dumps(spoilt(content, choose)))
        try:
            result = read_tune(tuned)
        except SacvitError as fault:
            refused += 1
            assert "tune.json" in str(fault)
        else:
            assert summary_lines(result) and page_of(tuned)
    assert 0 < refused < 200
