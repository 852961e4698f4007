"""A bundle's chains against what a user would take instead: the plain ViT in PyTorch, ONNX Runtime and OpenVINO.

    sacvit-export --ckpt model.pth --plain --int8 --out build
    python benchmarks/alternatives.py --bundle build --json alternatives.json

All take turns in one run, over the same images. Each chain has the threshold at which `--exit-rate` of them exit.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chain import PROVIDERS, load, threshold_for

from sacvit.bundle.errors import SacvitError
from sacvit.bundle.manifest import read_manifest
from sacvit.export.checks.parity import check_images
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.config import ModelConfig
from sacvit.model.cost import DERIVED_EXIT_RATE
from sacvit.model.network import PlainViT
from sacvit.profiles.timing.alternating import round_ratios, time_alternating
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.buffers import HostLane, wrap
from sacvit.runtime.engines.stage import Stage

Task = Callable[[], None]
REFERENCE = "chain, ONNX Runtime FP32"
BACKENDS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def chain_task(pipeline: Pipeline, chunks: list[np.ndarray]) -> Task:
    def run() -> None:
        for chunk in chunks:
            pipeline.image_slots(len(chunk))[:] = chunk
            pipeline.run(len(chunk))

    return run


def plain_task(stage: Stage, chunks: list[np.ndarray]) -> Task:
    buffers = {"image": np.zeros_like(chunks[0])}
    buffers["logits"] = np.zeros((len(chunks[0]), stage.outputs["logits"].shape[0]), np.float32)
    binding = stage.bind(wrap(buffers), HostLane())

    def run() -> None:
        for chunk in chunks:
            buffers["image"][:] = chunk
            binding.start()
            binding.wait()

    return run


def torch_task(network: Any, chunks: list[np.ndarray]) -> Task:
    def run() -> None:
        with torch.inference_mode():
            for chunk in chunks:
                network(torch.from_numpy(chunk))

    return run


def tasks_for(folder: Path, config: ModelConfig, images: np.ndarray, batch: int, exit_rate: float) -> dict[str, Task]:
    """Everything that runs here, by its name."""
    chunks = [images[start : start + batch] for start in range(0, len(images), batch)]
    network = PlainViT(config).eval()
    torch.compiler.reset()
    found = {
        "plain, PyTorch": torch_task(network, chunks),
        "plain, torch.compile": torch_task(torch.compile(network), chunks),
    }
    for backend, precision in PROVIDERS:
        if importlib.util.find_spec(backend) is None:
            continue
        try:
            pipeline, plain = load(folder, backend, precision)
        except SacvitError as reason:
            print(f"without {backend} {precision}: {str(reason).partition('. ')[0]}")
            continue
        name = f"{BACKENDS[backend]} {precision.upper()}"
        pipeline.threshold = threshold_for(pipeline, images, exit_rate)
        found |= {f"plain, {name}": plain_task(plain, chunks), f"chain, {name}": chain_task(pipeline, chunks)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--exit-rate", type=float, default=DERIVED_EXIT_RATE)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--images", type=int, default=48, help="rounded up to whole batches")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    config = ModelConfig(**read_manifest(options.bundle).model)
    report: dict[str, Any] = {"machine": describe_machine(), "versions": versions(), "rounds": options.rounds}
    report |= {"exit_rate": options.exit_rate, "batches": {}}
    for batch in options.batch:
        images = check_images(config, -(-options.images // batch) * batch)
        tasks = tasks_for(options.bundle, config, images, batch, options.exit_rate)
        times = time_alternating(tasks, options.rounds)
        rows = report["batches"][batch] = {}
        for name, spent in sorted(times.items(), key=lambda item: statistics.median(item[1])):
            ratios = round_ratios(times, REFERENCE, name)
            rows[name] = {
                "ms_per_image": round(statistics.median(spent) / len(images), 3),
                "speed": round(statistics.median(ratios), 3),
                "from": round(min(ratios), 3),
                "to": round(max(ratios), 3),
            }
            row = rows[name]
            print(
                f"batch {batch:2}: {name:28} {row['ms_per_image']:7.2f} ms per image, {row['speed']:.2f} times as fast as the"
                f" {REFERENCE} ({row['from']:.2f} to {row['to']:.2f})"
            )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
