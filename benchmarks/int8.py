"""The INT8 chain against the FP32 chain, alternating in one run, and what the calibration takes.

    python benchmarks/int8.py --json int8.json

A DeiT-S of random weights (speed does not depend on their values) is calibrated in a process of its own, whose time and peak
memory are printed, and exported in another. Then both chains classify the same images at the same exit rate.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chain import threshold_for

from sacvit.bundle.preprocess import Preprocessing
from sacvit.export.checks.parity import check_images
from sacvit.export.pair_graphs import build_graphs
from sacvit.export.precision.cascade import Cascade
from sacvit.export.precision.image_sets import open_both
from sacvit.export.precision.request import PrecisionOptions
from sacvit.machine.cpu import processor_flags
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.checkpoint import load_checkpoint
from sacvit.model.config import ModelConfig, preset
from sacvit.model.cost import DERIVED_EXIT_RATE
from sacvit.model.network import TwoStageViT
from sacvit.model.write_checkpoint import save_checkpoint
from sacvit.profiles.timing.alternating import round_ratios, time_alternating
from sacvit.runtime.chain.pipeline import Pipeline

# Random weights decide at random: the guards have nothing to hold on to.
NO_GUARDS = (
    *("--min-exit-agreement", "0", "--max-far-flips", "1", "--max-band-flips", "1", "--min-top1-agreement", "0"),
    *("--min-target-overlap", "0", "--max-logit-error", "1000", "--max-top1-drop", "100"),
)
INT8_FLAGS = ("avx512_vnni", "avx_vnni", "avx512f", "avx2")


def prepare(folder: Path, config: ModelConfig, count: int) -> None:
    """model.pth with random weights, and images.npz."""
    torch.manual_seed(0)
    model = TwoStageViT(config)
    with torch.no_grad():
        for parameter in model.parameters():  # wide enough that confidences differ between images
            parameter.add_(0.03 * torch.randn_like(parameter))
    save_checkpoint(folder / "model.pth", model, Preprocessing(config.image_size))
    np.savez(folder / "images.npz", images=check_images(config, count))


def tell(line: str) -> None:
    print(line, file=sys.stderr)


def calibrate(folder: Path) -> dict[str, float]:
    """Both graphs' ranges, INT8 graphs included; seconds, and the peak of this process, which does nothing else."""
    checkpoint = load_checkpoint(folder / "model.pth")
    graphs = build_graphs(checkpoint, None)
    options = PrecisionOptions(int8=True, calib=folder / "images.npz", calib_cache=folder / "cache")
    began = time.perf_counter()
    images, _ = open_both(checkpoint, None, options, tell)
    cascade = Cascade(graphs, images, 0.7, options, tell)
    cascade.calibrate_ee()
    cascade.calibrate_sac(cascade.quantised("EE"))
    cascade.quantised("SAC")
    seconds = time.perf_counter() - began
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"images": images.count, "seconds": round(seconds, 1), "peak_mib": round(peak_mib)}


def export_int8(folder: Path) -> dict[str, float]:
    """The whole sacvit-export --int8 after that, from the cached ranges: checks, guards and FP16 as well."""
    command = [Path(sys.executable).parent / "sacvit-export", "--ckpt", folder / "model.pth", "--out", folder / "build"]
    command += ["--int8", "--calib", folder / "images.npz", "--calib-cache", folder / "cache", *NO_GUARDS]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"seconds": round(seconds, 1), "peak_mib": round(peak_mib)}


def run_batch(chains: dict[str, Pipeline], images: Any, batch: int, rounds: int) -> dict[str, Any]:
    """Times both chains over all images, round by round; a round is one pass over them."""
    chunks = [images[start : start + batch] for start in range(0, len(images), batch)]

    def task(pipeline: Pipeline) -> Any:
        def run() -> None:
            for chunk in chunks:
                pipeline.image_slots(len(chunk))[:] = chunk
                pipeline.run(len(chunk))

        return run

    times = time_alternating({name: task(pipeline) for name, pipeline in chains.items()}, rounds)
    ratios = round_ratios(times, "fp32", "int8")
    return {
        "batch": batch,
        "images": len(images),
        "rounds": rounds,
        "ms_per_image": {name: round(statistics.median(values) / len(images), 3) for name, values in times.items()},
        "speedup": {
            "median": round(statistics.median(ratios), 3),
            "min": round(min(ratios), 3),
            "max": round(max(ratios), 3),
        },
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
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--calib-count", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--calibrate-only", type=Path, help=argparse.SUPPRESS)  # the process that is measured
    options = parser.parse_args()
    if options.calibrate_only:
        print(json.dumps(calibrate(options.calibrate_only)))
        return

    config = preset(options.preset)
    report: dict[str, Any] = {"preset": options.preset, "machine": describe_machine(), "versions": versions()}
    report["machine"]["int8_instructions"] = [flag for flag in INT8_FLAGS if flag in processor_flags()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, config, options.calib_count)
        alone = subprocess.run(
            [sys.executable, __file__, "--calibrate-only", folder], check=True, stdout=subprocess.PIPE, text=True
        )
        report["calibration"] = json.loads(alone.stdout)
        print(f"calibration: {json.dumps(report['calibration'])}")
        report["export"] = export_int8(folder)
        print(f"the rest of the export: {json.dumps(report['export'])}")
        images = check_images(config, options.images)
        chains = {}
        for kind, middle in (("fp32", ""), ("int8", "int8.")):
            pipeline = Pipeline.load(*(folder / "build" / f"{stage}.{middle}onnx" for stage in ("ee", "sac")))
            chains[kind] = Pipeline(pipeline.ee, pipeline.sac, threshold_for(pipeline, images, options.exit_rate))
        report["results"] = []
        for batch in options.batch:
            result = run_batch(chains, images, batch, options.rounds)
            report["results"].append(result)
            per_image, speedup = result["ms_per_image"], result["speedup"]
            print(
                f"batch {batch:2}: FP32 {per_image['fp32']:.2f} ms, INT8 {per_image['int8']:.2f} ms per image:"
                f" {speedup['median']:.2f}x ({speedup['min']:.2f} to {speedup['max']:.2f} over {options.rounds} rounds)"
            )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
