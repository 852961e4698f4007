"""A hierarchical network beside a ViT of equal MACs: MACs, kernels of a real compiler, and time, with random weights.

    python benchmarks/hierarchical.py --json docs/measured/hierarchical_cost.json

EE, SAC and the single-stage network of two geometries: that of examples/digits/hierarchical.py, and DeiT-S beside
hierarchical-s. Kernels: FP16, TensorRT for RTX, which needs no GPU. Time: FP32 in ONNX Runtime at batch 1, the families by
turns.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from switches import count_kernels, time_by_turns

from sacvit.bundle.precision import Form
from sacvit.bundle.preprocess import Preprocessing
from sacvit.export.checks.compiler import require_compiler
from sacvit.export.graphs.stages import build_ee, build_plain, build_sac
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.config import ModelConfig, preset
from sacvit.model.cost import count_cost
from sacvit.model.network import PlainViT, TwoStageViT

SMALL = {"image_size": 32, "patch_size": 4, "width": 32, "heads": 2, "hidden": 64}  # of examples/digits/hierarchical.py
GEOMETRIES: dict[str, dict[str, ModelConfig]] = {
    "32 pixels": {
        "vit": preset("demo", **SMALL, depth=5),
        "hierarchical": preset("demo", **SMALL, depth=4, levels=(1,)),
    },
    "224 pixels": {"vit": preset("deit-s"), "hierarchical": preset("hierarchical-s")},
}
STAGES: dict[str, tuple[Any, Any]] = {
    "ee": (build_ee, TwoStageViT),
    "sac": (build_sac, TwoStageViT),
    "plain": (build_plain, PlainViT),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="sm89")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    for name, configs in GEOMETRIES.items():
        for stage in STAGES:
            graphs = {family: partial(build, stage, config) for family, config in configs.items()}
            row: dict[str, Any] = {"geometry": name, "stage": stage}
            row["megamacs"] = {
                family: getattr(count_cost(config), stage).macs / 1e6 for family, config in configs.items()
            }
            row |= time_by_turns(configs["vit"], graphs, options.rounds)
            row["kernels"] = {family: count_kernels(graph, options.target) for family, graph in graphs.items()}
            rows.append(row)
            print(json.dumps(row), flush=True)
    about = {"target": options.target, "compiler": require_compiler(), "rounds": options.rounds}
    about |= {"machine": describe_machine(), "versions": versions()}
    about["configs"] = {
        name: {key: one.to_dict() for key, one in configs.items()} for name, configs in GEOMETRIES.items()
    }
    options.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def build(stage: str, config: ModelConfig, form: Form) -> onnx.ModelProto:
    torch.manual_seed(0)
    write, network = STAGES[stage]
    weights = {name: tensor.numpy() for name, tensor in network(config).state_dict().items()}
    graph: onnx.ModelProto = write(config, weights, Preprocessing(config.image_size), 1, form)
    return graph


if __name__ == "__main__":
    main()
