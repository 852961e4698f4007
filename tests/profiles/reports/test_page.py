"""The page around everything: self-contained, escaped, and refused where its packages are missing."""

from __future__ import annotations

import sys

import pytest

from sacvit.profiles.reports.page import missing_extra, write_page

jinja2 = pytest.importorskip("jinja2")
CONTENT = {"title": "tegrastats: a", "about": [], "summary": ["1 sample"], "figures": []}


def written(path, **changes):
    write_page(path, "tegrastats", CONTENT | changes)
    return path.read_bytes().decode()


def test_a_page_may_load_and_run_nothing(tmp_path):
    text = written(tmp_path / "a.html")
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text
    assert "<script" not in text and "@import" not in text and "url(" not in text


def test_every_text_is_escaped(tmp_path):
    evil = "</pre><script>alert(1)</script>"
    text = written(
        tmp_path / "a.html", title=evil, about=[(evil, evil)], summary=[evil], figures=[(evil, "<svg></svg>")]
    )
    assert "<script" not in text and text.count("&lt;script&gt;") == 6


def test_both_themes_have_the_same_colours(tmp_path):
    text = written(tmp_path / "a.html")
    light, dark = (text.split("--surface: ")[place].split(";")[0] for place in (1, 2))
    assert "prefers-color-scheme: dark" in text and light != dark


def test_a_name_that_is_no_text_is_shown(tmp_path):
    assert "\\udcff" in written(tmp_path / "a.html", title="a\udcff")


def test_an_entry_that_a_template_lacks_is_an_error_and_leaves_the_page_before(tmp_path):
    before = written(tmp_path / "a.html")
    with pytest.raises(jinja2.UndefinedError, match="verdict"):
        write_page(tmp_path / "a.html", "tune", CONTENT)
    assert (tmp_path / "a.html").read_text() == before


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_a_package_that_is_missing_is_named_with_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    assert name in missing_extra() and "pip install 'sacvit[report]'" in missing_extra()
