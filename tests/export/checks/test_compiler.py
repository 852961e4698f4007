"""What TensorRT for RTX makes of the example's graphs: every build here is a real one, for a GPU that is not here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from sacvit.bundle.errors import SacvitError, UsageError
from sacvit.bundle.manifest import read_manifest
from sacvit.commands.export import main
from sacvit.export.checks import compiler
from sacvit.export.checks.compile_worker import read_layers
from sacvit.export.checks.compiler import Compiled, compile_one, compiled_lines, require_compiler
from sacvit.export.precision.request import PrecisionOptions
from sacvit.export.write_bundle import export
from sacvit.machine.rtx_targets import read_targets
from sacvit.model.checkpoint import load_checkpoint

pytestmark = pytest.mark.programs

DIGITS = Path(__file__).parents[3] / "examples" / "digits" / "model.pth"
DEPTH = 6
WHEELS = {version: Path(sys.prefix) / "tensorrt-rtx" / version for version in ("1.6.1.120", "1.7.1.116")}
ANY_LOGIT = {"logit_error": 1.0, "exit_agreement": 0.5, "far_flips": 1.0, "top1_agreement": 0.5, "target_overlap": 0.5}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's bundle with every precision and its plain ViT; calibrated on a few images, which kernels do not see."""
    folder = tmp_path_factory.mktemp("digits")
    assert load_checkpoint(DIGITS).config.depth == DEPTH
    every = {"int8": True, "fp16": True, "bf16": True, "fp8": True}
    options = PrecisionOptions(**every, calib_count=24, calib_cache=folder / "cache", limits=ANY_LOGIT)
    return export(DIGITS, folder / "build", plain=True, precision=options).folder


