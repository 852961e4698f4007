"""Attention made simpler in TensorRT's own network, where a fallback asks for it: no onnx is needed on the device.

By the names that export/graphs/layers.py gives: scores, masked (the cluster mask added), softmax, mixed. docs/tensorrt.md has
what a real compiler makes of each.
"""

from __future__ import annotations

from typing import Any

from ...bundle.errors import PlanError
from .ladder import Rung

BLOCK, SOFTMAX = "blocks.", ".attn.softmax"
PRODUCTS_AND_MASK = (".attn.scores", ".attn.masked", ".attn.mixed")


def edit_attention(trt: Any, network: Any, rung: Rung) -> int:
    """Makes attention simpler where the rung says so; returns how many layers were touched.

    unfused: a ReLU behind each softmax. It changes nothing, since a softmax is never negative, but TensorRT knows no fused
    kernel with one inside. bf16: attention in BF16, which is fused too and holds what overflows in FP16. fp32: in FP32, which
    is never fused.
    """
    if rung.attention == "as it comes":
        return 0
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    readers: dict[str, list[tuple[Any, int]]] = {}
    makers: dict[str, Any] = {}
    for layer in layers:
        for place in range(layer.num_inputs):
            tensor = layer.get_input(place)
            if tensor is not None:
                readers.setdefault(tensor.name, []).append((layer, place))
        makers.update({layer.get_output(place).name: layer for place in range(layer.num_outputs)})
    if rung.attention == "unfused":
        done = _add_relu(trt, network, layers, readers)
    else:
        kind = trt.DataType.BF16 if rung.attention == "bf16" else trt.DataType.FLOAT
        done = _retype(trt, network, layers, readers, makers, kind)
    if not done:
        raise PlanError(f"no attention layer is found by its name, so that {rung.name} cannot be built")
    return done


def _add_relu(trt: Any, network: Any, layers: list[Any], readers: dict[str, list[tuple[Any, int]]]) -> int:
    chosen = [layer for layer in layers if layer.type == trt.LayerType.SOFTMAX and _is_of(layer, (SOFTMAX,))]
    for layer in chosen:
        output = layer.get_output(0)
        positive = network.add_activation(output, trt.ActivationType.RELU).get_output(0)
        for reader, place in readers[output.name]:
            reader.set_input(place, positive)
    return len(chosen)


def _retype(
    trt: Any,
    network: Any,
    layers: list[Any],
    readers: dict[str, list[tuple[Any, int]]],
    makers: dict[str, Any],
    kind: Any,
) -> int:
    """Both products and the mask between them in `kind`; what reads them otherwise gets the type that it got before.

    The mask as well: between two FP16 tensors a compiler takes an FP32 product for an FP16 one, whose sums are FP32 anyway.
    """
    kinds = (trt.LayerType.MATRIX_MULTIPLY, trt.LayerType.ELEMENTWISE)
    chosen = [layer for layer in layers if layer.type in kinds and _is_of(layer, PRODUCTS_AND_MASK)]
    names = {layer.name for layer in chosen}
    types = [layer.get_output(0).dtype for layer in chosen]  # read before the change, which changes the types behind it
    for layer, before in zip(chosen, types, strict=True):
        output = layer.get_output(0)
        if before == trt.DataType.FLOAT:  # types are TensorRT's to choose: tell it
            layer.precision = kind
            layer.set_output_type(0, kind)
            continue
        for place in range(layer.num_inputs):
            tensor = layer.get_input(place)
            maker = makers.get(tensor.name)
            if maker is not None and maker.name in names:
                continue  # in `kind` already
            # Of what came from FP32 (the softmax), the FP32 itself: rounded twice, nothing is fused.
            if (
                maker is not None
                and maker.type == trt.LayerType.CAST
                and maker.get_input(0).dtype == trt.DataType.FLOAT
            ):
                tensor = maker.get_input(0)
            layer.set_input(place, tensor if tensor.dtype == kind else network.add_cast(tensor, kind).get_output(0))
        others = [
            (reader, place)
            for reader, place in readers[output.name]
            if reader.name not in names and reader.type != trt.LayerType.CAST  # towards the FP32 softmax
        ]
        if others:
            after = network.add_cast(layer.get_output(0), before).get_output(0)
            for reader, place in others:
                reader.set_input(place, after)
    return len(chosen)


def _is_of(layer: Any, parts: tuple[str, ...]) -> bool:
    """Also of the blocks in the levels of a hierarchical network, `patch_embed.levels.0.blocks.0`."""
    return BLOCK in layer.name and any(part in layer.name for part in parts)
