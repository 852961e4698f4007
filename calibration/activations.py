"""Observes a graph on real images: magnitudes of every tensor, histograms of those that will be quantized."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..bundle.errors import GuardError
from .onnx_session import Arrays, Session
from .ranges import Histogram

# Operators that only move values, or whose results always lie in [-1, 1].
UNREMARKABLE = frozenset(
    [
        *("Concat", "Expand", "Gather", "GatherElements", "Pad", "Reshape", "Slice", "Split", "Transpose", "Unsqueeze"),
        *("Erf", "Softmax", "TopK", "Cast"),
    ]
)


@dataclass
class Observation:
    """Of one graph. `largest`: |x| by tensor; `histograms`: by tensor, of the layers' activations."""

    images: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)


def observe(
    name: str, model: onnx.ModelProto, activations: Collection[str], feed: Iterable[tuple[int, Arrays]]
) -> Observation:
    """Runs an FP32 graph over `feed`, pieces of (number of images, inputs), and observes its float tensors.

    activations: tensors to make histograms of. Raises GuardError when a tensor holds NaN or infinity.
    """
    floats = float_tensors(model)
    computed = [
        output
        for node in model.graph.node
        if node.op_type not in UNREMARKABLE
        for output in node.output
        if output in floats
    ]
    wanted = list(dict.fromkeys([*activations, *computed]))
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None) for tensor in wanted)
    session = Session(probe)
    seen = Observation(largest=dict.fromkeys(wanted, 0.0), histograms={tensor: Histogram() for tensor in activations})
    for count, inputs in feed:
        outputs = session.run(inputs)
        for tensor in wanted:
            values = outputs[tensor]
            largest = float(np.maximum(values.max(), -values.min()))  # NaN stays NaN
            if not np.isfinite(largest):
                raise GuardError(
                    f"{name}: {tensor} becomes {'NaN' if np.isnan(largest) else 'infinite'} on image"
                    f" {seen.images} to {seen.images + count - 1} of the calibration set, already in FP32."
                    f" The weights are at fault: check the training"
                )
            seen.largest[tensor] = max(seen.largest[tensor], largest)
            if tensor in seen.histograms:
                seen.histograms[tensor].add(values)
        seen.images += count
    return seen


def float_tensors(model: onnx.ModelProto) -> set[str]:
    """The names of all FP32 tensors that operators write."""
    typed = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name
        for value in (*typed.value_info, *typed.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
