"""Options from a file: --config and --print-config."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.commands import config
from sacvit.commands.config import parse_options, print_config
from sacvit.commands.run import build_parser, main

EVERY_KIND = """
threshold = 1
num_frames = 5
open-timeout-s = 2.5
json = true
fit = "crop"
engine = ["build/ee.onnx", "build/sac.onnx"]
camera = ["0", "rtsp://host/stream", "clip.mp4", "/dev/video0"]
on = ["label=bee", "camera-lost"]
to = ["snapshots:events", "stdout"]
save = "recordings/"
clip-s = "5,10"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sacvit.toml"


def parse(file: Path, text: str, *words: str) -> dict[str, object]:
    file.write_text(text)
    return vars(parse_options(build_parser(), ["--config", str(file), *words]))


def test_every_kind_of_option_is_read_from_the_file(file):
    found = parse(file, EVERY_KIND)
    folder = file.parent
    wanted = {
        "threshold": 1.0,
        "num_frames": 5,
        "open_timeout_s": 2.5,
        "json": True,
        "fit": "crop",
        "engine": [folder / "build" / "ee.onnx", folder / "build" / "sac.onnx"],
        "camera": ["0", "rtsp://host/stream", str(folder / "clip.mp4"), "/dev/video0"],
        "on": ["label=bee", "camera-lost"],
        "to": [f"snapshots:{folder / 'events'}", "stdout"],
        "save": f"{folder}/recordings/",
        "clip_s": (5.0, 10.0),
    }
    assert {name: found[name] for name in wanted} == wanted


def test_a_number_serves_as_a_name_and_one_entry_as_a_list(file):
    found = parse(file, "camera = 0\nweb = 8080\nengine = 'build'")
    assert (found["camera"], found["web"], found["engine"]) == (["0"], "8080", [file.parent / "build"])


def test_what_the_file_does_not_give_has_its_default(file):
    found = parse(file, "threshold = 0.5")
    without = vars(build_parser().parse_args([]))
    found.pop("from_file")
    assert found == without | {"threshold": 0.5, "config": file}


def test_the_command_line_takes_precedence_and_its_lists_replace_the_files(file):
    found = parse(file, EVERY_KIND, "--threshold", "0.25", "--camera", "1", "--engine", "a", "b")
    assert (found["threshold"], found["camera"], found["engine"]) == (0.25, ["1"], [Path("a"), Path("b")])
    assert found["on"] == ["label=bee", "camera-lost"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("treshold = 0.5", "sacvit-run has no option treshold (did you mean threshold?)"),
        ("check-camera = '0'", "check-camera is for the command line only"),
        ("num-frames = 1\nnum_frames = 2", "num_frames is given twice"),
        ("threshold = '0.5'", "threshold: expected a number, found a string"),
        ("threshold = true", "threshold: expected a number, found true or false"),
        ("batch = 1.5", "batch: expected an integer, found a number"),
        ("json = 1", "json: expected true or false, found an integer"),
        ("save = 2026-11-26", "save: expected a string, found a date or a time"),
        ("[events]\non = []", "sacvit-run has no option events"),
        ("camera = true", "camera: expected a string, found true or false"),
        ("camera = [[0]]", "camera: expected a string, found a list"),
        ("engine = []", "engine: expected at least one entry, found none"),
        ("provider = 'gpu'", "provider: expected one of auto, cpu, "),
        ("clip-s = '5'", "clip-s: --clip-s: give the seconds before and after an event"),
        ('save = "a\\u0000b"', "save: a string holds a zero byte"),
        (f"threshold = 1{'0' * 400}", "threshold: "),
        (f"threshold = 1{'0' * 5000}", "is no TOML: "),
        ("threshold = ", "is no TOML: "),
        (f"on = {'[' * 20_000}", "is no TOML: "),
        ("#" * (config.MAX_BYTES + 1), f"has more than {config.MAX_BYTES} bytes"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_the_file_and_the_key(file, text, message):
    with pytest.raises(UsageError) as fault:
        parse(file, text)
    assert str(file) in str(fault.value) and message in str(fault.value)


def test_a_file_that_is_no_text_is_refused(file):
    file.write_bytes(b"save = '\xff'")
    with pytest.raises(UsageError, match="is no TOML"):
        parse_options(build_parser(), ["--config", str(file)])


def test_a_missing_file_ends_the_command_with_2(tmp_path, capsys):
    assert main(["--config", str(tmp_path / "none.toml")]) == 2
    assert "none.toml: no such file" in capsys.readouterr().err


def printed(capsys, *words: str) -> str:
    assert main([*words, "--print-config"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--engine", "a/ee.onnx", "a/sac.onnx", "--camera", "0", "--camera", "clip.mp4", "--threshold", "0.1"],
        ["--save", "r/", "--clip-s", "5,0.5", "--on", 'label="a\\b\x7f\t\u00e9\U0001f41d"', "--to", "snapshots:e"],
        ["--json", "--loop", "--num-frames", "3", "--event-queue-mib", "1e-7", "--sheet", "s.png"],
    ],
)
def test_the_printed_file_gives_the_same_options(file, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    text = printed(capsys, *words)
    file.write_text(text)
    assert printed(capsys, "--config", str(file)) == text
    given, read = (
        vars(parse_options(build_parser(), words)),
        vars(parse_options(build_parser(), ["--config", str(file)])),
    )
    kept = [name for name in given if name not in ("config", "camera", "engine", "save", "sheet", "to")]
    assert {name: given[name] for name in kept} == {name: read[name] for name in kept}


def test_every_option_stands_in_the_printed_file(capsys):
    names = {line.removeprefix("# ").partition(" = ")[0] for line in printed(capsys).splitlines()[1:]}
    options = {action.option_strings[0].removeprefix("--") for action in build_parser()._actions}
    assert options - names == {"-h", "version", "print-completion", "check-camera", "config", "print-config"}


def test_a_name_that_is_no_text_cannot_be_printed():
    with pytest.raises(UsageError, match="is no text"):
        print_config(build_parser(), build_parser().parse_args(["--save", "\udcff.mp4"]))


def test_a_run_takes_its_options_from_the_file(file, engines, video, capsys):
    file.write_text(f"engine = {list(engines)}\ncamera = ['{video}']\nnum-frames = 2\njson = true")
    assert main(["--config", str(file)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
