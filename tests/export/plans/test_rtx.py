"""sacvit-build --target rtx: on the pretended GPU, and for real where TensorRT for RTX is, which builds without a GPU."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sacvit.bundle.errors import DeviceError, GuardError, UsageError
from sacvit.bundle.plan_record import read_rtx_record
from sacvit.commands.build import main
from sacvit.export.plans import build as module
from sacvit.export.plans.build import Plans
from sacvit.export.plans.request import BuildRequest

BUNDLE = Path(__file__).parents[2] / "runtime" / "bundles" / "typed"
RTX_4090 = {"name": "NVIDIA GeForce RTX 4090", "compute": (8, 9)}
FILES = {"ee.rtx", "ee.rtx.json", "sac.rtx", "sac.rtx.json"}
VERSION = "1.7.1.116"


@pytest.fixture
def here(fake_gpu: Any) -> Any:
    """A machine with TensorRT for RTX 1.7 and an RTX 4090."""
    fake_gpu.become("rtx-1.7")
    fake_gpu.reset(**RTX_4090)
    fake_gpu.work_here()
    return fake_gpu


def build(out: Path, *targets: str, family: str = "fp16", report: Any = lambda line: None) -> Plans:
    return module.build(BUNDLE, out, BuildRequest(library="rtx", targets=targets or None, family=family, report=report))


def rungs(plans: Plans) -> list[str]:
    return [outcome.rung.name for outcome in plans.outcomes]


def test_one_pair_of_files_is_for_all_gpus_that_are_named(here, tmp_path):
    build(tmp_path, "sm86", "sm89", "sm120")
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert read_rtx_record(tmp_path / "sac.rtx").targets == ("sm86", "sm89", "sm120")


def test_without_a_target_it_builds_for_the_gpu_of_this_machine(here, tmp_path):
    build(tmp_path)
    assert read_rtx_record(tmp_path / "ee.rtx").targets == ("sm89",)


def test_what_this_gpu_can_run_is_checked_here(here, tmp_path):
    build(tmp_path, "sm86", "sm89")
    found = read_rtx_record(tmp_path / "ee.rtx").verification
    assert found["gpu"].startswith("NVIDIA GeForce RTX 4090") and found["tried"][0]["holds"]


def test_a_wrong_fp16_engine_is_built_another_way(here, tmp_path):
    here.become("rtx-1.7", "fused")
    assert rungs(build(tmp_path, "sm89")) == ["FP16, strongly typed, attention unfused"] * 2


@pytest.mark.parametrize("machine", [{"count": 0}, {"compute": (7, 5)}], ids=["no GPU", "a GPU that is no target"])
def test_elsewhere_it_builds_and_reports_that_nothing_was_checked(here, tmp_path, machine):
    here.reset(**machine)
    lines: list[str] = []
    build(tmp_path, "sm89", report=lines.append)
    assert read_rtx_record(tmp_path / "ee.rtx").verification.get("gpu") is None
    assert any("nothing is checked" in line and "sacvit-build DIR --target rtx" in line for line in lines)


def test_engines_from_elsewhere_are_checked_and_not_built_again(here, tmp_path):
    here.reset(count=0)
    build(tmp_path, "sm86", "sm89")
    before = (tmp_path / "ee.rtx").read_bytes()
    here.reset(**RTX_4090)
    here.become("rtx-1.7", "build")  # a build would fail
    assert build(tmp_path).outcomes == []
    record = read_rtx_record(tmp_path / "sac.rtx")
    assert record.verification["gpu"].startswith("NVIDIA GeForce RTX 4090") and record.targets == ("sm86", "sm89")
    assert (tmp_path / "ee.rtx").read_bytes() == before


def test_an_engine_from_elsewhere_that_decides_wrongly_is_reported_with_the_build(here, tmp_path):
    here.reset(count=0)
    build(tmp_path, "sm86", "sm89")
    here.reset(**RTX_4090)
    here.become("rtx-1.7", "reduced:SAC")
    with pytest.raises(GuardError, match=r"sac\.rtx does not reproduce .* --target rtx --for sm86,sm89"):
        build(tmp_path)
    assert "gpu" not in read_rtx_record(tmp_path / "sac.rtx").verification


@pytest.mark.parametrize("change", ["version", "target", "record", "bundle"])
def test_engines_that_do_not_fit_are_built_again(here, tmp_path, change):
    folder = tmp_path / "bundle"
    shutil.copytree(BUNDLE, folder)
    request = BuildRequest(library="rtx", family="fp32", targets=("sm86",) if change == "target" else ("sm89",))
    module.build(folder, None, request)
    if change == "version":
        here.become("rtx-1.4")
    if change == "record":
        (folder / "sac.rtx.json").write_bytes(b"{")
    if change == "bundle":
        path = folder / "ee.rtx.json"
        content = json.loads(path.read_text()) | {"onnx_sha256": "0" * 64}
        from sacvit.bundle.records import encode_record

        path.write_bytes(encode_record(content))
    assert len(module.build(folder, None, BuildRequest(library="rtx", family="fp32")).outcomes) == 2


def test_a_gpu_that_no_target_is_for_is_a_missing_device(here, tmp_path):
    here.reset(name="NVIDIA H100", compute=(9, 0))
    with pytest.raises(DeviceError, match=r"does not run on NVIDIA H100 .* --for sm75,"):
        build(tmp_path)


def test_without_a_gpu_targets_must_be_named(here, tmp_path):
    here.reset(count=0)
    with pytest.raises(DeviceError, match=r"no GPU to build for .* --for sm75,"):
        build(tmp_path)


def test_a_target_that_only_newer_versions_know_is_refused_with_the_known(here, tmp_path):
    here.become("rtx-1.4")
    with pytest.raises(UsageError, match=r"1\.4\.0\.76 does not build for sm121\. It knows: --for .*sm89"):
        build(tmp_path, "sm121")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--for", "sm89"], "--target rtx"),
        (["--target", "rtx", "--timing-cache", "times"], "--timing-cache"),
        (["--target", "rtx", "--for", "sm87"], "no target 'sm87'"),
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(here, capsys, arguments, said):
    assert main([str(BUNDLE), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_command_says_what_comes_next_and_prints_json_that_is_json(here, tmp_path, capsys, caplog):
    here.reset(count=0)
    with caplog.at_level(logging.INFO):
        assert main([str(BUNDLE), "--out", str(tmp_path), "--target", "rtx", "--for", "sm89", "--json"]) == 0
    out = capsys.readouterr()
    found = json.loads(out.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert found["EE"]["mean_logit_error"] is None and found["machine"]["gpu"] is None
    assert f"sacvit-run --engine {tmp_path}/ee.rtx {tmp_path}/sac.rtx" in out.err


@pytest.mark.programs
def test_bindings_beside_libraries_of_another_version_are_refused(tmp_path):
    wheels = Path(sys.prefix) / "tensorrt-rtx"
    if not (wheels / VERSION / "tensorrt_rtx_libs").is_dir():
        pytest.skip(f"TensorRT for RTX {VERSION} is not here; make .venv/installed brings it")
    parts = [*(wheels / "1.6.1.120").glob("tensorrt_rtx_*libs*"), *(wheels / VERSION).glob("tensorrt_rtx_*bindings*")]
    (tmp_path / "mixed").mkdir()
    for part in parts:
        (tmp_path / "mixed" / part.name).symlink_to(part)
    code = "import sys; from sacvit.commands.build import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(BUNDLE), "--out", str(tmp_path / "out"), "--target", "rtx", "--for", "sm89"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "mixed"), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "do not fit together: pip install --upgrade" in done.stderr


@pytest.mark.programs
def test_a_real_compiler_builds_for_three_gpus_without_one(tmp_path):
    wheel = Path(sys.prefix) / "tensorrt-rtx" / VERSION
    if not (wheel / "tensorrt_rtx_libs").is_dir():
        pytest.skip(f"TensorRT for RTX {VERSION} is not here; make .venv/installed brings it")
    code = "import sys; from sacvit.commands.build import main; sys.exit(main(sys.argv[1:]))"
    options = ["--target", "rtx", "--for", "sm86,sm89,sm120", "--precision", "fp16", "--batch", "1,4"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(BUNDLE), "--out", str(tmp_path), *options],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(wheel), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = read_rtx_record(tmp_path / "sac.rtx")
    assert record.tensorrt_rtx == VERSION and record.record.precision == "fp16" and record.batches == (1, 2, 4)
    assert (tmp_path / "sac.rtx").stat().st_size == record.plan_bytes