@pytest.fixture(params=WHEELS)
def rtx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A version of TensorRT for RTX, which children find too."""
    wheel = WHEELS[request.param]
    if not wheel.is_dir():
        pytest.skip(f"no TensorRT for RTX {request.param} here")
    monkeypatch.syspath_prepend(wheel)
    monkeypatch.setenv("PYTHONPATH", str(wheel), prepend=":")
    return request.param


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = WHEELS["1.7.1.116"]
    if not wheel.is_dir():
        pytest.skip("no TensorRT for RTX 1.7 here")
    monkeypatch.syspath_prepend(wheel)
    monkeypatch.setenv("PYTHONPATH", str(wheel), prepend=":")


def test_every_precision_is_built_with_as_few_kernels_as_the_docs_say(digits, rtx):
    most = {"ee.fp16": 60, "sac.fp16": 51, "plain.fp16": 48, "ee.int8fp16": 66, "sac.int8fp16": 57}
    found = {name: compile_one(digits / f"{name}.onnx", "sm89") for name in most}
    assert {one.compiler for one in found.values()} == {rtx}
    assert {name: one.refusal for name, one in found.items()} == dict.fromkeys(most, "")
    assert {name: one.launches for name, one in found.items() if one.launches > most[name]} == {}
    assert {one.fused_attentions for one in found.values()} == {DEPTH}
    mlp = 2 * DEPTH
    assert found["ee.int8fp16"].products["int8"] == mlp + 1 and found["sac.int8fp16"].products["int8"] == mlp + 3


@pytest.mark.parametrize("target", ["sm89", "sm120"])
def test_bf16_has_fp16_s_kernels_and_fp8_products_are_fp8(digits, newest, target):
    fp16, bf16, fp8 = (compile_one(digits / f"sac.{kind}.onnx", target) for kind in ("fp16", "bf16", "fp8"))
    assert (bf16.launches, bf16.fused_attentions, bf16.refusal) == (fp16.launches, DEPTH, "")
    assert (fp8.products["fp8"], fp8.fused_attentions) == (3 * DEPTH + 2, DEPTH)


def test_fp32_bodies_are_built(digits, newest):
    found = [compile_one(digits / f"{name}.onnx", "sm89") for name in ("ee", "sac.int8")]
    assert [one.refusal for one in found] == ["", ""]


@pytest.mark.parametrize(
    ("switches", "attentions"),
    [({"class_cluster": "both", "reuse": "outputs"}, DEPTH), ({"products": "separate"}, 3 * DEPTH)],
    ids=["masked", "separate"],
)
def test_other_forms_of_clustered_attention_are_built_and_fused(newest, tmp_path, switches, attentions):
    options = PrecisionOptions(fp16=True, calib_count=24, calib_cache=tmp_path / "cache", limits=ANY_LOGIT)
    folder = export(DIGITS, tmp_path / "build", precision=options, **switches).folder
    ee, sac = (compile_one(folder / f"{stage}.fp16.onnx", "sm89") for stage in ("ee", "sac"))
    assert (ee.refusal, sac.refusal) == ("", "")
    assert (ee.fused_attentions, sac.fused_attentions) == (DEPTH, attentions)


def test_stages_that_share_a_hand_off_are_built_and_fused(newest, tmp_path):
    options = PrecisionOptions(fp16=True, calib_count=24, calib_cache=tmp_path / "cache", limits=ANY_LOGIT)
    folder = export(DIGITS, tmp_path / "build", precision=options, sac_alpha=(0.25,)).folder
    for name in ("ee", "sac", "sac-alpha0.25"):
        built = compile_one(folder / f"{name}.fp16.onnx", "sm89")
        assert (built.refusal, built.fused_attentions) == ("", DEPTH)


def test_the_windows_of_a_hierarchical_network_are_built_and_their_attention_is_fused(
    newest, tmp_path, make_checkpoint
):
    checkpoint = make_checkpoint(levels=(1, 2), depth=3, heads=4, width=64)
    options = PrecisionOptions(int8=True, fp16=True, calib_count=24, calib_cache=tmp_path / "cache", limits=ANY_LOGIT)
    folder = export(checkpoint, tmp_path / "build", plain=True, precision=options).folder
    for name in ("ee.fp16", "sac.fp16", "plain.fp16", "ee.int8fp16", "sac.int8fp16"):
        built = compile_one(folder / f"{name}.onnx", "sm89")
        assert (name, built.refusal, built.fused_attentions) == (name, "", 1 + 2 + 3)


def test_a_turing_gpu_gets_fp16_and_refuses_fp32_with_the_compilers_reason(digits, newest):
    found = [compile_one(digits / name, "sm75") for name in ("ee.fp16.onnx", "sac.fp16.onnx", "sac.onnx")]
    assert [bool(one.refusal) for one in found] == [False, False, True]
    assert "FP32 GEMM is not supported" in found[2].refusal
    assert any("built there: sac.fp16.onnx" in line for line in compiled_lines(found))


def test_the_export_prints_and_keeps_what_the_compiler_said(newest, tiny_checkpoint, tmp_path, capsys):
    assert (
        main(["--ckpt", str(tiny_checkpoint), "--out", str(tmp_path / "out"), "--compile", "SM89", "--no-build"]) == 0
    )
    kept = read_manifest(tmp_path / "out").compiled
    assert [(one["file"], one["target"], one["refusal"]) for one in kept] == [
        ("ee.onnx", "sm89", ""), ("sac.onnx", "sm89", ""),
    ]  # fmt: skip
    assert kept[0]["launches"] == sum(kept[0]["kernels"].values()) > 0
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("ee.onnx ")]
    assert line.split()[:3] == ["ee.onnx", "sm89", str(kept[0]["launches"])]


def test_a_graph_that_is_none_is_refused_by_the_parser(newest, tmp_path):
    (tmp_path / "ee.onnx").write_bytes(b"no graph")
    assert compile_one(tmp_path / "ee.onnx", "sm89").refusal.startswith("not parsed: ")


def test_a_target_that_only_another_version_knows_is_refused_in_the_table(digits, newest):
    assert "builds for" in compile_one(digits / "ee.fp16.onnx", "sm999").refusal


@pytest.mark.parametrize("text", ["sm87", "", "sm89,ada"])
def test_an_unknown_target_is_a_usage_error_that_lists_the_known(text):
    with pytest.raises(UsageError, match="sm89"):
        read_targets(text)


def test_a_missing_package_is_reported_before_the_work(tiny_checkpoint, tmp_path):
    with pytest.raises(SacvitError, match=r"pip install 'sacvit\[rtx\]'"):
        export(tiny_checkpoint, tmp_path / "out", compile_for=("sm89",))
    assert not (tmp_path / "out").exists()


def test_packages_of_two_versions_are_refused(monkeypatch):
    versions = iter(["1.6.1.120", "1.7.1.116"])
    monkeypatch.setattr("importlib.metadata.version", lambda name: next(versions))
    with pytest.raises(SacvitError, match=r"1\.6\.1\.120 and .* 1\.7\.1\.116 do not fit together"):
        require_compiler()


def test_a_compiler_that_dies_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(compiler.sys, "executable", "/bin/false")
    with pytest.raises(SacvitError, match=r"ee\.onnx for sm89 failed"):
        compile_one(tmp_path / "ee.onnx", "sm89")


def test_a_kernel_list_is_counted_by_kind_attention_and_type():
    half, int8 = (f"Inputs: [ {{ Name: x, Datatype: {kind} }}], Constants: []" for kind in ("Half", "Int8"))
    lines = [
        f"Name: a, LayerType: kgen, {half}",
        f"Name: _gemm_mha_v2_myl0_7, LayerType: kgen, {half}",
        f"Name: b+c, LayerType: gemm, {int8}",
        f"Name: d, LayerType: runtime_fusion, {half}",
    ]
    found = read_layers("Layers:\n" + "\n".join(lines))
    assert found["kernels"] == {"kgen": 2, "gemm": 1, "runtime_fusion": 1}
    assert (found["fused_attentions"], found["products"]) == (1, {"int8": 1, "half": 1})


def test_the_table_shows_refusals_below_it():
    found = [Compiled("ee.onnx", "sm75", "1.7", refusal="too old"), Compiled("sac.onnx", "sm89", "1.7", {"gemm": 2})]
    lines = compiled_lines(found)
    assert "refused [1]" in lines[1] and lines[-1] == "  [1] too old"


@pytest.mark.parametrize("target", ["sm75", "sm86"])
def test_dense_graphs_are_built_with_every_attention_fused(newest, tmp_path, target):
    options = PrecisionOptions(fp16=True, int8=True, calib_cache=tmp_path / "cache", limits=ANY_LOGIT)
    folder = export(DIGITS.with_name("dense.pth"), tmp_path / "build", plain=True, precision=options).folder
    names = ("ee.fp16", "sac.fp16", "plain.fp16", "ee.int8fp16", "sac.int8fp16")
    found = {name: compile_one(folder / f"{name}.onnx", target) for name in names}
    assert {name: one.refusal for name, one in found.items()} == dict.fromkeys(names, "")
    assert {one.fused_attentions for one in found.values()} == {5}
