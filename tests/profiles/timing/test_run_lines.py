"""A whole run, damaged place by place: it is refused by name, or read; nothing else."""

from __future__ import annotations

import json
import random
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from sacvit.bundle.errors import SacvitError
from sacvit.bundle.records import encode_line
from sacvit.profiles.power.source import NoPower
from sacvit.profiles.profile import profile_pair
from sacvit.profiles.reports.text import summary_lines
from sacvit.profiles.request import ProfileRequest
from sacvit.profiles.results.result import summarise
from sacvit.profiles.timing.store import read_store

DAMAGE = ([], {}, None, "x", -1, 0, 1.5, True, 10**400, [[]], {"a": []})


@pytest.fixture(scope="session")
def whole_run(plain_bundle, tmp_path_factory):
    """The lines of a run with power, layers, parts and the plain ViT."""
    folder = tmp_path_factory.mktemp("whole")
    ee, sac, plain = (plain_bundle / f"{name}.onnx" for name in ("ee", "sac", "plain"))
    request = ProfileRequest(
        engine=(ee, sac), plain=plain, iterations=3, warmup_ms=1.0, layers=True, thresholds=[0.3, 0.5]
    )
    source = NoPower("none here")
    profile_pair(request, folder, lambda *_: None, lambda line: None, open_source=lambda *_, **__: source)
    return folder


def read_all(folder):
    store = read_store(folder)
    summary_lines(summarise(store))


def damaged(folder, number, damage, tmp_path):
    """A copy of the run with one line changed."""
    if not (tmp_path / "run.jsonl").exists():
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    lines = (folder / "run.jsonl").read_text().splitlines()
    lines[number] = damage(json.loads(lines[number]))
    (tmp_path / "run.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def places(value, path=()):
    """Every entry of a line, the nested ones too."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def put(line, path, value):
    *outer, last = path
    inside = line
    for key in outer:
        inside = inside[key]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return encode_line(line).decode()


def test_a_run_with_one_wrong_entry_is_refused_by_its_line_or_read(whole_run, tmp_path):
    """Each kind of line, at places and with values that a seed draws: 60 damaged runs."""
    lines = [json.loads(line) for line in (whole_run / "run.jsonl").read_text().splitlines()]
    first = {line["kind"]: number for number, line in reversed(list(enumerate(lines)))}
    rng = random.Random(0)
    refused = 0
    for _ in range(60):
        number = first[rng.choice(sorted(first))]
        path = rng.choice(list(places(lines[number])))
        value = rng.choice([*DAMAGE, ...])
        folder = damaged(whole_run, number, lambda line, at=path, new=value: put(line, at, new), tmp_path)
        try:
            read_all(folder)
        except SacvitError as reason:
            refused += 1
            assert "run.jsonl" in str(reason) or ".npz" in str(reason), (path, value, reason)
    assert refused > 15


@pytest.mark.parametrize(
    ("kind", "path", "value", "place"),
    [
        ("window", ("round",), ..., "required field `round`"),
        ("window", ("power",), [], "Expected `object`, got `array` - at `$.power`"),
        ("window", ("images",), 0, ">= 1 - at `$.images`"),
        ("window", ("counts",), {"exit": 99}, "at `$.counts`"),
        ("window", ("session",), 7, "no session 7 begins before this line"),
        ("session", ("conditions",), [], "at `$.conditions`"),
        ("session", ("power", "source"), "a sensor", "beside a source - at `$.power`"),
        ("state", ("changes",), [{}], "required field `text` - at `$.changes[0]`"),
        ("look", ("before", "power_mode"), [], "at `$.before.power_mode`"),
        ("layers", ("stages", "EE", 1), {}, "`$.stages.EE`"),
        ("header", ("format",), "1", "at `$.format`"),
        ("command", ("kind",), "cmd", "found 'cmd' - at `$.kind`"),
    ],
)  # fmt: skip
def test_a_damaged_line_is_named_with_its_number_its_place_and_the_cure(whole_run, tmp_path, kind, path, value, place):
    lines = [json.loads(line) for line in (whole_run / "run.jsonl").read_text().splitlines()]
    number = next(number for number, line in enumerate(lines) if line["kind"] == kind)
    folder = damaged(whole_run, number, lambda line: put(line, path, value), tmp_path)
    with pytest.raises(
        SacvitError, match=rf"run\.jsonl, line {number + 1} is damaged: .*{re.escape(place)}.*measure again"
    ):
        read_all(folder)


def test_a_number_in_a_run_that_was_changed_is_refused(whole_run, tmp_path):
    lines = [json.loads(line) for line in (whole_run / "run.jsonl").read_text().splitlines()]
    number = next(number for number, line in enumerate(lines) if line["kind"] == "window")
    folder = damaged(whole_run, number, lambda line: json.dumps({**line, "duration_s": 9.0}), tmp_path)
    with pytest.raises(SacvitError, match=rf"line {number + 1} is damaged: its checksum does not fit.*measure again"):
        read_all(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: {name: values for name, values in arrays.items() if name != "total"},
        lambda arrays: {**arrays, "total": arrays["total"][:-1]},
        lambda arrays: {**arrays, "SAC": arrays["SAC"].reshape(-1, 1)},
        lambda arrays: {**arrays, "EE": np.full_like(arrays["EE"], np.nan)},
        lambda arrays: {**arrays, "survivors": np.array(["x"] * len(arrays["survivors"]))},
        lambda arrays: {name: values[:-1] if name != "confidence" else values for name, values in arrays.items()},
    ],
    ids=["one is missing", "one is shorter", "a table", "no number", "texts", "fewer passes than the line says"],
)
def test_arrays_that_are_not_those_of_their_line_are_refused_by_name(whole_run, tmp_path, change):
    shutil.copytree(whole_run, tmp_path, dirs_exist_ok=True)
    store = read_store(tmp_path)
    line = store.of("window")[0]
    np.savez(tmp_path / line["file"], **change(store.arrays(line)))
    with pytest.raises(SacvitError, match=re.escape(line["file"])):
        read_all(tmp_path)


def test_a_run_that_goes_on_refuses_damaged_lines_too(whole_run, plain_bundle, tmp_path):
    request = ProfileRequest(engine=(plain_bundle / "ee.onnx", plain_bundle / "sac.onnx"), iterations=3, warmup_ms=1.0)
    lines = [json.loads(line) for line in (whole_run / "run.jsonl").read_text().splitlines()]
    number = next(number for number, line in enumerate(lines) if line["kind"] == "window")
    folder = damaged(whole_run, number, lambda line: put(line, ("round",), ...), tmp_path)
    with pytest.raises(SacvitError, match=rf"line {number + 1} is damaged"):
        profile_pair(replace(request, thresholds=[0.3]), folder, lambda *_: None, lambda line: None)
