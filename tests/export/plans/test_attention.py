"""The fallbacks' edits of attention, by what a real compiler makes of them: TensorRT for RTX, which builds without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sacvit.bundle.preprocess import Preprocessing
from sacvit.export.graphs.stages import build_sac
from sacvit.export.pair_graphs import build_graphs
from sacvit.export.precision.retype import retype
from sacvit.model.checkpoint import load_checkpoint

pytestmark = pytest.mark.programs

WHEEL = Path(sys.prefix) / "tensorrt-rtx" / "1.7.1.116"
DIGITS = Path(__file__).parents[3] / "examples" / "digits" / "model.pth"
DEPTH = 6
COMPILE = """
import json, sys
from sacvit.export.checks.compile_worker import open_log, read_layers
from sacvit.export.plans.attention import edit_attention
from sacvit.export.plans.ladder import Rung
from sacvit.runtime.engines.tensorrt_log import load_tensorrt_rtx

trt = load_tensorrt_rtx()
found = {}
for attention in ("as it comes", "bf16", "unfused", "fp32"):
    log = open_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    assert trt.OnnxParser(network, log).parse(open(sys.argv[1], "rb").read())
    edit_attention(trt, network, Rung("", "fp16", "strong", attention))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    assert builder.build_serialized_network(network, config) is not None, log.errors
    found[attention] = read_layers(log.layers)
print(json.dumps(found))
"""


def build_each(graph: Any, folder: Path) -> dict[str, Any]:
    """What the compiler makes of an FP16 graph with each way of computing attention."""
    if not WHEEL.is_dir():
        pytest.skip("TensorRT for RTX 1.7 is not here; make .venv/installed brings it")
    (folder / "graph.onnx").write_bytes(retype(graph, {})[0].SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, folder / "graph.onnx"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(WHEEL), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_bf16_attention_is_fused_and_neither_the_unfused_nor_the_fp32_one_is(tmp_path):
    """With SAC: its cluster mask stands between the two products."""
    model = load_checkpoint(DIGITS).model
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    graph = build_sac(model.config, weights, Preprocessing(model.config.image_size), 1, "gpu")
    found = build_each(graph, tmp_path)
    fused = {attention: layers["fused_attentions"] for attention, layers in found.items()}
    assert fused == {"as it comes": DEPTH, "bf16": DEPTH, "unfused": 0, "fp32": 0}
    assert found["fp32"]["products"]["float"] == 2 * DEPTH


def test_attention_inside_windows_is_found_too(tmp_path, make_checkpoint):
    checkpoint = load_checkpoint(make_checkpoint(levels=(1, 2), depth=3, heads=4, width=64))
    found = build_each(build_graphs(checkpoint, 1, ("gpu",))["gpu"]["SAC"], tmp_path)
    fused = {attention: layers["fused_attentions"] for attention, layers in found.items()}
    assert fused == {"as it comes": 6, "bf16": 6, "unfused": 0, "fp32": 0}
