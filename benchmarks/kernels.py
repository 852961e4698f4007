"""How many kernels a GPU launches per pass, read off a real compiler: TensorRT for RTX builds without a GPU.

    pip install 'sacvit[rtx]'
    python benchmarks/kernels.py --json docs/measured/kernels.json

Every graph of the geometry (random weights: kernels do not depend on them) in every precision for every target, one image per
pass. Nothing is run, and no time is measured but the build's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch

from sacvit.bundle.precision import PRECISIONS
from sacvit.bundle.preprocess import Preprocessing
from sacvit.calibration.qdq_placement import weighted_layers
from sacvit.calibration.quantizers import QUANTIZERS
from sacvit.calibration.stored_weights import store_quantized
from sacvit.export.checks.compiler import compile_all, compiled_lines, require_compiler
from sacvit.export.graphs.stages import build_ee, build_plain, build_sac
from sacvit.export.precision.retype import retype
from sacvit.machine.rtx_targets import read_targets
from sacvit.model.config import preset
from sacvit.model.network import PlainViT, TwoStageViT

ANY_RANGE = 4.0  # where a tensor is cut does not change a kernel


def write_graphs(name: str, folder: Path) -> list[Path]:
    """ee, sac and plain in every precision, named as an export names them."""
    config = preset(name)
    torch.manual_seed(0)
    preprocessing = Preprocessing(config.image_size)
    parts: dict[str, tuple[Any, Any]] = {
        "ee": (build_ee, TwoStageViT(config)),
        "sac": (build_sac, TwoStageViT(config)),
        "plain": (build_plain, PlainViT(config)),
    }
    files = []
    for stage, (build, model) in parts.items():
        weights = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
        for row in PRECISIONS:
            graph: onnx.ModelProto = build(config, weights, preprocessing, 1, row.form)
            if row.quantizer:
                ranges = {layer.activation: ANY_RANGE for layer in weighted_layers(graph)}
                graph = QUANTIZERS[row.quantizer](graph, ranges, [])
            if row.body != "fp32":
                graph = retype(graph, {}, body=row.body)[0]
            if row.quantizer:
                graph = store_quantized(graph)
            files.append(folder / f"{stage}{row.suffix}.onnx")
            files[-1].write_bytes(graph.SerializeToString())
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="deit-s")
    parser.add_argument("--targets", type=read_targets, default=read_targets("sm75,sm80,sm86,sm89,sm120,sm121"))
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    version = require_compiler()
    with tempfile.TemporaryDirectory() as name:
        found = compile_all(write_graphs(options.preset, Path(name)), options.targets)
    print("\n".join(compiled_lines(found)))
    if options.json:
        told = {"preset": options.preset, "batch": 1, "compiler": version, "graphs": [one.to_dict() for one in found]}
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
