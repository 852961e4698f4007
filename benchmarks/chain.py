"""The chain against the plain ViT of the same geometry, through the same backend, alternating in one run.

    python benchmarks/chain.py --json chain.json
    python benchmarks/chain.py --backend openvino
    python benchmarks/chain.py --bundle DIR --backend onnxruntime --precision int8

Both get the same images and random weights (speed does not depend on their values), or those of a bundle that was exported with
--plain. The threshold lets `--exit-rate` of the images leave after EE. Printed: the speed-up round by round,
the FLOP ratio it is to be compared with, and what the pipeline costs over the bare sessions.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sacvit.bundle.manifest import read_manifest
from sacvit.bundle.precision import file_name
from sacvit.bundle.preprocess import Preprocessing
from sacvit.export.checks.parity import check_images
from sacvit.export.write_bundle import export
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.config import ModelConfig, preset
from sacvit.model.cost import DERIVED_EXIT_RATE, count_cost
from sacvit.model.network import TwoStageViT
from sacvit.model.write_checkpoint import save_checkpoint
from sacvit.profiles.timing.alternating import round_ratios, time_alternating
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.backends import load_stage
from sacvit.runtime.engines.buffers import HostLane, wrap
from sacvit.runtime.engines.options import EngineOptions, Provider
from sacvit.runtime.engines.stage import Stage

PAPER = (
    "62 % fewer FLOPs and 1.98x (arXiv 2503.00060); the exit rate of 0.77 is derived from its 62 % by our count of MACs"
)


PROVIDERS: dict[tuple[str, str], Provider] = {  # by backend and precision; INT8 files say themselves what they are
    ("onnxruntime", "fp32"): "cpu",
    ("onnxruntime", "int8"): "cpu",
    ("openvino", "fp32"): "openvino",
    ("openvino", "bf16"): "openvino-bf16",
    ("openvino", "int8"): "openvino",
}


def build(folder: Path, config: ModelConfig) -> Path:
    """A bundle of random weights with its plain ViT, in FP32."""
    torch.manual_seed(0)
    preprocessing = Preprocessing(config.image_size)
    model = TwoStageViT(config)
    with torch.no_grad():
        for parameter in model.parameters():  # wide enough that confidences differ between images
            parameter.add_(0.03 * torch.randn_like(parameter))
    save_checkpoint(folder / "model.pth", model, preprocessing)
    bundle = export(folder / "model.pth", folder / "build", plain=True)
    print(f"exported in {bundle.duration_s:.1f} s")
    return bundle.folder


def load(folder: Path, backend: str, precision: str) -> tuple[Pipeline, Stage]:
    """The pair of a bundle as a pipeline, and its plain ViT as a stage of the same backend."""
    provider = PROVIDERS[backend, precision]
    ee, sac, plain = (
        folder / file_name(stage, "int8" if precision == "int8" else "fp32") for stage in ("EE", "SAC", "plain")
    )
    return Pipeline.load(ee, sac, provider=provider), load_stage(plain, EngineOptions(provider))


def threshold_for(pipeline: Pipeline, images: np.ndarray, exit_rate: float) -> float:
    """The threshold at which that share of the images exits: a value between two confidences."""
    confidences = sorted((pipeline(image).confidence for image in images), reverse=True)
    count = round(exit_rate * len(images))
    return float(np.clip((confidences[count - 1] + confidences[min(count, len(images) - 1)]) / 2, 0, 1))


def run_batch(pipeline: Pipeline, plain: Stage, images: np.ndarray, batch: int, rounds: int) -> dict[str, Any]:
    """Times the plain ViT, the pipeline and its two bare sessions, batch by batch in turn, over all images."""
    size = images.shape[1]
    chunks = [images[start : start + batch] for start in range(0, len(images), batch)]
    plain_buffers = {"image": np.zeros((batch, size, size, 3), np.uint8)}
    plain_buffers["logits"] = np.zeros((batch, plain.outputs["logits"].shape[0]), np.float32)
    plain_pass = plain.bind(wrap(plain_buffers), HostLane())
    survivors = []
    for chunk in chunks:
        pipeline.image_slots(batch)[:] = chunk
        survivors.append([index for index, result in enumerate(pipeline.run(batch)) if not result.exits_early])
    track = pipeline.track(batch)
    ee_pass = track.ee_binding(batch)
    turns = {name: itertools.cycle(range(len(chunks))) for name in ("plain", "chain", "bare")}
    inside_ms: list[float] = []

    def run_plain() -> None:
        plain_buffers["image"][:] = chunks[next(turns["plain"])]
        plain_pass.start()
        plain_pass.wait()

    def run_pipeline() -> None:
        pipeline.image_slots(batch)[:] = chunks[next(turns["chain"])]
        results = pipeline.run(batch)
        inside_ms.append(results[0].ee_ms + max(result.sac_ms or 0.0 for result in results))

    def run_bare() -> None:
        """The same bindings, driven by a list of survivors that is known beforehand."""
        turn = next(turns["bare"])
        track.images[:] = chunks[turn]
        ee_pass.start()
        ee_pass.wait()
        if rows := survivors[turn]:
            track.row[: len(rows)] = rows
            sac_pass = track.sac_binding(len(rows))
            sac_pass.start()
            sac_pass.wait()

    tasks = {"plain": run_plain, "chain": run_pipeline, "bare": run_bare}
    passes = time_alternating(tasks, rounds * len(chunks), warmup_rounds=len(chunks))
    # Every round holds every image once: sums over a round are what is compared.
    times = {name: np.reshape(values, (rounds, -1)).sum(1).tolist() for name, values in passes.items()}
    inside = np.reshape(inside_ms[-rounds * len(chunks) :], (rounds, -1)).sum(1).tolist()
    ratios = round_ratios(times, "plain", "chain")
    count = len(chunks) * batch
    return {
        "batch": batch,
        "images": count,
        "rounds": rounds,
        "exit_rate": round(1 - sum(map(len, survivors)) / count, 4),
        "ms_per_image": {name: round(statistics.median(values) / count, 3) for name, values in times.items()},
        "speedup": {
            "median": round(statistics.median(ratios), 3),
            "min": round(min(ratios), 3),
            "max": round(max(ratios), 3),
        },
        "overhead_over_bare_sessions": round(statistics.median(round_ratios(times, "chain", "bare")) - 1, 4),
        "overhead_outside_the_passes": round(
            statistics.median(wall / spent - 1 for wall, spent in zip(times["chain"], inside, strict=True)), 4
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="deit-s")
    parser.add_argument(
        "--exit-rate",
        type=float,
        default=DERIVED_EXIT_RATE,
        help="default: where our MACs are 62 %% fewer, as the paper's",
    )
    parser.add_argument("--bundle", type=Path, help="run its files, in place of random weights in FP32")
    parser.add_argument("--backend", choices=sorted({backend for backend, _ in PROVIDERS}), default="onnxruntime")
    parser.add_argument("--precision", choices=sorted({precision for _, precision in PROVIDERS}), default="fp32")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--images", type=int, default=48, help="rounded up to whole batches")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()

    if (options.backend, options.precision) not in PROVIDERS:
        parser.error(f"--precision {options.precision} does not run in {options.backend}")
    if options.precision == "int8" and options.bundle is None:
        parser.error("--precision int8 needs the ranges of a bundle: sacvit-export --int8 --plain, then --bundle DIR")
    config = preset(options.preset) if options.bundle is None else ModelConfig(**read_manifest(options.bundle).model)
    cost = count_cost(config)
    limit = cost.speedup_limit(options.exit_rate)
    report: dict[str, Any] = {
        "preset": options.preset if options.bundle is None else "a bundle",
        "machine": describe_machine(),
        "versions": versions(),
    }
    report["flop_ratio"] = round(limit, 3)
    macs = [f"{stage.macs / 1e9:.2f} G" for stage in (cost.plain, cost.ee, cost.sac)]
    print(f"MACs: plain {macs[0]}, EE {macs[1]}, SAC {macs[2]}; at exit rate {options.exit_rate} the chain needs")
    print(f"{limit:.2f} times fewer. Paper: {PAPER}")
    with tempfile.TemporaryDirectory() as name:
        folder = options.bundle or build(Path(name), config)
        pipeline, plain = load(folder, options.backend, options.precision)
        report |= {"backend": pipeline.ee.backend, "precision": options.precision}
        report["results"] = []
        for batch in options.batch:
            images = check_images(config, -(-options.images // batch) * batch)
            eta = threshold_for(pipeline, images, options.exit_rate)
            chain = Pipeline(pipeline.ee, pipeline.sac, eta)
            result = run_batch(chain, plain, images, batch, options.rounds)
            report["results"].append(result)
            per_image, speedup = result["ms_per_image"], result["speedup"]
            print(
                f"batch {batch:2}: plain {per_image['plain']:.2f} ms, chain {per_image['chain']:.2f} ms per image at exit"
                f" rate {result['exit_rate']:.3f}: {speedup['median']:.2f}x ({speedup['min']:.2f} to {speedup['max']:.2f}"
                f" over {options.rounds} rounds; FLOPs {limit:.2f}x); overhead {result['overhead_over_bare_sessions']:.1%}"
                f" over bare sessions, {result['overhead_outside_the_passes']:.2%} outside the passes"
            )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
