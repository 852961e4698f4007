"""sacvit-profile as a user calls it, on a small bundle and this machine's CPU."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sacvit.bundle.manifest import read_manifest, write_manifest
from sacvit.bundle.records import encode_record
from sacvit.commands.profile import main, tuned_top1
from sacvit.profiles.request import ProfileRequest
from sacvit.profiles.timing import pass_parts

pytestmark = pytest.mark.usefixtures("pages_where_asked")


@pytest.fixture(autouse=True)
def few_passes_apart(monkeypatch):
    """How many there are is test_pass_parts.py's."""
    monkeypatch.setattr(pass_parts, "MOST_PASSES", 20)


@pytest.fixture
def engines(plain_bundle):
    pair = str(plain_bundle / "ee.onnx"), str(plain_bundle / "sac.onnx")
    return ["--engine", *pair, "--power", "none", "--warmup-ms", "1"]


@pytest.fixture(scope="session")
def run_folder(plain_bundle, tmp_path_factory):
    """A run of three thresholds against the plain ViT, with layers."""
    folder = tmp_path_factory.mktemp("run") / "out"
    command = ["--engine", str(plain_bundle / "ee.onnx"), str(plain_bundle / "sac.onnx"), "--power", "none"]
    command += ["--plain", str(plain_bundle / "plain.onnx"), "--threshold", "0.2:0.6:0.2", "--iterations", "24"]
    assert main([*command, "--warmup-ms", "1", "--layers", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def result(run_folder):
    return json.loads((run_folder / "profile.json").read_text())


def fails(arguments, code, *words, capsys):
    assert main([str(argument) for argument in arguments]) == code
    message = capsys.readouterr().err
    for word in words:
        assert word in message


# What it measures


@pytest.mark.programs
def test_every_threshold_each_path_and_the_plain_vit_are_measured(result):
    (mode,) = result["modes"]
    assert list(mode["contenders"]) == ["always exit", "eta 0.2", "eta 0.4", "eta 0.6", "never exit", "plain ViT"]
    assert {contender["windows"] for contender in mode["contenders"].values()} == {3}
    assert {contender["images"] for contender in mode["contenders"].values()} == {24}


def test_the_exit_rate_falls_with_the_threshold(result):
    rates = [result["modes"][0]["contenders"][f"eta {eta}"]["exit_rate"] for eta in (0.2, 0.4, 0.6)]
    assert rates == sorted(rates, reverse=True) and rates[0] > rates[-1]


def test_every_pass_is_an_exit_or_a_full_one(result):
    for contender in result["modes"][0]["contenders"].values():
        paths = contender["paths_ms"]
        if "exit" in paths:
            assert paths["exit"]["n"] + paths["full"]["n"] == paths["all"]["n"] == 24


def test_break_even_is_the_formula_of_the_measured_means(result):
    contenders = result["modes"][0]["contenders"]
    exits, full, plain = (contenders[name]["ms_per_image"] for name in ("always exit", "never exit", "plain ViT"))
    told = result["modes"][0]["break_even"]["by_threshold"]["eta 0.4"]["latency"]
    if full <= exits:  # on a loaded machine; then there is no point at which they are equal
        assert told is None
        return
    assert told["exit_rate"] == pytest.approx((full - plain) / (full - exits), rel=1e-4)  # of rounded means
    assert told["gain"] == pytest.approx(plain / contenders["eta 0.4"]["ms_per_image"], rel=1e-4)
    assert told["margin"] == pytest.approx(contenders["eta 0.4"]["exit_rate"] - told["exit_rate"], abs=1e-5)


def test_power_that_was_not_measured_is_null_with_its_reason(result):
    (mode,) = result["modes"]
    assert mode["power"]["source"] is None and mode["power"]["reason"] == "--power none"
    assert mode["contenders"]["eta 0.4"]["energy"] == {"mj_per_image": None, "reason": "--power none"}


def test_the_state_of_the_machine_stands_beside_the_numbers(result):
    state = result["modes"][0]["state"]
    assert state["before"]["cores"] and state["after"]["kernel"] and dict(state["rows_before"])["Processor"]


def test_the_command_is_kept_without_passwords(engines, tmp_path, monkeypatch, images):
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), images[0])
    monkeypatch.setattr(sys, "argv", ["sacvit-profile", "--source", "rtsp://me:secret@camera/1"])
    assert main([*engines, "--iterations", "3", "--source", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "profile.json").read_text()
    assert "secret" not in text and "camera" in text


def test_a_run_goes_on_where_it_was_and_measures_only_what_is_new(engines, tmp_path, capsys):
    command = [*engines, "--iterations", "6", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    lines = (tmp_path / "out" / "run.jsonl").read_text().splitlines()
    assert main([*command, "--threshold", "0.5"]) == 0
    again = (tmp_path / "out" / "run.jsonl").read_text().splitlines()
    assert again[: len(lines)] == lines
    added = [json.loads(line) for line in again[len(lines) :]]
    assert {line["contender"] for line in added if line["kind"] == "window"} == {"eta 0.5"}


def test_a_finished_run_is_told_and_its_report_written_again(page, engines, tmp_path, capsys):
    command = [*engines, "--iterations", "6", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    (tmp_path / "out" / "report.html").unlink()
    assert main(command) == 0
    assert "already holds all windows" in capsys.readouterr().err and (tmp_path / "out" / "report.html").is_file()


def test_json_is_the_result_and_nothing_else_on_stdout(engines, capsys):
    assert main([*engines, "--iterations", "6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["modes"][0]["contenders"]


def test_the_summary_has_trtexec_s_lines_and_ours_behind_them(engines, capsys):
    assert main([*engines, "--iterations", "30"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^=== Performance summary === EE\nThroughput: \S+ qps\nLatency: min = ", out, re.MULTILINE)
    assert out.index("=== Performance summary ===") < out.index("=== sacvit ===")
    assert (
        "not known from this run: no plain ViT was measured: --plain" in out
        and "power: not measured: --power none" in out
    )


def test_exported_times_are_written_in_trtexec_s_spelling_too(engines, tmp_path):
    assert main([*engines, "--iterations", "3", "--exportTimes", str(tmp_path / "t.json")]) == 0
    assert {"startEnqMs", "computeMs", "stage", "path", "conf", "frame"} <= set(
        json.loads((tmp_path / "t.json").read_text())[0]
    )


def test_a_preset_tells_what_of_the_rules_was_not_kept(engines, tmp_path, capsys):
    assert main([*engines, "--preset", "single-stream", "--duration-s", "0.3", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    (contender,) = json.loads((tmp_path / "profile.json").read_text())["modes"][0]["contenders"].values()
    assert contender["scenario"]["value"] > 0
    assert "90th percentile latency, early-stopping estimate" in out and "not a result of MLPerf" in out
    assert re.search(r"MLPerf rule not met: \d+ s; the rules ask for 600", out)
    assert "always exit" not in out


@pytest.fixture
def busy_loops():
    """Programs that want more than all cores, from before the first window to the end."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range((os.cpu_count() or 1) + 1)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.programs
def test_a_disturbed_measurement_is_not_certified(engines, busy_loops, tmp_path, capsys):
    command = [
        *engines,
        "--preset",
        "single-stream",
        "--duration-s",
        "1.8",
    ]  # three windows; a preset takes one variant
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"^INVALID: \d+ of 1 windows were disturbed.* other programs took \d+% of the processor time", out, re.M
    )
    (mode,) = json.loads((tmp_path / "out" / "profile.json").read_text())["modes"]
    assert mode["valid"] is False
    loads = [contender["load"] for contender in mode["contenders"].values()]
    assert max(load["others"] for load in loads) > 0.1 and sum(load["disturbed_windows"] for load in loads)
    assert sum(load["repeated_windows"] for load in loads) <= 1


def test_ctrl_c_keeps_what_was_measured_and_ends_with_130(engines, tmp_path, monkeypatch, capsys):
    from sacvit.profiles.timing import contenders

    real = contenders.Chain.run_pass

    def run_pass(self, record):
        real(self, record)
        if self._next == 15:
            raise KeyboardInterrupt

    monkeypatch.setattr(contenders.Chain, "run_pass", run_pass)
    assert main([*engines, "--iterations", "12", "--out", str(tmp_path / "out")]) == 130
    assert json.loads((tmp_path / "out" / "profile.json").read_text())["modes"][0]["contenders"]
    assert "interrupted" in capsys.readouterr().err


def test_two_runs_into_one_folder_at_once_are_refused(engines, tmp_path, capsys):
    """Their windows would stand in one file under each other's sessions."""
    command = [*engines, "--iterations", "3", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    before = (tmp_path / "out" / "run.jsonl").read_bytes()
    holds = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(flush=True); input()"
    first = subprocess.Popen(
        [sys.executable, "-c", holds, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    first.stdout.readline()
    try:
        fails([*command, "--threshold", "0.5"], 2, "another", str(tmp_path / "out"), capsys=capsys)
    finally:
        first.communicate(b"\n")
    assert (tmp_path / "out" / "run.jsonl").read_bytes() == before


# The page


def test_the_page_is_written_beside_the_result(run_folder):
    assert "What the chain costs" in (run_folder / "report.html").read_text()


def test_a_machine_without_the_packages_of_the_page_prints_the_command_for_it(
    page, engines, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    folder = tmp_path / "an out"
    assert main([*engines, "--iterations", "3", "--out", str(folder)]) == 0
    assert f"sacvit-report '{folder}'" in capsys.readouterr().err
    assert (folder / "profile.json").is_file() and not (folder / "report.html").exists()


def test_the_result_names_its_host(result):
    assert result["host"] == platform.node() and result["top1"] is None


@pytest.mark.parametrize(("threshold", "value"), [(0.3, 0.94), (0.4, None)])
def test_top1_is_what_was_tuned_for_the_threshold_that_is_measured(threshold, value, plain_bundle, tmp_path):
    bundle = shutil.copytree(plain_bundle, tmp_path / "bundle")
    manifest = json.loads((bundle / "sacvit.json").read_text())
    entry = {"threshold": 0.3, "temperature": 1.0, "point": "fast", "report": {"top1": 0.94}, "data": {"report": "val"}}
    (bundle / "sacvit.json").write_bytes(encode_record({**manifest, "tuned": {"fp32": entry}}))
    found = tuned_top1(bundle / "ee.onnx", threshold)
    assert (found and found["value"]) == value


def test_names_from_outside_cannot_become_markup(page, engines, plain_bundle, tmp_path, images):
    import cv2

    shutil.copytree(plain_bundle, tmp_path / "b")
    evil = tmp_path / "<img src=x onerror=alert(1)>"
    evil.mkdir()
    cv2.imwrite(str(evil / "a.png"), images[0])
    command = ["--engine", str(tmp_path / "b" / "ee.onnx"), str(tmp_path / "b" / "sac.onnx"), "--power", "none"]
    assert (
        main([*command, "--iterations", "3", "--warmup-ms", "1", "--source", str(evil), "--out", str(tmp_path / "out")])
        == 0
    )
    text = (tmp_path / "out" / "report.html").read_text()
    assert "<img" not in text and "&lt;img" in text


# Going on


def test_a_damaged_run_is_told(engines, tmp_path, capsys):
    command = [*engines, "--iterations", "3", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    path = tmp_path / "out" / "run.jsonl"
    path.write_text(path.read_text().replace('"lead_passes"', '"other"'))
    fails(command, 1, "run.jsonl, line", "checksum", capsys=capsys)


def test_other_images_under_the_same_name_are_another_run(engines, tmp_path, capsys, images):
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), images[0])
    command = [*engines, "--iterations", "3", "--source", str(tmp_path / "a.png")]
    command += ["--out", str(tmp_path / "out")]
    assert main(command) == 0
    cv2.imwrite(str(tmp_path / "a.png"), images[1])
    fails(command, 2, "images_sha256", capsys=capsys)


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"scenario": "single-stream"}, 600.0),
        ({}, 30.0),
        ({"duration_s": 2.0}, 2.0),
    ],
)
def test_a_preset_lasts_as_long_as_the_rules_ask_for(engines, options, seconds):
    from sacvit.profiles.timing.subject import open_subject

    files = tuple(map(Path, engines[1:3]))
    assert open_subject(ProfileRequest(engine=files, **options)).duration_s == seconds


def test_thresholds_that_hardly_differ_are_two(engines, tmp_path):
    thresholds = "0.5000001,0.5000002"
    assert main([*engines, "--iterations", "3", "--threshold", thresholds, "--out", str(tmp_path)]) == 0
    (mode,) = json.loads((tmp_path / "profile.json").read_text())["modes"]
    assert {"eta 0.5000001", "eta 0.5000002"} <= set(mode["contenders"])


# Estimates


def test_an_estimate_is_called_one_and_says_what_to_run(engines, capsys):
    assert main([*engines[:3], "--estimate", "orin-nano-8gb"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ESTIMATE, nothing was measured") and "sacvit-profile --engine" in out


def test_an_estimate_says_that_its_exit_rate_is_derived(engines, capsys):
    assert main([*engines[:3], "--estimate", "orin-nano-8gb"]) == 0
    assert "The exit rate of 77% is derived" in capsys.readouterr().out
    assert main([*engines[:3], "--estimate", "orin-nano-8gb", "--json"]) == 0
    assert "does not state its exit rate" in json.loads(capsys.readouterr().out)["exit_rate_source"]


@pytest.mark.parametrize("changed", [{"colour": 1}, {"width": []}], ids=["unknown entry", "wrong type"])
def test_an_estimate_for_an_engine_with_a_damaged_config_names_the_file(changed, plain_bundle, tmp_path, capsys):
    import onnx

    model = onnx.load(plain_bundle / "ee.onnx")
    record = {entry.key: entry.value for entry in model.metadata_props}
    config = json.dumps({**json.loads(record["sacvit.config"]), **changed})
    onnx.helper.set_model_props(model, {**record, "sacvit.config": config})
    onnx.save(model, tmp_path / "ee.onnx")
    engines = ["--engine", tmp_path / "ee.onnx", plain_bundle / "sac.onnx"]
    fails(
        [*engines[:3], "--estimate", "agx-thor"],
        4,
        "ee.onnx has a damaged sacvit record",
        next(iter(changed)),
        capsys=capsys,
    )


def test_a_board_that_is_not_known_is_told_with_those_that_are(engines, capsys):
    fails([*engines[:3], "--estimate", "orin-nano"], 2, "orin-nano-8gb", capsys=capsys)


# Bad input


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.1", "1.1 does not lie in [0, 1]"),
        ("0.5:0.4:0.1", "gives 0 values"),
        ("0:1:0.000001", "1 to 101 can be"),
        ("0:1:0", "gives 0 values"),
        ("half", "give a number, a list"),
        ("-0.5", "give a number, a list"),
    ],
)
def test_thresholds_that_are_none_are_told(text, words, engines, capsys):
    fails([*engines, f"--threshold={text}"], 2, words, capsys=capsys)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--duration-s", "0"], 2, "--duration-s must be above 0"),
        (["--duration-s", "nan"], 2, "--duration-s must be above 0, found nan"),
        (["--warmup-ms", "-1"], 2, "--warmup-ms must be at least 0"),
        (["--iterations", "0"], 2, "--iterations must be at least 1"),
        (["--batch", "0"], 2, "--batch must be at least 1"),
        (["--batch", "65"], 2, "these engines take 1 to 64 images per pass"),
        (["--preset", "offline", "--iterations", "5"], 2, "leave --iterations out"),
        (["--preset", "single-stream", "--batch", "8"], 2, "asks one image at a time"),
        (["--power-modes", "a"], 2, "--power-modes a"),
        (["--power-modes", "0,1", "--iterations", "3"], 5, "this machine reports no power mode"),
        (["--power", "ina", "--iterations", "3"], 5, "no INA3221"),
        (["--source", "nowhere.mp4", "--iterations", "3"], 1, "nowhere.mp4"),
        (["--export-times", "x.txt"], 2, "give a name that ends in .json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be_are_told(options, code, words, engines, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [*engines[:3], *options] if "--power" in options else [*engines, *options]
    fails(arguments, code, words, capsys=capsys)


def test_nothing_to_do_is_told(capsys):
    fails([], 2, "--engine EE SAC", capsys=capsys)


def test_an_out_that_is_a_file_is_told(engines, tmp_path, capsys):
    (tmp_path / "f").write_text("")
    fails([*engines, "--out", tmp_path / "f"], 2, "is a file; give a folder", capsys=capsys)


def test_a_plain_vit_of_another_geometry_is_refused(engines, capsys):
    other = Path(__file__).parents[1] / "runtime" / "bundles" / "bundle" / "ee.onnx"
    fails([*engines, "--plain", other, "--iterations", "3"], 4, "--plain wants a plain ViT", capsys=capsys)


def test_a_plain_vit_in_another_precision_is_refused(plain_bundle, tmp_path, capsys, images):
    import onnx

    model = onnx.load(plain_bundle / "plain.onnx")
    record = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**record, "sacvit.precision": "int8"})
    onnx.save(model, tmp_path / "plain.onnx")
    engines = ["--engine", plain_bundle / "ee.onnx", plain_bundle / "sac.onnx"]
    fails([*engines, "--plain", tmp_path / "plain.onnx"], 2, "precision int8, the chain has fp32", capsys=capsys)


def test_an_estimate_takes_the_kernels_that_the_export_counted(bundles, tmp_path, capsys):
    shutil.copytree(bundles / "bundle", tmp_path / "build")
    manifest = read_manifest(tmp_path / "build")
    counts = {"ee": 99, "sac": 91, "plain": 88}
    manifest.compiled = [{"file": f"{stage}.onnx", "refusal": "", "launches": count} for stage, count in counts.items()]
    write_manifest(tmp_path / "build", manifest)
    engines = [str(tmp_path / "build" / name) for name in ("ee.onnx", "sac.onnx")]
    assert main(["--engine", *engines, "--estimate", "rtx-4090", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kernels"] == {"EE": 99, "SAC": 91, "plain": 88}
