"""What sacvit-serve writes: configs that Triton's own schema reads, engines as they were, whole or not at all."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sacvit.bundle.errors import EngineError, SacvitError, UsageError
from sacvit.commands.serve import main
from sacvit.runtime.chain.gate import Gate
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.serving import repository
from sacvit.serving.description import About
from sacvit.serving.options import ServeOptions
from sacvit.serving.protobuf_text import text_of
from sacvit.serving.repository import write_repository

BUNDLE = Path(__file__).parents[1] / "runtime" / "bundles" / "bundle"


def config_of(folder: Path) -> Any:
    """The config as Triton's own schema reads it: an unknown field or a wrong type is an error."""
    text_format = pytest.importorskip("google.protobuf.text_format")
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    return text_format.Parse((folder / "config.pbtxt").read_text(), schema.ModelConfig())


def about_of(config: Any) -> About:
    parameters = {key: {"string_value": value.string_value} for key, value in config.parameters.items()}
    return About.from_config(json.dumps({"parameters": parameters}), "it is damaged")


def test_the_stages_are_two_models_of_the_server_s_own_backend(stages_repository: Path) -> None:
    for name, engine in (("sacvit_ee", "ee.onnx"), ("sacvit_sac", "sac.onnx")):
        config = config_of(stages_repository / name)
        assert (config.name, config.backend, config.max_batch_size) == (name, "onnxruntime", 0)
        copied = stages_repository / name / "1" / "model.onnx"
        assert copied.read_bytes() == (BUNDLE / engine).read_bytes()


def test_the_gate_batches_and_tells_what_its_queue_holds(pipeline: Pipeline, tmp_path: Path) -> None:
    write_repository(pipeline, tmp_path, ServeOptions(max_batch=8, max_queue=20))
    config = config_of(tmp_path / "sacvit")
    assert (config.backend, config.max_batch_size, config.HasField("dynamic_batching")) == ("python", 2**31 - 1, True)
    assert list(config.dynamic_batching.preferred_batch_size) == [320]
    assert not config.dynamic_batching.HasField("default_queue_policy")  # it would stop the batcher: see chain.py
    about = about_of(config)
    assert (about.max_batch, about.max_queue) == (8, 20)


def test_pictures_come_in_one_input_of_bytes(python_repository: Path) -> None:
    """Triton joins no requests whose inputs differ: every change would cut the queue, which then is never seen full."""
    inputs = config_of(python_repository / "sacvit").input
    assert [(one.name, one.data_type, list(one.dims), one.optional) for one in inputs] == [("image", 13, [1], False)]


def test_the_stages_warm_up_and_the_gate_does_it_itself(stages_repository: Path) -> None:
    counts = [len(config_of(stages_repository / name).model_warmup) for name in ("sacvit_ee", "sacvit_sac", "sacvit")]
    assert counts == [1, 1, 0]


@pytest.mark.parametrize("place", ["cpu", "gpu"])
def test_instances_are_where_the_engines_run(pipeline: Pipeline, tmp_path: Path, place: Any) -> None:
    write_repository(pipeline, tmp_path, ServeOptions(device=place, instances=3))
    kinds = [config_of(tmp_path / name).instance_group[0] for name in ("sacvit_ee", "sacvit_sac", "sacvit")]
    wanted = 1 if place == "gpu" else 2  # KIND_GPU, KIND_CPU
    assert [(group.count, group.kind) for group in kinds] == [(3, wanted), (3, wanted), (3, 2)]
    assert not any(group.gpus for group in kinds)  # each GPU has its own


def test_a_gate_that_runs_engines_on_a_gpu_is_on_the_one_that_the_runtime_takes(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    """Else a machine of eight GPUs would run eight instances on the first."""
    write_repository(pipeline, tmp_path, ServeOptions(python_only=True, device="gpu"))
    group = config_of(tmp_path / "sacvit").instance_group[0]
    assert (group.kind, list(group.gpus)) == (1, [0])


def test_labels_go_with_the_logits(pipeline: Pipeline, tmp_path: Path) -> None:
    labels = ["a b", "c\nd", 'e"f\\', "ü", "g"] + [str(index) for index in range(len(pipeline.labels or []) - 5)]
    ee, sac = pipeline.ee, pipeline.sac
    for stage in (ee, sac):
        stage.record = replace(stage.record, labels=labels)
    try:
        write_repository(Pipeline(ee, sac, 0.5), tmp_path, ServeOptions())
    finally:
        for stage in (ee, sac):
            stage.record = replace(stage.record, labels=pipeline.labels)
    output = next(entry for entry in config_of(tmp_path / "sacvit_ee").output if entry.name == "logits")
    assert output.label_filename == "labels.txt"
    assert (tmp_path / "sacvit_ee" / "labels.txt").read_text("utf-8").splitlines()[:4] == ["a b", "c d", 'e"f\\', "ü"]
    assert about_of(config_of(tmp_path / "sacvit")).labels == labels


@pytest.mark.parametrize("label", ["\ud800", "x" * 1001])
def test_a_label_that_cannot_be_served_is_refused_before_anything_is_written(
    engines: Any, tmp_path: Path, label: str
) -> None:
    pair = Pipeline.load(*engines, provider="cpu")
    pair.labels = [label, *(pair.labels or [])[1:]]
    with pytest.raises(UsageError, match=r"ee\.onnx cannot be served: label 0 h"):
        write_repository(pair, tmp_path / "models", ServeOptions())
    assert not (tmp_path / "models").exists()


def test_more_pixels_than_a_request_may_have_are_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="500000 images of 32 x 32 pixels per request; the limit is 1024 MiB"):
        write_repository(pipeline, tmp_path / "models", ServeOptions(max_batch=500_000))


