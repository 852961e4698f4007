"""sacvit-build on the pretended GPU of tests/fake_gpu, with what real TensorRTs get wrong planted in it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sacvit.bundle.errors import DeviceError, EngineError, GuardError, PlanError, UsageError
from sacvit.bundle.files import sha256_of
from sacvit.bundle.manifest import read_manifest, write_manifest
from sacvit.bundle.plan_record import read_plan_record
from sacvit.bundle.records import encode_record
from sacvit.commands.build import main
from sacvit.export.plans import build as module
from sacvit.export.plans import check, child, stages
from sacvit.export.plans.build import Plans
from sacvit.export.plans.ladder import Rung
from sacvit.export.plans.request import BuildRequest
from sacvit.export.plans.trt_builder import BuildOptions, build_plan
from sacvit.export.plans.worker import run_job
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.onnx import OnnxStage

pytestmark = pytest.mark.programs

BUNDLE = Path(__file__).parents[2] / "runtime" / "bundles" / "typed"
NAMES = {"ee.plan", "ee.plan.json", "sac.plan", "sac.plan.json"}
FIXED = BUNDLE.parent / "fixed"
ALONE = ["--target", "tensorrt"]
BLOCKED = (
    "import sys\nfor name in ('torch', 'onnx', 'onnx_graphsurgeon', 'cv2', 'matplotlib'): sys.modules[name] = None\n"
)


def build(folder: Path, out: Path | None = None, **options: Any) -> Plans:
    return module.build(folder, out, BuildRequest(**options))


@pytest.fixture
def here(fake_gpu) -> Any:
    fake_gpu.work_here()
    return fake_gpu


@pytest.fixture
def copy(tmp_path) -> Path:
    shutil.copytree(BUNDLE, tmp_path / "bundle")
    return tmp_path / "bundle"


def rungs(plans: Any) -> list[str]:
    return [outcome.rung.name for outcome in plans.outcomes]


def sidecar_of(folder: Path, stage: str = "ee") -> dict[str, Any]:
    return dict(json.loads((folder / f"{stage}.plan.json").read_text()))


def header_of(folder: Path) -> dict[str, Any]:
    """What the stand-in for TensorRT was told, which it writes in front of its plan."""
    return dict(json.loads((folder / "ee.plan").read_bytes()[28:].partition(b"\n")[0]))


# What is built


@pytest.mark.parametrize(
    ("version", "rung"),
    [("8.6", "INT8, by flags"), ("10.16", "INT8, strongly typed"), ("11.4", "INT8, strongly typed")],
)
def test_the_lowest_exported_precision_is_built_the_versions_way(here, tmp_path, version, rung):
    here.become(version)
    assert rungs(build(BUNDLE, tmp_path / "out")) == [rung, rung]


@pytest.mark.parametrize(("version", "is_named"), [("8.6", True), ("10.3", False)])
def test_an_int8_file_that_8_6_does_not_parse_may_need_qdq_weights(here, tmp_path, version, is_named):
    here.become(version)
    (tmp_path / "ee.int8.onnx").write_bytes(b"no model")
    rung, options = Rung("INT8, by flags", "int8", "weak"), BuildOptions((1,), None, None, None)
    with pytest.raises(PlanError) as found:
        build_plan(tmp_path / "ee.int8.onnx", "EE", rung, options, tmp_path / "ee.plan")
    assert ("--qdq-weights" in str(found.value)) == is_named


@pytest.mark.parametrize(("version", "count"), [("10.3", 2), ("10.16", 1)])
def test_on_10_3_both_typings_are_built_and_on_10_16_one(here, tmp_path, version, count):
    here.become(version)
    plans = build(BUNDLE, tmp_path / "out", family="fp16")
    assert [len(outcome.tried) for outcome in plans.outcomes] == [count, count]


def test_of_two_typings_the_faster_one_is_kept(here, tmp_path, monkeypatch):
    real = run_job
    times = {"FP16, strongly typed": 2.0, "FP16, by flags": 1.0}
    rung = []

    def job(spec, work, report):
        if spec["job"] == "build":
            rung.append(spec["rung"]["name"])
        done = real(json.loads(json.dumps(spec)))
        return {**done, "latency_ms": {"1": times[rung[-1]]}} if spec["job"] == "verify" else done

    for of_a_job in (check, stages):
        monkeypatch.setattr(of_a_job, "run_child", job)
    assert rungs(build(BUNDLE, tmp_path / "out", family="fp16")) == ["FP16, by flags"] * 2


@pytest.mark.parametrize("wanted", ["int8", "fp16", "fp32"])
def test_built_plans_run_as_a_pipeline(here, tmp_path, wanted):
    plans = build(BUNDLE, tmp_path / "out", family=wanted)
    pipeline = Pipeline.load(plans.ee, plans.sac)
    assert pipeline(pipeline.image_slots(1)[0].copy()).stage in ("EE", "SAC")


def test_an_int8_plan_gates_at_its_own_threshold(here, tmp_path):
    plans = build(BUNDLE, tmp_path / "out", family="int8")
    manifest, kept = read_manifest(BUNDLE), read_plan_record(plans.ee).record.precision
    assert Pipeline.load(plans.ee, plans.sac).threshold == manifest.variants[kept].threshold.value


def test_fp32_plans_clear_tf32(here, tmp_path):
    build(BUNDLE, tmp_path / "out", family="fp32")
    assert sidecar_of(tmp_path / "out")["build"]["flags"] == ["-TF32"]
    assert header_of(tmp_path / "out")["flags"] == []


def test_reduced_plans_leave_tf32_on(here, tmp_path):
    build(BUNDLE, tmp_path / "out", family="fp16")
    assert "TF32" in header_of(tmp_path / "out")["flags"]


def test_several_batches_get_a_profile_each_and_survivors_the_powers_of_two(here, tmp_path):
    build(BUNDLE, tmp_path / "out", family="fp32", batches=(6, 1))
    ee, sac = (sidecar_of(tmp_path / "out", stage) for stage in ("ee", "sac"))
    assert (ee["batches"], ee["capacity"]) == ([1, 6], 6)
    assert (sac["batches"], sac["capacity"]) == ([1, 2, 4, 6], 6)
    assert [profile["row"] for profile in sac["build"]["profiles"]] == [[1], [2], [4], [6]]
    assert {profile["image"][0] for profile in sac["build"]["profiles"]} == {6}


def test_graphs_of_a_fixed_batch_are_built_for_it(here, tmp_path):
    build(FIXED, tmp_path / "out")
    assert sidecar_of(tmp_path / "out")["batches"] == [4]


def test_the_sidecar_tells_origin_conditions_and_checks(here, tmp_path):
    build(BUNDLE, tmp_path / "out", family="fp32", workspace_mib=128, builder_optimization_level=2)
    content = sidecar_of(tmp_path / "out")
    assert content["tensorrt"] == "10.3.0"
    assert content["gpu"] == {"name": "Fake GPU", "compute_capability": "8.7", "multiprocessors": 8}
    assert content["onnx"] == "ee.onnx" and content["onnx_sha256"] == sha256_of(BUNDLE / "ee.onnx")
    assert content["plan_sha256"] == sha256_of(tmp_path / "out" / "ee.plan")
    built = content["build"]
    assert (built["workspace_mib"], built["builder_optimization_level"], built["cuda_driver"]) == (128, 2, 12060)
    (tried,) = content["verification"]["tried"]
    assert tried["rung"] == "FP32" and tried["holds"] and tried["latency_ms"]
    assert {guard["name"] for guard in tried["guards"]} >= {
        "exit agreement, 1 per pass",
        "mean logit error, EE, 1 per pass",
    }


def test_plans_go_beside_the_graphs_where_no_folder_is_named(here, copy):
    before = {path.name for path in copy.iterdir()}
    build(copy, family="fp32")
    assert {path.name for path in copy.iterdir()} == before | NAMES


def test_the_timing_cache_of_one_build_serves_the_next(here, tmp_path):
    cache = tmp_path / "kernels.timing"
    states = []
    for _ in range(2):
        build(BUNDLE, tmp_path / "out", family="fp32", timing_cache=cache)
        states.append(sidecar_of(tmp_path / "out")["build"]["timing_cache"])
    assert states == ["new", "used"]


def test_a_timing_cache_of_another_tensorrt_is_started_over(here, tmp_path):
    cache = tmp_path / "kernels.timing"
    cache.write_bytes(b"timings of 8.5")
    build(BUNDLE, tmp_path / "out", family="fp32", timing_cache=cache)
    assert sidecar_of(tmp_path / "out")["build"]["timing_cache"] == "foreign"
    assert cache.read_bytes() == b"timings of 10.3.0"


def test_the_manifest_tells_of_every_graph_what_its_own_record_says():
    records = {path.name: OnnxStage(path).record for path in BUNDLE.glob("*.onnx")}
    assert len(records) == 8 and {name: read_manifest(BUNDLE).record(name) for name in records} == records


# The ladder, with planted faults


@pytest.mark.parametrize(
    ("version", "fault", "rung"),
    [
        ("10.16", "strong", "FP16, by flags"),
        ("10.3", "weak", "FP16, strongly typed"),
        ("11.4", "fused", "FP16, strongly typed, attention unfused"),
        ("11.4", "overflow", "FP16, strongly typed, attention in BF16"),
        ("11.4", "attention", "FP16, strongly typed, attention in FP32"),
        ("8.6", "attention", "FP16, by flags, attention in FP32"),
        ("8.6", "fused", "FP16, by flags, attention unfused"),
        ("10.3", "reduced", "FP32"),
        ("10.3", "build strong", "FP16, by flags"),
    ],
)
def test_a_fault_is_escaped_by_the_first_rung_that_does_not_have_it(here, tmp_path, version, fault, rung):
    here.become(version, fault)
    assert rungs(build(BUNDLE, tmp_path / "out", family="fp16")) == [rung, rung]


def test_a_fault_of_one_batch_size_is_seen_though_the_largest_has_none(here, tmp_path):
    here.become("11.4", "single")
    assert rungs(build(BUNDLE, tmp_path / "out", family="fp16", batches=(1, 4))) == ["FP32", "FP32"]


def test_every_job_is_a_process_of_its_own_so_a_plan_that_breaks_the_gpu_is_followed_by_the_next_rung(
    fake_gpu, few_goldens, tmp_path
):
    fake_gpu.become("11.4", "lose fused:EE")
    plans = build(few_goldens, tmp_path / "out", family="fp16")
    assert fake_gpu.device.calls.total() == 0  # none in this one
    assert rungs(plans) == ["FP16, strongly typed, attention in BF16", "FP16, strongly typed"]
    assert "the GPU gave up" in plans.outcomes[0].tried[0]["reason"]


def test_the_sidecar_tells_whether_attention_was_fused(here, tmp_path):
    here.become("11.4", "fused:SAC")
    build(BUNDLE, tmp_path / "out", family="fp16")
    ee, sac = (sidecar_of(tmp_path / "out", stage)["verification"]["tried"] for stage in ("ee", "sac"))
    assert [entry["fused_attention"] for entry in (*ee, *sac)] == [1, 1, 1, 0]


def test_a_fault_of_one_stage_leaves_the_other_as_it_is(here, tmp_path):
    here.become("11.4", "reduced:SAC")
    assert rungs(build(BUNDLE, tmp_path / "out", family="fp16")) == ["FP16, strongly typed", "FP32"]


def test_sac_in_fp32_behind_an_int8_ee_is_judged_by_the_limits_of_int8(here, tmp_path):
    here.become("11.4", "reduced:SAC")
    assert rungs(build(BUNDLE, tmp_path / "out", family="int8")) == ["INT8, strongly typed", "FP32"]


@pytest.mark.parametrize("fault", ["always", "nan"])
def test_when_no_rung_holds_nothing_is_written_and_the_guard_tells(here, copy, fault):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    here.become("10.3", fault)
    with pytest.raises(
        GuardError, match=r"no plan of EE reproduces the reference answers in .*, not even in FP32"
    ) as raised:
        build(copy, family="fp16")
    assert raised.value.exit_code == 3
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_when_nothing_can_be_built_tensorrts_own_reason_is_told(here, tmp_path):
    here.become("10.3", "build")
    with pytest.raises(PlanError, match="Error Code 10: Could not find any implementation for node") as raised:
        build(BUNDLE, tmp_path / "out", family="fp32")
    assert raised.value.exit_code == 1 and not (tmp_path / "out").exists()


def test_a_failed_build_leaves_the_plans_of_the_one_before(here, copy):
    build(copy, family="fp32")
    before = {name: (copy / name).read_bytes() for name in NAMES}
    here.become("10.3", "always:SAC")
    with pytest.raises(GuardError, match="no plan of SAC"):
        build(copy, family="fp16")
    assert {name: (copy / name).read_bytes() for name in NAMES} == before
    assert not list(copy.glob(".sacvit-*"))


def test_what_was_tried_is_told_line_by_line(here, tmp_path):
    here.become("11.4", "fused")
    lines: list[str] = []
    build(BUNDLE, tmp_path / "out", family="fp16", report=lines.append)
    assert lines[0] == "TensorRT 11.4.0.106 on Fake GPU (sm_87, 8 multiprocessors)"
    assert "ee.plan: FP16, strongly typed: FAILS its check" in lines[1]
    assert any("mean logit error, EE, 1 per pass: " in line and "wanted <= 0.01" in line for line in lines)
    assert any("ee.plan: FP16, strongly typed, attention unfused: passes its check" in line for line in lines)


# Bad input


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"batches": (0,)}, r"--batch takes sizes in 1 \.\. 256, found 0"),
        ({"batches": (1, 257)}, r"--batch takes sizes in 1 \.\. 256"),
        ({"batches": ()}, "found none"),
        ({"builder_optimization_level": 6}, r"--builder-optimization-level must lie in 0 \.\. 5, found 6"),
        ({"workspace_mib": 0}, "--workspace-mib must be at least 1, found 0"),
        ({"timing_cache": BUNDLE}, "--timing-cache .* is a folder; give a file's name"),
        ({"timing_cache": Path(__file__) / "a"}, "--timing-cache .*test_build.py is a file; give a folder"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(here, tmp_path, options, reason):
    with pytest.raises(UsageError, match=reason):
        build(BUNDLE, tmp_path / "out", **options)


def test_another_batch_than_the_graphs_are_fixed_to_is_refused(here, tmp_path):
    with pytest.raises(UsageError, match="--batch 1,2: the graphs are fixed to 4 images per pass"):
        build(FIXED, tmp_path / "out", batches=(2, 1))


@pytest.mark.parametrize(("wanted", "flag"), [("int8", "--int8"), ("fp16", "--fp16")])
def test_a_precision_that_was_not_exported_is_told_with_the_command(here, tmp_path, wanted, flag):
    with pytest.raises(UsageError, match=f"the bundle has no .* Export them: sacvit-export {flag}"):
        build(BUNDLE.parent / "bundle", tmp_path / "out", family=wanted)


def test_a_folder_that_is_no_bundle_is_told(here, tmp_path):
    with pytest.raises(EngineError, match=r"is not the folder of a bundle.*sacvit-export"):
        build(tmp_path)


def test_a_graph_that_is_not_the_exported_one_is_refused(here, copy):
    content = (copy / "ee.onnx").read_bytes()
    (copy / "ee.onnx").write_bytes(content + b"\0")
    with pytest.raises(EngineError, match=r"ee\.onnx is not the file that .* describes: its size or hash differs"):
        build(copy, family="fp32")


def test_a_missing_graph_is_told(here, copy):
    (copy / "sac.onnx").unlink()
    with pytest.raises(EngineError, match=r"sac\.onnx is missing"):
        build(copy, family="fp32")


def test_missing_goldens_are_told(here, copy):
    (copy / "goldens.npz").unlink()
    with pytest.raises(EngineError, match=r"goldens\.npz is missing"):
        build(copy, family="fp32")


@pytest.mark.parametrize("key", ["graphs", "model", "labels", "checkpoint", "threshold"])
def test_a_manifest_of_an_older_sacvit_is_told(here, copy, key):
    manifest = json.loads((copy / "sacvit.json").read_text())
    del manifest[key]
    (copy / "sacvit.json").write_bytes(encode_record(manifest))
    with pytest.raises(EngineError, match=r"is damaged"):
        build(copy, family="fp32")


@pytest.mark.parametrize(
    "damage",
    [
        lambda manifest: manifest["files"]["ee.onnx"].pop("bytes"),
        lambda manifest: manifest["files"]["ee.onnx"].update(sha256=3),
        lambda manifest: manifest.update(variants=[]),
        lambda manifest: manifest.update(batch="x"),
        lambda manifest: manifest.update(files=[]),
        lambda manifest: manifest["threshold"].pop("value"),
        lambda manifest: manifest["variants"]["fp16"].update(limits={"nothing": 1}),
    ],
    ids=range(7),
)
def test_a_damaged_manifest_is_one_message_before_anything_is_built(here, copy, damage):
    manifest = json.loads((copy / "sacvit.json").read_text())
    damage(manifest)
    (copy / "sacvit.json").write_bytes(encode_record(manifest))
    with pytest.raises(EngineError, match=r"sacvit\.json is damaged: .* at `\$"):
        build(copy, family="fp16")


def test_goldens_of_another_model_are_told(here, copy):
    manifest = read_manifest(copy)
    from dataclasses import replace

    from sacvit.bundle.goldens import read_goldens

    goldens = read_goldens(copy)
    replace(goldens, images=goldens.images[:, :16]).write(copy / "goldens.npz")
    manifest.goldens_sha256 = sha256_of(copy / "goldens.npz")
    write_manifest(copy, manifest)
    with pytest.raises(GuardError, match=r"goldens\.npz holds images \(16, 32, 3\), the engine takes \(32, 32, 3\)"):
        build(copy, family="fp32")


def test_a_manifest_cannot_send_the_builder_out_of_its_folder(here, copy, tmp_path):
    manifest = json.loads((copy / "sacvit.json").read_text())
    manifest["files"]["../secret.onnx"] = manifest["files"].pop("ee.onnx")
    (copy / "sacvit.json").write_bytes(encode_record(manifest))
    shutil.copy(BUNDLE / "ee.onnx", tmp_path / "secret.onnx")
    with pytest.raises(EngineError, match=r"bundle/secret\.onnx is missing"):
        build(copy, family="fp32")


def test_no_gpu_is_exit_code_5(here, tmp_path):
    here.reset(count=0)
    with pytest.raises(DeviceError, match="no GPU that CUDA can use") as raised:
        build(BUNDLE, tmp_path / "out")
    assert raised.value.exit_code == 5


def test_little_memory_is_warned_of(here, tmp_path):
    here.reset(memory_bytes=200 << 20)
    lines: list[str] = []
    build(BUNDLE, tmp_path / "out", family="fp32", workspace_mib=512, report=lines.append)
    assert any("MiB of memory are free, a build may want" in line and "--workspace-mib" in line for line in lines)


def test_the_workspace_is_a_quarter_of_the_free_memory_at_most(here, tmp_path):
    here.reset(memory_bytes=800 << 20)
    build(BUNDLE, tmp_path / "out", family="fp32")
    assert sidecar_of(tmp_path / "out")["build"]["workspace_mib"] == 200


def test_on_an_integrated_gpu_the_file_cache_counts_as_free(here, tmp_path, monkeypatch):
    here.reset(integrated=True, memory_bytes=300 << 20)
    monkeypatch.setattr(module, "available_memory_mib", lambda: 2000)
    build(BUNDLE, tmp_path / "out", family="fp32")
    assert sidecar_of(tmp_path / "out")["build"]["workspace_mib"] == 500


def test_a_build_in_another_power_mode_than_the_largest_is_warned_of(here, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "power_mode", lambda: "15W")
    lines: list[str] = []
    build(BUNDLE, tmp_path / "out", family="fp32", report=lines.append)
    assert lines[0].endswith(", power mode 15W") and "chosen and timed in power mode 15W" in lines[1]


# The children


def test_a_child_that_is_killed_is_told_as_such(fake_gpu, few_goldens, tmp_path):
    fake_gpu.become("10.3", "die")
    with pytest.raises(PlanError, match=r"that was to build ee\.plan was killed: memory ran out, most likely"):
        build(few_goldens, tmp_path / "out", family="fp32")


def test_an_error_of_a_child_keeps_its_kind_and_a_file_in_the_current_folder_is_not_run(
    fake_gpu, tmp_path, monkeypatch
):
    (tmp_path / "json.py").write_text("raise SystemExit('run from the current folder')")
    monkeypatch.chdir(tmp_path)
    fake_gpu.reset(count=0)
    with pytest.raises(DeviceError, match="no GPU that CUDA can use"):
        build(BUNDLE, tmp_path / "out")


def test_an_interrupt_ends_the_child_and_leaves_nothing(fake_gpu, copy, monkeypatch):
    before = {path.name for path in copy.iterdir()}
    killed = []
    real = subprocess.Popen

    class Interrupted(real):  # type: ignore[type-arg,misc,valid-type]
        def wait(self, timeout=None):
            if timeout is not None:
                raise KeyboardInterrupt
            killed.append(self.poll())
            return super().wait()

    monkeypatch.setattr(child.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(copy, family="fp32")
    assert killed and {path.name for path in copy.iterdir()} == before


def test_the_device_needs_neither_torch_nor_onnx(fake_gpu, few_goldens, tmp_path, monkeypatch):
    fake_gpu.become("10.16")  # of 10.3 both typings would be built
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKED)
    home = str(Path(fake_gpu.tensorrt.__file__).parent.parent)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{home}")
    code = "import sys; from sacvit.commands.build import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(few_goldens), *ALONE, "--out", str(tmp_path / "out"), "--precision", "fp16"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# The command


def test_the_command_prints_the_folder_and_the_next_command(here, tmp_path, capsys):
    assert main([str(BUNDLE), *ALONE, "--out", str(tmp_path / "out"), "--precision", "fp32", "--batch", "1,4"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'out'}\n"
    assert f"next: sacvit-run --engine {tmp_path / 'out' / 'ee.plan'} {tmp_path / 'out' / 'sac.plan'}" in printed.err


def test_json_holds_what_was_built(here, tmp_path, capsys):
    assert main([str(BUNDLE), *ALONE, "--out", str(tmp_path / "out"), "--precision", "fp32", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["EE"]["rung"] == "FP32" and content["machine"]["tensorrt"] == "10.3.0"


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--batch", "1,x"], 2, "--batch takes numbers with commas between them"),
        (["--batch", "0"], 2, "--batch takes sizes in 1 .. 256"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(here, tmp_path, capsys, arguments, code, reason):
    assert main([str(BUNDLE), *ALONE, "--out", str(tmp_path / "out"), *arguments]) == code
    assert reason in capsys.readouterr().err


def test_without_tensorrt_the_cure_is_told(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PYTHONPATH", "")
    assert main([str(BUNDLE), *ALONE, "--out", str(tmp_path / "out")]) == 1
    assert "this needs" in (said := capsys.readouterr().err) and "is not installed" in said and "JetPack" in said


# Called by the export


def test_the_export_builds_plans_where_tensorrt_is(fake_gpu, tiny_checkpoint, tmp_path, capsys):
    from sacvit.commands.export import main as export_main

    assert export_main(["--ckpt", str(tiny_checkpoint), "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} >= NAMES
    assert "next: sacvit-run --engine " + str(tmp_path / "out" / "ee.plan") in capsys.readouterr().err


def test_the_export_builds_none_when_told_so(fake_gpu, tiny_checkpoint, tmp_path):
    from sacvit.commands.export import main as export_main

    assert export_main(["--ckpt", str(tiny_checkpoint), "--out", str(tmp_path / "out"), "--no-build"]) == 0
    assert not NAMES & {path.name for path in (tmp_path / "out").iterdir()}


def test_the_export_goes_on_without_a_gpu(fake_gpu, tiny_checkpoint, tmp_path, capsys):
    from sacvit.commands.export import main as export_main

    fake_gpu.reset(count=0)
    assert export_main(["--ckpt", str(tiny_checkpoint), "--out", str(tmp_path / "out")]) == 0
    assert "no GPU that CUDA can use" in capsys.readouterr().err


def test_a_new_export_removes_the_plans_of_the_one_before(make_plans, tiny_bundle, tiny_checkpoint, tmp_path):
    from sacvit.commands.export import main as export_main

    out = shutil.copytree(tiny_bundle, tmp_path / "out")
    for name in NAMES:
        shutil.copy(make_plans() / name, out / name)
    assert export_main(["--ckpt", str(tiny_checkpoint), "--out", str(out), "--no-build"]) == 0
    assert not NAMES & {path.name for path in out.iterdir()}


def test_a_plan_that_flags_made_coarser_is_recorded_as_what_it_computes_in(here, tmp_path, monkeypatch):
    by_flags = Rung("FP16, types chosen by TensorRT", "fp32", "weak")
    monkeypatch.setattr(module, "ladder", lambda *_: [by_flags])
    plans = build(BUNDLE, tmp_path / "out", family="fp16")
    assert rungs(plans) == ["FP16, types chosen by TensorRT"] * 2
    assert {read_plan_record(path).record.precision for path in (plans.ee, plans.sac)} == {"fp16"}
    assert read_plan_record(plans.ee).onnx == "ee.onnx"


def test_a_plain_plan_that_fails_costs_the_pair_nothing(here, tmp_path, copy):
    (copy / "plain.json").write_text("{}")  # the bundle says that it has a plain ViT, and its file is not there
    lines: list[str] = []
    plans = build(copy, tmp_path / "out", family="fp32", report=lines.append)
    assert {path.name for path in plans.ee.parent.iterdir()} == NAMES
    assert any("no plain.plan" in line and "plain.onnx is missing" in line for line in lines)


def test_a_child_ends_with_its_parent_even_if_that_is_killed():
    child = (
        "import os, time; from sacvit.export.plans.worker import end_with_parent; end_with_parent(os.getppid());"
        " print('ready', flush=True); time.sleep(20); print('still there')"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.kill()
        assert process.stdout.read() == b""  # ends when nobody holds the pipe any more
