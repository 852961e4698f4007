"""What the switches of docs/model.md cost: MACs, kernels of a real compiler, and time, with random weights.

    python benchmarks/switches.py --json docs/measured/switches.json

EE with each meaning of `reuse`; SAC with each meaning of `class_cluster`, as one masked product and as one product per cluster.
Kernels: FP16, TensorRT for RTX, which needs no GPU. Time: FP32 in ONNX Runtime at batch 1, the two graphs of a row by turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import torch

from sacvit.bundle.precision import Form, Products
from sacvit.bundle.preprocess import Preprocessing
from sacvit.calibration.onnx_session import Arrays, Session
from sacvit.export.checks.compiler import compile_one, require_compiler
from sacvit.export.graphs.stages import build_ee, build_sac
from sacvit.export.precision.retype import retype
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.config import ClassCluster, ModelConfig, Reuse, preset
from sacvit.model.cost import count_cost
from sacvit.model.network import TwoStageViT
from sacvit.profiles.timing.alternating import round_ratios, time_alternating

Build = Callable[[Form], onnx.ModelProto]
ROWS: list[tuple[str, str]] = [("EE", "reuse"), *(("SAC", meaning) for meaning in get_args(ClassCluster))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["demo", "deit-s"])
    parser.add_argument("--target", default="sm89")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--only-time", action="store_true", help="Keep the kernels that the file of --json has.")
    options = parser.parse_args()
    kept = json.loads(options.json.read_text())["rows"] if options.only_time else []
    rows = []
    for name in options.presets:
        for number, (stage, meaning) in enumerate(ROWS):
            graphs = graphs_of(preset(name), stage, meaning)
            row: dict[str, Any] = {"preset": name, "stage": stage, "row": meaning}
            if stage == "SAC":
                row["megamacs"] = round(count_cost(preset(name, class_cluster=meaning)).sac.macs / 1e6, 1)
            row |= time_by_turns(preset(name), graphs, options.rounds)
            old = kept[len(rows)]["kernels"] if kept else None
            row["kernels"] = old or {key: count_kernels(build, options.target) for key, build in graphs.items()}
            rows.append(row)
            print(number, json.dumps(row), flush=True)
    about = {"target": options.target, "compiler": require_compiler(), "rounds": options.rounds}
    about |= {"machine": describe_machine(), "versions": versions()}
    options.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def graphs_of(base: ModelConfig, stage: str, meaning: str) -> dict[str, Build]:
    """The two graphs of a row, by name."""
    torch.manual_seed(0)
    weights = {name: tensor.numpy() for name, tensor in TwoStageViT(base).state_dict().items()}
    rule = Preprocessing(base.image_size)

    def ee(reuse: Reuse, form: Form) -> onnx.ModelProto:
        return build_ee(changed(base, reuse=reuse), weights, rule, 1, form)

    def sac(products: Products, form: Form) -> onnx.ModelProto:
        return build_sac(changed(base, class_cluster=meaning), weights, rule, 1, form, products)

    if stage == "EE":
        return {reuse: partial(ee, reuse) for reuse in get_args(Reuse)}
    return {products: partial(sac, products) for products in get_args(Products)}


def changed(config: ModelConfig, **switches: Any) -> ModelConfig:
    return ModelConfig.from_dict(config.to_dict() | switches)


def time_by_turns(config: ModelConfig, graphs: dict[str, Build], rounds: int) -> dict[str, Any]:
    """Median ms of each graph, and the quartiles of the first one's time over the second's in a round."""
    sessions = {name: Session(build("cpu")) for name, build in graphs.items()}
    given = random_inputs(config)
    inputs = {name: {key: given[key] for key in session.inputs} for name, session in sessions.items()}
    passes = 1 if config.width > 200 else 20

    def over(name: str) -> Any:
        return lambda: [sessions[name].run(inputs[name]) for _ in range(passes)]

    times = time_alternating({name: over(name) for name in sessions}, rounds)
    ratios = statistics.quantiles(round_ratios(times, *times), n=4)
    ms = {name: round(statistics.median(values) / passes, 3) for name, values in times.items()}
    answers = [session.run(inputs[name])["logits"] for name, session in sessions.items()]
    return {
        "ms": ms,
        "first_over_second": [round(value, 3) for value in ratios],
        "apart": float(np.ptp(answers, 0).max()),
    }


def random_inputs(config: ModelConfig) -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (1, config.image_size, config.image_size, 3)).astype(np.uint8),
        "row": np.zeros(1, np.int32),
        "target_index": rng.permutation(config.blocks)[None, : config.targets].astype(np.int32),
        "target_context": rng.standard_normal((1, config.targets, config.width)).astype(np.float32),
        "non_target": rng.standard_normal((1, config.non_targets, config.width)).astype(np.float32),
    }


def count_kernels(build: Build, target: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(retype(build("gpu"), {})[0].SerializeToString())
        built = compile_one(path, target)
    return {"launches": built.launches, "fused_attentions": built.fused_attentions, "refusal": built.refusal}


if __name__ == "__main__":
    main()