def test_no_output_is_text(pipeline: Pipeline, tmp_path: Path) -> None:
    """See `OUTPUTS`: of text, a client can ask for classes and end the server."""
    write_repository(pipeline, tmp_path, ServeOptions())
    kinds = [
        output.data_type
        for name in ("sacvit_ee", "sacvit_sac", "sacvit")
        for output in config_of(tmp_path / name).output
    ]
    assert 13 not in kinds  # TYPE_STRING


def test_the_gate_s_defaults_are_those_of_the_pair(pipeline: Pipeline, tmp_path: Path) -> None:
    tuned = Pipeline(pipeline.ee, pipeline.sac, 0.42)
    tuned.gate = Gate(0.42, 1.7)
    write_repository(tuned, tmp_path, ServeOptions())
    about = about_of(config_of(tmp_path / "sacvit"))
    assert (about.threshold, about.temperature, about.grid) == (0.42, 1.7, pipeline.grid)
    assert about.preprocessing == pipeline.preprocessing
    records = [replace(stage.record, labels=None) for stage in (pipeline.ee, pipeline.sac)]
    assert [stage.record for stage in about.stages] == records and about.labels == pipeline.labels
    assert about.stages[0].outputs == pipeline.ee.outputs


def test_a_model_that_is_there_is_not_touched(python_repository: Path, pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match=r"models/sacvit exists: a server may be reading it. Give another --out"):
        write_repository(pipeline, python_repository, ServeOptions())


