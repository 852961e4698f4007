"""sacvit-build without --target: what is tried, refused and chosen. Real backends; times are set by the tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit.bundle.errors import EngineError, GuardError, PlanError, UsageError
from sacvit.bundle.files import sha256_of
from sacvit.bundle.manifest import File, read_manifest, write_manifest
from sacvit.commands.build import main
from sacvit.export.choice import comparison, verdicts
from sacvit.export.choice.choose import choose_engine
from sacvit.export.choice.comparison import ROUNDS
from sacvit.export.choice.request import ChoiceRequest
from sacvit.export.choice.unfinished import FOLDER
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.choice import CHOICE_NAME, EngineChoice, read_choice

pytestmark = pytest.mark.programs

ONNXRUNTIME: dict[str, Any] = {"only": "onnxruntime"}


def choose(folder: Path, **options: Any) -> EngineChoice:
    return choose_engine(folder, ChoiceRequest(**{**ONNXRUNTIME, **options}))


def by_name(choice: EngineChoice) -> dict[str, Any]:
    return {candidate.name: candidate for candidate in choice.candidates}


def put_in_place_of(folder: Path, name: str, content: bytes) -> None:
    """Another file as the one that the manifest describes."""
    (folder / name).write_bytes(content)
    manifest = read_manifest(folder)
    file = manifest.files[name]
    manifest.files[name] = File(file.stage, file.precision, len(content), sha256_of(folder / name))
    write_manifest(folder, manifest)


# What is chosen


def test_every_precision_of_the_bundle_gets_a_verdict_and_the_fastest_is_chosen(in_this_process, bundle):
    in_this_process.slow.update({"onnxruntime fp32": 2.0, "onnxruntime fp16": 1.0, "onnxruntime int8fp16": 3.0})
    choice = choose(bundle)
    assert set(by_name(choice)) == {f"onnxruntime {name}" for name in ("fp32", "fp16", "int8", "int8fp16")}
    assert choice.choice == "onnxruntime int8" and read_choice(bundle) == choice
    assert {"onnxruntime-cuda", "onnxruntime-tensorrt"} <= set(choice.absent)


def test_a_slow_candidate_is_not_chosen(in_this_process, bundle):
    in_this_process.slow.update(dict.fromkeys(("onnxruntime int8", "onnxruntime fp16", "onnxruntime int8fp16"), 9.0))
    assert choose(bundle).choice == "onnxruntime fp32"


def test_every_turn_asks_all_and_another_one_comes_first(in_this_process, bundle):
    choose(bundle, family="fp16")
    assert len(in_this_process.asked) == 2 * ROUNDS
    assert [in_this_process.asked[place] for place in (0, 2)] == ["onnxruntime fp32", "onnxruntime fp16"]


def test_the_pipeline_of_the_folder_is_the_choice(in_this_process, bundle):
    in_this_process.slow["onnxruntime fp32"] = 2.0
    choose(bundle, family="fp16")
    assert "ee.fp16.onnx" in repr(Pipeline.load(bundle))


def test_openvino_is_tried_where_it_is(in_this_process, bundle):
    pytest.importorskip("openvino")
    in_this_process.slow["onnxruntime fp32"] = 2.0
    choice = choose(bundle, only="openvino", family="fp32")
    assert choice.choice == "openvino fp32"
    assert "OpenVINO" in Pipeline.load(bundle).ee.backend


def test_candidates_are_judged_and_timed_at_every_batch_size(in_this_process, bundle):
    choice = choose(bundle, family="fp16", batches=(1, 4))
    found = by_name(choice)["onnxruntime fp16"]
    assert set(found.timings) == {"1", "4"}
    assert {guard["name"].partition(", ")[2] for guard in found.guards if "overlap" not in guard["name"]} >= {
        "1 per pass",
        "4 per pass",
    }


# What is refused


def test_a_candidate_with_a_wrong_layer_is_refused_by_the_guard_that_it_fails(in_this_process, bundle):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(bundle / "ee.fp16.onnx")
    weights = next(one for one in model.graph.initializer if one.name.endswith("mlp.fc1.weight.fp16"))
    values = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(-values, weights.name))
    put_in_place_of(bundle, "ee.fp16.onnx", model.SerializeToString())
    in_this_process.slow["onnxruntime fp32"] = 9.0
    with pytest.raises(GuardError) as raised:
        choose(bundle, family="fp16")
    found = by_name(read_choice(bundle))  # type: ignore[arg-type]
    assert "mean logit error, EE" in found["onnxruntime fp16"].refused
    assert raised.value.exit_code == 3 and "onnxruntime fp16" in str(raised.value)


def test_where_every_candidate_is_refused_fp32_in_onnx_runtime_is_chosen(in_this_process, bundle, monkeypatch):
    def check(spec: dict[str, Any], *rest: Any) -> dict[str, Any]:
        if spec["ee"].endswith("ee.onnx"):
            return real(spec, *rest)
        raise PlanError("it died")

    real = verdicts.run_child
    monkeypatch.setattr(verdicts, "run_child", check)
    with pytest.raises(GuardError, match=r"FP32 in ONNX Runtime stays.* onnxruntime fp16: it died"):
        choose(bundle)
    assert read_choice(bundle).choice == "onnxruntime fp32"  # type: ignore[union-attr]


def test_answers_without_a_number_are_refused(in_this_process, bundle):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(bundle / "ee.fp16.onnx")
    bias = next(one for one in model.graph.initializer if one.name == "head.bias")
    nothing = np.full_like(onnx.numpy_helper.to_array(bias), np.nan)
    bias.CopyFrom(onnx.numpy_helper.from_array(nothing, bias.name))
    put_in_place_of(bundle, "ee.fp16.onnx", model.SerializeToString())
    with pytest.raises(GuardError, match=r"onnxruntime fp16: .*NaN"):
        choose(bundle, family="fp16")


def test_a_candidate_that_ends_while_it_is_timed_is_refused_and_the_others_go_on(in_this_process, bundle, monkeypatch):
    def turn(self: Any, batch: int, survivors: int) -> dict[str, float]:
        asked.append(self.name)
        if self.name == "onnxruntime fp16" and asked.count(self.name) == 4:
            raise PlanError("it was killed")
        return {"ee_ms": 1.0, "sac_ms": 1.0, "peak_mib": 1.0}

    asked: list[str] = []
    monkeypatch.setattr(in_this_process, "turn", turn)
    found = by_name(choose(bundle))
    assert found["onnxruntime fp16"].refused == "it was killed" and asked.count("onnxruntime fp16") == 4
    assert found["onnxruntime int8"].timings["1"].rounds == ROUNDS


def test_a_candidate_that_takes_many_times_the_reference_s_time_is_not_checked(in_this_process, bundle, monkeypatch):
    monkeypatch.setattr(verdicts, "TOO_SLOW", 1e-6)
    choice = choose(bundle, only=None, family="fp16")
    assert list(by_name(choice)) == ["onnxruntime fp32"] and "too slow" in choice.absent["onnxruntime fp16"]


def test_a_backend_that_the_user_names_is_checked_however_slow_it_is(in_this_process, bundle, monkeypatch):
    monkeypatch.setattr(verdicts, "TOO_SLOW", 1e-6)
    assert "onnxruntime fp16" in by_name(choose(bundle, only="onnxruntime", family="fp16"))


def test_a_backend_that_the_user_names_and_that_does_not_run_is_an_error(in_this_process, bundle):
    with pytest.raises(GuardError, match=r"tensorrt runs nothing here.*tensorrt"):
        choose(bundle, only="tensorrt")
    choice = read_choice(bundle)
    assert choice is not None and choice.choice == "onnxruntime fp32"


def test_a_file_that_is_not_the_exported_one_does_not_run(in_this_process, bundle):
    (bundle / "ee.fp16.onnx").write_bytes((bundle / "ee.fp16.onnx").read_bytes() + b"\0")
    assert "is not the file" in choose(bundle).absent["onnxruntime fp16"]


# Interrupted, short of time


def test_an_interrupted_choice_goes_on_where_it_was(in_this_process, bundle, monkeypatch):
    checked = []
    real = verdicts.run_child

    def check(spec: dict[str, Any], *rest: Any) -> dict[str, Any]:
        if len(checked) == 2:
            checked.append("interrupt")
            raise KeyboardInterrupt
        checked.append((Path(spec["ee"]).name, spec["provider"]))
        return real(spec, *rest)

    monkeypatch.setattr(verdicts, "run_child", check)
    with pytest.raises(KeyboardInterrupt):
        choose(bundle)
    assert (bundle / FOLDER).is_dir() and read_choice(bundle) is None
    choose(bundle)
    assert len(checked) == len(set(checked)) > 5
    assert not (bundle / FOLDER).exists()


def test_rounds_that_were_measured_are_not_measured_again(in_this_process, bundle, monkeypatch):
    def turn(self: Any, batch: int, survivors: int) -> dict[str, float]:
        if len(asked) == 6:
            asked.append("interrupt")
            raise KeyboardInterrupt
        asked.append(self.name)
        return {"ee_ms": 1.0, "sac_ms": 1.0, "peak_mib": 1.0}

    asked: list[str] = []
    monkeypatch.setattr(in_this_process, "turn", turn)
    with pytest.raises(KeyboardInterrupt):
        choose(bundle, family="fp16")
    choose(bundle, family="fp16")
    assert len(asked) == 1 + 2 * ROUNDS


def test_what_was_found_for_other_files_is_not_used(in_this_process, bundle, monkeypatch):
    with monkeypatch.context() as interrupted:
        interrupted.setattr(in_this_process, "turn", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            choose(bundle, family="fp16")
    put_in_place_of(bundle, "ee.fp16.onnx", b"no ONNX file")
    assert "onnxruntime fp16" in choose(bundle, family="fp16").absent


def test_when_the_time_is_over_no_candidate_is_begun(in_this_process, bundle):
    choice = choose(bundle, budget_s=1e-9)
    assert list(by_name(choice)) == ["onnxruntime fp32"]
    assert "--budget-s" in choice.absent["onnxruntime fp16"]


def test_what_there_was_no_time_for_is_tried_when_an_interrupted_run_goes_on(in_this_process, bundle, monkeypatch):
    with monkeypatch.context() as short:
        short.setattr(in_this_process, "turn", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            choose(bundle, family="fp16", budget_s=1e-9)
    assert "onnxruntime fp16" in by_name(choose(bundle, family="fp16"))


# Bad input


def test_the_folder_of_no_bundle_is_refused_with_the_export(tmp_path):
    with pytest.raises(EngineError, match="sacvit-export --ckpt"):
        choose(tmp_path)


def test_a_precision_that_was_not_exported_is_refused_with_the_export(bundle):
    with pytest.raises(UsageError, match="sacvit-export --fp8"):
        choose(bundle, family="fp8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "x"], "--target"),
        (["--target", "tensorrt", "--only", "openvino"], "--only"),
        (["--target", "tensorrt", "--budget-s", "9"], "--budget-s"),
        (["--budget-s", "0"], "--budget-s"),
        (["--only", "tensorflow"], "'onnxruntime', 'openvino', 'tensorrt', 'tensorrt-rtx'"),
    ],
    ids=" ".join,
)
def test_options_that_cannot_be_meant_are_refused(bundle, words, said, capsys):
    try:
        code = main([str(bundle), *words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2 and said in capsys.readouterr().err


# Plans of TensorRT, on the pretended GPU


@pytest.fixture
def on_a_gpu(fake_gpu, in_this_process):
    fake_gpu.become("10.16")
    fake_gpu.work_here()
    return in_this_process


def test_a_plan_that_is_the_fastest_lies_beside_the_bundle(on_a_gpu, bundle):
    on_a_gpu.slow.update({"onnxruntime fp32": 2.0, "tensorrt int8": 1.0})
    choice = choose(bundle, only="tensorrt")
    assert choice.choice == "tensorrt fp16"
    assert by_name(choice)["tensorrt fp16"].files == ("ee.plan", "sac.plan")
    assert by_name(choice)["tensorrt int8"].files == ()
    assert "TensorRT" in Pipeline.load(bundle).ee.backend and Pipeline.load(bundle).ee.record.precision == "fp16"


def test_a_damaged_choice_is_made_anew(in_this_process, bundle):
    (bundle / CHOICE_NAME).write_text("{}")
    assert choose(bundle, family="fp16") == read_choice(bundle)


def test_plans_that_are_built_without_comparing_end_the_choice(on_a_gpu, bundle):
    on_a_gpu.slow.update({"onnxruntime fp32": 2.0, "tensorrt int8": 1.0})
    choose(bundle, only="tensorrt")
    assert main([str(bundle), "--target", "tensorrt", "--precision", "fp16"]) == 0
    assert read_choice(bundle) is None and "ee.onnx" in repr(Pipeline.load(bundle))


def test_an_fp32_plan_is_built_where_no_other_passes(on_a_gpu, fake_gpu, bundle):
    assert "tensorrt fp32" not in by_name(choose(bundle, only="tensorrt"))
    fake_gpu.become("10.16", "reduced")
    choice = choose(bundle, only="tensorrt")
    assert {name: one.refused is None for name, one in by_name(choice).items()} == {
        "onnxruntime fp32": True,
        "tensorrt fp32": True,
        "tensorrt fp16": False,
        "tensorrt int8": False,
    }


# For real


def test_a_real_run_times_the_passes_and_the_start_of_each_candidate(bundle, capsys, monkeypatch):
    monkeypatch.setattr(verdicts, "TOO_SLOW", 1e9)
    assert main([str(bundle), "--only", "onnxruntime", "--precision", "fp16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for candidate in found["candidates"]:
        assert candidate["timings"]["1"]["chain_ms"] > 0 and candidate["start_s"] > 0 and candidate["peak_mib"] > 20


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    ],
    ids=["fails", "killed", "dies"],
)
def test_a_backend_that_breaks_is_refused_and_the_others_are_tried(bundle, tmp_path, monkeypatch, code, said):
    package = tmp_path / "site" / "openvino"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        f"__version__ = '1'\ndef Core():\n    {code.replace(chr(10), chr(10) + '    ')}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=":")
    monkeypatch.setattr(comparison, "ROUNDS", 1)
    with pytest.raises(GuardError, match="openvino fp32"):
        choose(bundle, only="openvino", family="fp32")
    choice = read_choice(bundle)
    assert choice is not None and said in by_name(choice)["openvino fp32"].refused
    assert choice.choice == "onnxruntime fp32"


def test_a_read_only_bundle_is_refused_before_any_work(bundle, monkeypatch):
    shutil.rmtree(bundle / FOLDER, ignore_errors=True)
    monkeypatch.setattr("sacvit.bundle.files.tempfile.TemporaryFile", _refuse)
    with pytest.raises(Exception, match="cannot be written"):
        choose(bundle)


def _refuse(*_: Any, **__: Any) -> None:
    raise PermissionError(13, "Permission denied")


def test_the_choice_of_a_new_export_is_made_anew(in_this_process, bundle, tmp_path):
    choose(bundle, family="fp16")
    manifest = read_manifest(bundle)
    manifest.graphs["EE"] = "0" * 64
    write_manifest(bundle, manifest)
    with pytest.raises(EngineError, match=rf"{CHOICE_NAME} was made for other graphs .*sacvit-build"):
        Pipeline.load(bundle)
