"""sacvit-report as a user calls it, on what the other commands wrote."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from sacvit.commands import profile, tune
from sacvit.commands.report import main
from sacvit.profiles.results.result_files import write_result
from sacvit.runtime.moments import utc_text

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

ROOT = Path(__file__).parents[1]
LOG = ROOT / "profiles" / "tegrastats" / "agx-orin-jp6-root.txt"
BUNDLE = ROOT / "runtime" / "bundles" / "typed"


@pytest.fixture(autouse=True)
def drawn_where_asked(request):
    """A test that does not ask for `narrow_figures` looks at no figure."""
    if "narrow_figures" not in request.fixturenames:
        request.getfixturevalue("figures_as_labels")


@pytest.fixture(scope="module")
def no_pages():
    """A function that calls a command as where the packages of its page are missing."""

    def call(command, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "jinja2", None)
            assert command.main([str(argument) for argument in arguments]) == 0

    return call


@pytest.fixture(scope="module")
def run(no_pages, plain_bundle, tmp_path_factory):
    """A folder of sacvit-profile --out: a chain and its plain ViT."""
    folder = tmp_path_factory.mktemp("run") / "out"
    engines = ["--engine", str(plain_bundle / "ee.onnx"), str(plain_bundle / "sac.onnx"), "--power", "none"]
    plain = ["--plain", str(plain_bundle / "plain.onnx"), "--threshold", "0.2,0.4"]
    no_pages(profile, *engines, *plain, "--iterations", "20", "--warmup-ms", "1", "--out", folder)
    return folder


@pytest.fixture(scope="module")
def tuned(no_pages, tmp_path_factory):
    """A folder of sacvit-tune --out."""
    home = tmp_path_factory.mktemp("tuned")
    shutil.copytree(BUNDLE, home / "bundle")
    for index in range(40):
        folder = home / "photos" / ["ant", "bee", "cat", "dog", "emu"][index % 5]
        folder.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(index).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        assert cv2.imwrite(str(folder / f"{index}.png"), cv2.resize(picture, (32, 32)))
    engines = ["--engine", str(home / "bundle" / "ee.onnx"), str(home / "bundle" / "sac.onnx"), "--provider", "cpu"]
    no_pages(tune, *engines, "--data", home / "photos", "--out", home / "out")
    return home / "out"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fails(arguments, code, *words, capsys):
    assert main([str(argument) for argument in arguments]) == code
    message = capsys.readouterr().err
    for word in words:
        assert word in message


def test_a_profile_becomes_a_page_in_its_folder_and_a_summary(narrow_figures, run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    assert main([str(folder)]) == 0
    told = capsys.readouterr()
    assert "=== sacvit ===" in told.out and f"written: {folder / 'report.html'}" in told.err
    assert "What the chain costs" in (folder / "report.html").read_text()


def test_a_tune_run_becomes_a_page_where_out_says(tuned, here, capsys):
    assert main([str(tuned), "--out", "a.html"]) == 0
    assert (
        "on the report split" in capsys.readouterr().out and "Accuracy against speed" in (here / "a.html").read_text()
    )


def test_two_profiles_are_set_side_by_side(run, here, capsys):
    other = shutil.copytree(run, here / "other")
    result = json.loads((other / "profile.json").read_text()) | {"batch": 2}
    write_result(result, other / "profile.json")
    assert main([str(run), str(other)]) == 0
    out, page = capsys.readouterr().out, (here / "comparison.html").read_text()
    assert "different: batch: 1 | 2" in out and "batch: 1 | 2" in page and 'aria-label="B over A"' in page


def test_a_run_against_itself_has_ratios_of_one_and_no_difference(run, capsys):
    assert main(["--text", str(run), str(run)]) == 0
    out = capsys.readouterr().out
    ratios = re.findall(r"(\d+\.\d{3})  (?:ms|images/s)$", out, re.MULTILINE)
    apart = re.findall(r"^different: (?![AB] is INVALID)", out, re.MULTILINE)  # a loaded machine makes both invalid
    assert not apart and ratios and set(ratios) == {"1.000"}


def test_several_tune_runs_are_one_figure(tuned, here, capsys):
    assert main([str(tuned), str(tuned), str(tuned)]) == 0
    assert (here / "comparison.html").read_text().count('<p class="verdict">') == 3


def test_a_log_becomes_a_page_with_power_load_and_temperatures(here, capsys):
    assert main([str(LOG)]) == 0
    page = (here / "agx-orin-jp6-root.html").read_text()
    assert {"Power", "GPU load", "Temperature", "Memory"} <= set(re.findall(r'aria-label="([^"]*)"', page))


def test_json_is_the_samples_and_no_page(here, capsys):
    assert main([str(LOG), "--json"]) == 0
    assert all(json.loads(line) for line in capsys.readouterr().out.splitlines()) and not list(here.iterdir())


def test_text_needs_neither_matplotlib_nor_jinja2_and_a_page_says_how_to_get_them(run, tuned, tmp_path):
    """In a process of its own, as on a device."""
    blocked = "import sys\nfor name in ('matplotlib', 'jinja2'): sys.modules[name] = None\n"
    code = (
        f"{blocked}import json\nfrom sacvit.commands.report import main\n"
        "for words in json.loads(sys.argv[1]):\n    print('\\f')\n    print(main(words))"
    )
    calls = [["--text", *given] for given in ([run], [tuned], [run, run], [tuned, tuned], [LOG])] + [[run]]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(calls, default=str)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    told = [text.split() for text in done.stdout.split("\f")[1:]]
    assert [words[-1] for words in told] == [*"000001"], done.stderr
    assert all(len(words) > 20 for words in told)
    assert "pip install 'sacvit[report]'" in done.stderr


def test_words_of_others_cannot_steer_the_terminal(run, here, capsys):
    result = json.loads((run / "profile.json").read_text())
    write_result(result | {"images": f"\x1b]0;owned\x07{result['images']}"}, here / "x.json")
    assert main(["--text", "x.json"]) == 0
    out = capsys.readouterr().out
    assert "owned" in out and "\x1b" not in out and "\x07" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere"], 1, "nowhere cannot be read: No such file"),
        (["."], 1, "holds neither profile.json nor tune.json"),
        (["RUN", "TUNED"], 2, "give one path, two profiles, several tune runs"),
        (["RUN", "RUN", "RUN"], 2, "give one path, two profiles, several tune runs"),
        (["LOG", "LOG"], 2, "give one path, two profiles, several tune runs"),
        (["RUN", "--json"], 2, "--json is for a tegrastats log"),
        (["RUN", "--out", "x.txt"], 2, "give a name that ends in .html"),
        (["RUN", "--out", "no/x.html"], 1, "the folder no does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments_that_cannot_be_are_refused(arguments, code, words, run, tuned, here, capsys):
    known = {"RUN": run, "TUNED": tuned, "LOG": LOG}
    fails([known.get(argument, argument) for argument in arguments], code, words, capsys=capsys)


@pytest.fixture
def lines_of_run(tmp_path):
    """Lines of sacvit-run --json beside which LOG was taken, if its times are UTC."""
    began = datetime(2025, 7, 21, 16, 33, 42, tzinfo=timezone.utc).timestamp()
    lines = [
        {"frame": place, "prepare_ms": 1, "ee_ms": 5, "sac_ms": None, "age_ms": 7, "monotonic_s": place / 10}
        | {"time": utc_text(began + place / 10)}
        for place in range(170)
    ]
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_run_and_a_log_of_tegrastats_become_one_page(narrow_figures, lines_of_run, tmp_path, capsys):
    out = tmp_path / "page.html"
    for paths in ([lines_of_run, LOG], [LOG, lines_of_run]):
        assert main([*map(str, paths), "--utc-offset", "0", "--out", str(out)]) == 0
        assert "VDD_GPU_SOC" in capsys.readouterr().out and "VDD_GPU_SOC" in out.read_text()


def test_a_run_and_a_log_that_do_not_overlap_are_refused(lines_of_run, capsys):
    assert main(["--text", str(lines_of_run), str(LOG), "--utc-offset=-05:00"]) == 2
    assert "--utc-offset=+00:00" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{run}", "{run}"], "a run and a log"),
        (["{run}", "--utc-offset", "1"], "give both"),
        (["{run}", "--json"], "--json is for"),
    ],
)
def test_options_that_do_not_fit_a_run_are_refused(lines_of_run, capsys, words, message):
    assert main([word.format(run=lines_of_run) for word in words]) == 2
    assert message in capsys.readouterr().err
