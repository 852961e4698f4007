"""One graph through TensorRT for RTX in a process of its own: `compiler.py` reads what it prints.

Of its own, since a build leaves traces that change the next one (a build for Turing costs the next target 12 kernels), and
since a compiler may die.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from ...runtime.engines.tensorrt_log import known_targets, load_tensorrt_rtx

LAYER = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+)(?P<rest>.*)$", re.MULTILINE)
INPUTS = re.compile(r"Inputs: \[(.*?)\](?:, Constants|, Outputs|$)")
PRODUCTS = frozenset(["gemm", "runtime_fusion"])  # the kinds of kernels that hold a matrix product


def open_log(trt: Any) -> Any:
    """A logger with `errors` and `layers`, the list of kernels that a detailed build ends with."""

    class Log(trt.ILogger):  # type: ignore[misc]  # the base class exists where the package does
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.layers = ""

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(text.strip())
            elif "LayerType" in text:
                self.layers += text + "\n"

    return Log()


def compile_graph(onnx: Path, target: str, batch: int) -> dict[str, Any]:
    """What `Compiled` says of the graph, beside its file and target."""
    trt = load_tensorrt_rtx()
    said: dict[str, Any] = {"compiler": trt.__version__}
    capability = getattr(trt.ComputeCapability, target.upper(), None)
    if capability is None:
        known = ", ".join(known_targets(trt))
        return said | {"refusal": f"TensorRT for RTX {trt.__version__} builds for {known}, not for {target}"}
    log = open_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx.read_bytes()):
        faults = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
        return said | {"refusal": f"not parsed: {'; '.join(faults or log.errors)}"}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        tensor.shape = tuple(batch if size < 0 else size for size in tensor.shape)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(capability, 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.max_aux_streams = 0  # one stream, as our engines have it
    began = time.monotonic()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return said | {"refusal": "; ".join(dict.fromkeys(log.errors)) or "it gave no reason"}
    return said | {"seconds": time.monotonic() - began, "plan_bytes": plan.nbytes} | read_layers(log.layers)


def read_layers(text: str) -> dict[str, Any]:
    """Kernels by kind, fused attentions, and products by the type of what they multiply, from the builder's list."""
    kernels: dict[str, int] = {}
    products: dict[str, int] = {}
    attentions = 0
    for layer in LAYER.finditer(text):
        kind = layer["kind"]
        kernels[kind] = kernels.get(kind, 0) + 1
        attentions += "_mha_" in layer["name"]
        inputs = INPUTS.search(layer["rest"])
        first = re.search(r"Datatype: (\w+)", inputs[1]) if inputs else None
        if kind in PRODUCTS and first:
            products[first[1].lower()] = products.get(first[1].lower(), 0) + 1
    return {"kernels": kernels, "fused_attentions": attentions, "products": products}


def main(onnx: str, target: str, batch: str) -> None:
    json.dump(compile_graph(Path(onnx), target, int(batch)), sys.stdout)
