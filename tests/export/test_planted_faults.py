"""Every fault that ruins a typed ViT, planted into an export: each must be refused, and nothing written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch")

from sacvit.bundle.errors import GuardError, SacvitError
from sacvit.calibration.onnx_session import Pair
from sacvit.calibration.qdq_placement import as_step
from sacvit.calibration.quantizers import QUANTIZERS
from sacvit.calibration.sensitivity import Effect
from sacvit.export.pair_graphs import build_pair
from sacvit.export.precision import cascade, variants
from sacvit.model.checkpoint import load_checkpoint

pytestmark = pytest.mark.programs

Change = Callable[[onnx.ModelProto], onnx.ModelProto]
HALF, SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT
OUTLIER = 256.0  # whose square is beyond FP16, and which is itself below the limit of what is kept in FP32
RESIDUALS = tuple(f"blocks.{index}{part}" for index in range(5) for part in ("", ".after_attn"))


@dataclass(frozen=True)
class Loud:
    """A network with outliers, images without labels, and a threshold between two of its confidences."""

    checkpoint: Path
    images: Path
    threshold: float


def quantize_residuals(model: onnx.ModelProto) -> onnx.ModelProto:
    """A Q/DQ pair, wide enough for the outliers, on both inputs of every residual add."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:]
    for node in model.graph.node:
        added = onnx.NodeProto()
        added.CopyFrom(node)
        for place, name in enumerate(node.input if node.name in RESIDUALS else ()):
            names = [f"{node.name}.{place}.{part}" for part in ("step", "zero", "quantized", "dequantized")]
            values = (as_step(np.array(OUTLIER / 127)), np.array(0, np.int8))
            out.graph.initializer.extend(map(numpy_helper.from_array, values, names[:2]))
            out.graph.node.append(helper.make_node("QuantizeLinear", [name, *names[:2]], [names[2]], names[2]))
            out.graph.node.append(helper.make_node("DequantizeLinear", [names[2], *names[:2]], [names[3]], names[3]))
            added.input[place] = names[3]
        out.graph.node.append(added)
    return out


def weight_pairs(model: onnx.ModelProto) -> Iterator[tuple[list[onnx.NodeProto], onnx.TensorProto, dict[str, Any]]]:
    """The Q/DQ pair of every weight, the weight, and all constants by name."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    for name in [name for name in constants if f"{name}.quantized" in nodes]:
        yield [nodes[f"{name}.quantized"], nodes[f"{name}.dequantized"]], constants[name], constants


def scale_rows(model: onnx.ModelProto) -> onnx.ModelProto:
    """One scale per row of (K, N), on axis 0."""
    for pair, weight, constants in weight_pairs(model):
        step = as_step(np.abs(numpy_helper.to_array(weight)).max(1) / 127)
        constants[f"{weight.name}.step"].CopyFrom(numpy_helper.from_array(step, f"{weight.name}.step"))
        zero = np.zeros(step.shape, np.int8)
        constants[f"{weight.name}.zero"].CopyFrom(numpy_helper.from_array(zero, f"{weight.name}.zero"))
        for node in pair:
            next(attribute for attribute in node.attribute if attribute.name == "axis").i = 0
    return model


def scale_columns_by_rows(model: onnx.ModelProto) -> onnx.ModelProto:
    """Square weights get the scales of their rows, on the axis of columns."""
    for _, weight, constants in weight_pairs(model):
        values = numpy_helper.to_array(weight)
        if values.shape[0] == values.shape[1]:
            step = as_step(np.abs(values).max(1) / 127)
            constants[f"{weight.name}.step"].CopyFrom(numpy_helper.from_array(step, f"{weight.name}.step"))
    return model


def decompose_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every LayerNormalization as older exporters wrote it, and in FP16: the squares of large values overflow."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "LayerNormalization":
            out.graph.node.append(node)
            continue
        x, weight, bias = node.input
        epsilon = next(attribute.f for attribute in node.attribute if attribute.name == "epsilon")
        halves = {"w": constants[weight], "b": constants[bias], "eps": np.array(epsilon)}
        for name, value in halves.items():
            out.graph.initializer.append(numpy_helper.from_array(value.astype(np.float16), f"{node.name}.{name}"))
        for kind, inputs, result, attributes in (
            ("Cast", [x], "x", {"to": HALF}),
            ("ReduceMean", [".x"], "mean", {"axes": [-1]}),
            ("Sub", [".x", ".mean"], "apart", {}),
            ("Mul", [".apart", ".apart"], "square", {}),
            ("ReduceMean", [".square"], "variance", {"axes": [-1]}),
            ("Add", [".variance", ".eps"], "safe", {}),
            ("Sqrt", [".safe"], "spread", {}),
            ("Div", [".apart", ".spread"], "normed", {}),
            ("Mul", [".normed", ".w"], "scaled", {}),
            ("Add", [".scaled", ".b"], "placed", {}),
        ):
            names = [f"{node.name}{name}" if name.startswith(".") else name for name in inputs]
            made = f"{node.name}.{result}"
            out.graph.node.append(helper.make_node(kind, names, [made], made, **attributes))
        out.graph.node.append(helper.make_node("Cast", [f"{node.name}.placed"], [node.output[0]], node.name, to=SINGLE))
    return out


@pytest.fixture
def decompose(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that makes every FP16 graph of an export have decomposed norms."""

    def plant() -> None:
        original = variants.retype

        def retype(*given: Any, **named: Any) -> Any:
            model, report = original(*given, **named)
            return decompose_norms(model), report

        monkeypatch.setattr(variants, "retype", retype)

    return plant