def test_a_repository_that_cannot_be_written_is_reported_before_engines_are_loaded(
    engines: Any, python_repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Pipeline, "load", None)
    for out, message in ((python_repository, "sacvit exists"), (Path(__file__), "is a file; give a folder")):
        assert main(["--engine", *engines, "--out", str(out)]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("is_new", [True, False])
def test_a_full_disk_leaves_nothing_half(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    out = tmp_path / "models"
    if not is_new:
        (out / "other").mkdir(parents=True)

    def fail(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(repository, "_copy_engine", fail)
    with pytest.raises(SacvitError, match=r"models cannot be written: .*No space left on device"):
        write_repository(pipeline, out, ServeOptions())
    assert not out.exists() if is_new else [path.name for path in out.iterdir()] == ["other"]


def test_a_model_that_somebody_else_writes_meanwhile_is_not_removed(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = repository._write_gate

    def late(*given: Any) -> None:
        whole(*given)
        (tmp_path / "models" / "sacvit_sac").mkdir()
        (tmp_path / "models" / "sacvit_sac" / "theirs").write_text("theirs")

    monkeypatch.setattr(repository, "_write_gate", late)
    with pytest.raises(SacvitError, match=r"models cannot be written: .*not empty"):
        write_repository(pipeline, tmp_path / "models", ServeOptions())
    assert [path.name for path in (tmp_path / "models").rglob("*")] == ["sacvit_sac", "theirs"]


def test_ctrl_c_leaves_nothing_half(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, placed = repository.os.replace, []

    def replaced(source: Path, target: Path) -> None:
        if placed:
            raise KeyboardInterrupt
        whole(source, target)
        placed.append(target.name)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(repository.os, "replace", replaced)
        write_repository(pipeline, tmp_path / "models", ServeOptions())
    assert placed == ["sacvit_ee"] and not (tmp_path / "models").exists()


KILLED = """
import os, signal, sys
from sacvit.commands.serve import main
from sacvit.serving import repository

def dying(function, call, counts=lambda *given: True):
    calls = []
    def wrapped(*given, **named):
        calls.extend([given] * counts(*given))
        if len(calls) == call and counts(*given):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **named)
    return wrapped

if sys.argv[1] == "write":
    repository._copy_engine = dying(repository._copy_engine, int(sys.argv[2]))
else:
    # Of the repository's files: digests of engines are kept in the same way, when a file is seen for the first time.
    repository.os.replace = dying(os.replace, int(sys.argv[2]), lambda source, target: "models" in str(target))
    # When all are placed. Not shutil.rmtree: Debian's tempfile takes it when it is imported.
    folder = repository.tempfile.TemporaryDirectory
    folder.cleanup = dying(folder.cleanup, 1)
main(sys.argv[3:])
"""


@pytest.mark.parametrize(
    ("place", "call", "code", "message"),
    [
        ("write", 1, 0, "Serve it"),
        ("write", 2, 0, "Serve it"),
        ("replace", 1, 0, "Serve it"),
        ("replace", 2, 2, "holds sacvit_ee without sacvit: "),
        ("replace", 3, 2, "holds sacvit_ee and sacvit_sac without sacvit: "),
        ("replace", 4, 2, "sacvit exists: a server may be reading it"),
    ],
)
def test_what_a_killed_command_left_is_cleared_or_named_by_the_next_one(
    engines: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, call: int, code: int, message: str
) -> None:
    words = ["--engine", *engines, "--out", str(tmp_path / "models")]
    command = [sys.executable, "-c", KILLED, place, str(call), *words]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert list((tmp_path / "models").glob(".sacvit-*"))
    assert main(words) == code
    assert message in capsys.readouterr().err and not list((tmp_path / "models").glob(".sacvit-*"))


def test_the_cure_for_a_half_placed_repository_cures_it(
    engines: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my models" / "sacvit_ee").mkdir(parents=True)
    words = ["--engine", *engines, "--out", str(tmp_path / "my models")]
    assert main(words) == 2
    cure = capsys.readouterr().err.partition("left: ")[2]
    subprocess.run(shlex.split(cure), check=True)
    assert main(words) == 0


# What the engines take


@pytest.mark.parametrize("name", ["bundle", "fixed"])
def test_a_config_says_of_each_tensor_what_the_graph_says(tmp_path: Path, name: str) -> None:
    """Triton's ONNX Runtime backend refuses a number where the graph is open, and the other way round."""
    engines = [str(BUNDLE.parent / name / f"{stage}.onnx") for stage in ("ee", "sac")]
    assert main(["--engine", *engines, "--out", str(tmp_path)]) == 0
    pair = Pipeline.load(*engines, provider="cpu")
    for model, stage in (("sacvit_ee", pair.ee), ("sacvit_sac", pair.sac)):
        config = config_of(tmp_path / model)
        values = [*stage.session.get_inputs(), *stage.session.get_outputs()]  # type: ignore[attr-defined]
        graph = {value.name: [side if isinstance(side, int) else -1 for side in value.shape] for value in values}
        assert {entry.name: list(entry.dims) for entry in (*config.input, *config.output)} == graph


@pytest.mark.parametrize(
    ("batches", "ee", "ee_profiles", "row", "sac_profiles"),
    [
        ((1, 4), -1, ["0", "1"], -1, ["0", "1", "2"]),
        ((4,), 4, [], -1, ["0", "1", "2"]),  # survivors come in powers of two
        ((1,), 1, [], 1, []),
    ],
)
def test_plans_are_served_with_all_of_their_profiles(
    make_plans: Any, tmp_path: Path, batches: Any, ee: int, ee_profiles: Any, row: int, sac_profiles: Any
) -> None:
    """Triton's TensorRT backend takes the first profile alone unless it is told, and compares each side that is fixed."""
    plans = make_plans(batches=batches)
    assert main(["--engine", str(plans / "ee.plan"), str(plans / "sac.plan"), "--out", str(tmp_path)]) == 0
    capacity = batches[-1]
    for name, counted, image, profiles in (
        ("sacvit_ee", ee, ee, ee_profiles),
        ("sacvit_sac", row, capacity, sac_profiles),
    ):
        config = config_of(tmp_path / name)
        assert (config.backend, config.max_batch_size) == ("tensorrt", 0)
        assert (tmp_path / name / "1" / "model.plan").is_file()
        group = config.instance_group[0]
        assert (group.kind, list(group.profile)) == (1, profiles)
        firsts = {entry.name: entry.dims[0] for entry in (*config.input, *config.output)}
        assert firsts.pop("image") == image and firsts.pop("logits") == counted
        assert firsts.pop("row", counted) == counted and set(firsts.values()) == {image}
        warmed = [[entry.dims[0] for key, entry in one.inputs.items() if key != "image"] for one in config.model_warmup]
        assert len(config.model_warmup) == max(1, len(profiles)) and all(side > 0 for dims in warmed for side in dims)
    about = about_of(config_of(tmp_path / "sacvit"))
    assert about.max_batch == capacity and about.stages[1].batches == ((1, 2, 4) if capacity == 4 else (1,))


def test_a_gate_with_plans_inside_loads_them_from_its_folder(make_plans: Any, tmp_path: Path) -> None:
    plans = make_plans(batches=(1, 4))
    engines = ["--engine", str(plans / "ee.plan"), str(plans / "sac.plan")]
    assert main([*engines, "--out", str(tmp_path), "--python-only"]) == 0
    folder = tmp_path / "sacvit" / "1"
    assert Pipeline.load(folder / "ee.plan", folder / "sac.plan").ee.batches == (1, 4)


@pytest.fixture
def rtx_engines(fake_gpu: Any, tmp_path: Path) -> list[str]:
    from sacvit.export.plans.build import build
    from sacvit.export.plans.request import BuildRequest

    fake_gpu.become("rtx-1.7")
    fake_gpu.reset(compute=(8, 9))
    fake_gpu.work_here()
    bundle = Path(__file__).parents[1] / "runtime" / "bundles" / "typed"
    plans = build(bundle, tmp_path / "engines", BuildRequest("fp32", library="rtx"))
    return ["--engine", str(plans.ee), str(plans.sac), "--out", str(tmp_path / "models")]


def test_engines_that_triton_has_no_backend_for_run_inside_the_gate(
    rtx_engines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(rtx_engines) == 2
    assert "--python-only" in capsys.readouterr().err
    assert main([*rtx_engines, "--python-only"]) == 0
    version = tmp_path / "models" / "sacvit" / "1"
    assert {path.name for path in version.iterdir()} == {
        *("ee.rtx", "ee.rtx.json", "sac.rtx", "sac.rtx.json", "model.py"),
    }


def test_more_images_than_plans_take_are_refused(
    make_plans: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plans = make_plans(batches=(1, 4))
    engines = ["--engine", str(plans / "ee.plan"), str(plans / "sac.plan")]
    assert main([*engines, "--out", str(tmp_path), "--max-batch", "5"]) == 2
    assert "--max-batch 5: these engines take at most 4 images" in capsys.readouterr().err


def test_text_is_escaped_as_protobuf_reads_it() -> None:
    assert text_of({"a": 'x"\\\n', "b": True, "c": [1, -1], "d": [{"e": 2}, {"e": 3}]}) == (
        'a: "x\\"\\\\\\n"\nb: true\nc: [1, -1]\nd {\n  e: 2\n}\nd {\n  e: 3\n}\n'
    )


@pytest.mark.parametrize(
    "config",
    [{}, {"parameters": {}}, {"parameters": {"sacvit": {"string_value": "no JSON"}}}]
    + [
        {"parameters": {"sacvit": {"string_value": json.dumps(content)}}}
        for content in ([], {"format": 1}, {"format": 2})
    ],
)
def test_a_config_that_is_not_ours_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="this model was not written by sacvit-serve, or its config is damaged"):
        About.from_config(json.dumps(config), "this model was not written by sacvit-serve, or its config is damaged")


# sacvit-serve


def test_the_command_prints_the_folders_and_says_how_to_serve(
    engines: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "models"
    assert main(["--engine", *engines, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [str(out / name) for name in ("sacvit_ee", "sacvit_sac", "sacvit")]
    assert f"tritonserver --model-repository {out}" in captured.err


def test_python_only_writes_the_gate_alone_with_the_engines_inside(engines: Any, tmp_path: Path) -> None:
    assert main(["--engine", *engines, "--out", str(tmp_path), "--python-only", "--threshold", "0.3"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sacvit"]
    assert sorted(path.name for path in (tmp_path / "sacvit" / "1").iterdir()) == ["ee.onnx", "model.py", "sac.onnx"]
    assert about_of(config_of(tmp_path / "sacvit")).threshold == 0.3


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--instances", "0"], 2, "--instances must be at least 1, found 0"),
        (["--max-batch", "0"], 2, "--max-batch must be at least 1, found 0"),
        (["--max-queue", "0"], 2, "--max-queue must be at least 1, found 0"),
        (["--threshold", "2"], 2, "--threshold must be at least 0 and at most 1, found 2"),
        (["--engine", "gone.onnx", "sac.onnx"], 4, "gone.onnx does not exist"),
        (["--engine", "ee.plan", "sac.plan", "--device", "cpu"], 2, "--device cpu: .plan engines run on a GPU"),
    ],
)
def test_a_mistake_is_one_message_and_its_exit_code(
    engines: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, message: str
) -> None:
    assert main(["--engine", *engines, "--out", str(tmp_path / "models"), *options]) == code
    error = capsys.readouterr().err
    assert message in error and error.startswith("sacvit-serve: ") and error.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_swapped_engines_are_refused(engines: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", *reversed(engines), "--out", str(tmp_path / "models")]) == 4
    assert "is the SAC stage, expected EE" in capsys.readouterr().err