@pytest.fixture
def after_qdq(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """A function that changes every INT8 graph right after its Q/DQ pairs were inserted."""
    original = QUANTIZERS["int8"]

    def plant(change: Change) -> None:
        monkeypatch.setitem(QUANTIZERS, "int8", lambda *given: change(original(*given)))

    return plant


@pytest.fixture
def without_lint(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that only the comparison with FP32 can see the fault."""
    for module in (cascade, variants):
        monkeypatch.setattr(module, "require_clean", lambda *_: None)


def with_outliers(checkpoint: Path, target: Path) -> Path:
    """The checkpoint with a residual stream of which two channels hold +-OUTLIER in every token, as trained ViTs do.

    What LayerNorm loses by it, its weights give back: the network still tells images apart.
    """
    import torch

    content = torch.load(checkpoint, weights_only=True)
    state = content["model"]
    for name in ("pos_embed_list.0", "pos_embed_list.1"):
        state[name][..., 0] += OUTLIER
        state[name][..., 1] -= OUTLIER
    for name in ("norm", *(f"blocks.{index}.norm{which}" for index in range(5) for which in (1, 2))):
        state[f"{name}.weight"] *= OUTLIER * (2 / 32) ** 0.5  # the deviation over 32 channels
        state[f"{name}.weight"][:2] = 0
    torch.save(content, target)
    return target


@pytest.fixture(scope="session")
def loud(tiny_checkpoint: Path, calibration_images: Any, tmp_path_factory: pytest.TempPathFactory) -> Loud:
    folder = tmp_path_factory.mktemp("loud")
    checkpoint = with_outliers(tiny_checkpoint, folder / "model.pth")
    ee = Pair(build_pair(load_checkpoint(checkpoint), None)[0])
    confidence = np.sort([ee.run_ee(image[None])["confidence"][0] for image in calibration_images.images])
    place = 15 + np.diff(confidence)[15:25].argmax()  # the widest gap near the middle
    np.savez(folder / "images.npz", images=calibration_images.images)
    return Loud(checkpoint, folder / "images.npz", float(confidence[place : place + 2].mean()))


@pytest.fixture(autouse=True)
def no_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring every layer takes longer than all the rest; test_blame.py does it."""
    monkeypatch.setattr(variants, "measure_both", lambda *_: [Effect("EE", "blocks.0", 0.1, 0.2, 0.1, 0, 2)])


@pytest.fixture
def export_loud(make_bundle, loud):
    """A function that exports the network with outliers, under limits that hold as long as nothing is planted."""

    def make(limits: dict[str, float] | None = None, **changes: Any) -> None:
        # A random network has no margins: of the images that SAC answers, up to a fifth have two classes near the top.
        make_bundle(
            loud.checkpoint,
            threshold=loud.threshold,
            limits={"top1_agreement": 0.75, "exit_agreement": 0.94} | (limits or {}),
            calib=loud.images,
            calib_cache=loud.images.parent / "cache",  # of ranges that are measured before a fault is planted
            **changes,
        )

    return make


def test_nothing_is_refused_where_nothing_is_planted(export_loud):
    export_loud(fp16=True)


def test_nothing_is_refused_by_a_narrower_limit_either(export_loud):
    export_loud({"logit_error": 0.18})


def test_a_quantized_residual_add_is_refused_by_the_lint(export_loud, after_qdq, tmp_path):
    after_qdq(quantize_residuals)
    with pytest.raises(
        GuardError, match=r"ee.int8.onnx is not portable: .*blocks.0.after_attn: Add is quantized; only weigh"
    ):
        export_loud()
    assert not (tmp_path / "build").exists()


def test_a_quantized_residual_add_is_refused_by_its_decisions(export_loud, after_qdq, without_lint, tmp_path):
    after_qdq(quantize_residuals)
    with pytest.raises(
        GuardError, match=r"int8 does not decide as FP32 does; nothing was written:\n  FAILED exit agreement"
    ):
        export_loud()
    assert not (tmp_path / "build").exists()


def test_a_decomposed_fp16_norm_is_refused_by_the_lint(export_loud, decompose, tmp_path):
    decompose()
    with pytest.raises(
        GuardError, match=r"ee.fp16.onnx is not portable: .*ai.onnx.ReduceMean is not in the portable list"
    ):
        export_loud(int8=False, fp16=True)
    assert not (tmp_path / "build").exists()


def test_a_decomposed_fp16_norm_is_refused_by_its_decisions(export_loud, decompose, without_lint, tmp_path):
    decompose()
    with pytest.raises(
        GuardError, match=r"fp16 does not decide as FP32 does; nothing was written:\n  FAILED exit agreement"
    ):
        export_loud(int8=False, fp16=True)
    assert not (tmp_path / "build").exists()


def test_onnx_runtime_alone_would_let_a_decomposed_fp16_norm_pass(export_loud, decompose, without_lint, monkeypatch):
    """Which is why variants are judged as a device rounds them."""
    decompose()
    monkeypatch.setattr(variants, "rounded_as_typed", lambda model: model)
    export_loud(int8=False, fp16=True)


@pytest.mark.parametrize("stage", ["EE", "SAC"])
def test_scales_along_the_wrong_axis_are_refused_by_the_lint(export_loud, after_qdq, tmp_path, stage):
    after_qdq(lambda model: scale_rows(model) if model.graph.name == stage else model)
    with pytest.raises(
        GuardError, match=r"a weight \(K, N\) has one scale per column, axis 1; found \(32,\) on axis 0"
    ):
        export_loud()
    assert not (tmp_path / "build").exists()


def test_scales_of_rows_that_stand_on_the_axis_of_columns_are_refused_by_their_decisions(
    export_loud, after_qdq, tmp_path
):
    """A square weight has as many rows as columns: no shape tells the two apart."""
    after_qdq(scale_columns_by_rows)
    limits = {"logit_error": 0.18}  # without the fault it is 0.11, with it 0.21
    with pytest.raises(GuardError, match="int8 does not decide as FP32 does"):
        export_loud(limits)
    assert not (tmp_path / "build").exists()


def test_the_ranges_of_another_graph_under_this_ones_name_are_refused(make_bundle, spoil, tmp_path):
    spoil(lambda content: content["key"].update(graph_sha256="0" * 64))
    with pytest.raises(SacvitError, match=r"was measured with another graph_sha256 than its name says\. Delete it"):
        make_bundle()
    assert not (tmp_path / "build").exists()


def test_wrong_ranges_under_the_right_key_are_refused_by_their_decisions(make_bundle, spoil, tmp_path):
    spoil(
        lambda content: content["measured"].update(
            ranges={name: value / 20 for name, value in content["measured"]["ranges"].items()}
        )
    )
    with pytest.raises(GuardError, match="int8 does not decide as FP32 does"):
        make_bundle(limits={})
    assert not (tmp_path / "build").exists()


def test_a_cache_that_lacks_a_layer_is_refused(make_bundle, spoil, tmp_path):
    spoil(lambda content: content["measured"]["ranges"].popitem())
    with pytest.raises(SacvitError, match="Delete it, and it is measured again"):
        make_bundle()
    assert not (tmp_path / "build").exists()


def test_a_shifted_threshold_is_refused(make_bundle, monkeypatch, tmp_path):
    original = variants.match_exit_rate
    monkeypatch.setattr(variants, "match_exit_rate", lambda *given: original(*given) + 0.03)
    with pytest.raises(
        GuardError, match=r"int8 does not decide as FP32 does; nothing was written:\n  FAILED exit agreement"
    ):
        make_bundle(limits={})
    assert not (tmp_path / "build").exists()


def test_a_threshold_that_is_not_fitted_shifts_the_exits(make_bundle, monkeypatch, tmp_path):
    """INT8 made coarse compresses confidences; the fit is what keeps the exits."""
    monkeypatch.setattr("sacvit.calibration.ranges.Histogram.range_by", lambda self, method: self.largest / 5)
    with pytest.raises(GuardError, match="exit agreement") as fault:
        make_bundle(match="none", limits={}, calib_cache=tmp_path / "cold")
    flips = int(re.search(r"(\d+) of 40 gates flip", str(fault.value))[1])
    assert flips > 1
