"""Our INT8 against NVIDIA Model-Optimizer's, on the digits model: accuracy and agreement with FP32, unseen test scenes.

    python3 -m venv modelopt && modelopt/bin/pip install "nvidia-modelopt[onnx]"
    python benchmarks/quantization.py --modelopt modelopt/bin/python --calib data/digits/val --test data/report/val

Model-Optimizer runs in an environment of its own, through its command line: its default recipe, and linear layers alone. It
gets the graphs, the 512 calibration images and, for SAC, the very hand-off that ours is calibrated on. Its graphs keep FP32
beside INT8, as our *.int8.onnx do, and their thresholds are fitted to the same exit rate: what differs is the recipe.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from sacvit.calibration.decisions import compare
from sacvit.calibration.onnx_session import Pair
from sacvit.calibration.threshold import match_exit_rate
from sacvit.export.precision.request import PrecisionOptions
from sacvit.export.write_bundle import export
from sacvit.images.calibration_set import open_images
from sacvit.machine.packages import versions
from sacvit.model.checkpoint import load_checkpoint

CHECKPOINT = Path(__file__).parent.parent / "examples" / "digits" / "model.pth"
LINEAR = ("--op_types_to_quantize", "MatMul", "Gemm", "--disable_mha_qdq")
RECIPES: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": LINEAR,
    "linear, max": (*LINEAR, "--calibration_method", "max"),
}


def quantize(python: Path, source: Path, data: Path, target: Path, recipe: tuple[str, ...]) -> None:
    """One graph through Model-Optimizer's command line."""
    command = [python, "-m", "modelopt.onnx.quantization", "--onnx_path", source, "--quantize_mode", "int8"]
    command += ["--calibration_data_path", data, "--calibration_eps", "cpu", "--high_precision_dtype", "fp32"]
    command += ["--output_path", target, *recipe]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not target.is_file():
        raise SystemExit(f"Model-Optimizer failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def hand_off(pair: Pair, images: Any, eta: float) -> dict[str, Any]:
    """SAC's inputs for the images that do not exit by `pair` at eta, stacked; `row` is 0 at batch 1."""
    parts: dict[str, list[Any]] = {}
    for batch in images.batches(1):
        handed = pair.run_ee(batch)
        if handed["confidence"][0] < np.float32(eta):
            for name, values in pair.sac_inputs(batch, handed).items():
                parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def count_qdq(*paths: Path) -> dict[str, int]:
    """Operators that read a dequantized tensor, by type."""
    found: dict[str, int] = {}
    for path in paths:
        nodes = onnx.load(path).graph.node
        dequantized = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
        for node in nodes:
            if dequantized & set(node.input):
                found[node.op_type] = found.get(node.op_type, 0) + 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modelopt", type=Path, required=True, help="the Python of its environment")
    parser.add_argument("--calib", type=Path, required=True, help="images.npy folder")
    parser.add_argument("--test", type=Path, required=True, help="images.npy folder with labels")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()

    checkpoint = load_checkpoint(CHECKPOINT)
    classes, rule = checkpoint.config.classes, checkpoint.preprocessing
    calib = open_images(options.calib, rule, 512, classes, None, "--calib")
    test = open_images(options.test, rule, None, classes, None, "--test")
    about = "import modelopt, onnxruntime; print(modelopt.__version__, onnxruntime.__version__)"
    theirs = subprocess.run([options.modelopt, "-c", about], capture_output=True, text=True, check=True).stdout.split()
    report: dict[str, Any] = {"versions": versions() | {"nvidia-modelopt": theirs[0]}}
    report |= {"calibration": {"images": calib.count, "sha256": calib.sha256}}
    report |= {"test": {"images": test.count, "sha256": test.sha256}, "results": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = PrecisionOptions(int8=True, calib=options.calib, calib_cache=folder / "cache")
        began = time.perf_counter()
        bundle = export(CHECKPOINT, folder / "ours", batch=1, precision=wanted)
        seconds = {"sacvit": time.perf_counter() - began}
        files = {"sacvit": bundle.variants["int8"]}
        manifest = json.loads((bundle.folder / "sacvit.json").read_text())
        np.savez(folder / "ee.npz", image=np.stack(list(calib.read())))
        ours = Pair(*map(onnx.load, bundle.variants["int8"]))
        np.savez(folder / "sac.npz", **hand_off(ours, calib, manifest.calibration["sac_threshold"]))
        for recipe, flags in RECIPES.items():
            began = time.perf_counter()
            label = f"Model-Optimizer, {recipe}"
            targets = [folder / f"{stage}.{recipe.replace(', ', '-')}.onnx" for stage in ("ee", "sac")]
            for source, target in zip((bundle.ee, bundle.sac), targets, strict=True):
                quantize(options.modelopt, source, folder / f"{source.stem}.npz", target, flags)
            files[label] = (targets[0], targets[1])
            seconds[label] = time.perf_counter() - began
        eta = bundle.threshold
        reference = Pair(onnx.load(bundle.ee), onnx.load(bundle.sac))
        pairs = {label: Pair(*map(onnx.load, paths)) for label, paths in files.items()}
        fits = compare(Pair(onnx.load(bundle.ee)), pairs, calib)
        print(f"{test.count} test images, FP32 threshold {eta:g}")
        print(f"{'':30}{'top-1':>8}{'exit agreement':>16}{'at FP32 eta':>13}{'SAC top-1 agr.':>16}{'decisions':>11}")
        for label, found in compare(reference, pairs, test).items():
            fitted = match_exit_rate(fits[label].confidence, eta, fits[label].variant_confidence)
            exits, at_fitted, at_same = (
                confidence >= np.float32(value)
                for confidence, value in (
                    (found.confidence, eta),
                    (found.variant_confidence, fitted),
                    (found.variant_confidence, eta),
                )
            )
            both = ~exits & ~at_fitted
            assert found.sac is not None
            row = {
                "recipe": label,
                "threshold": fitted,
                "top1": found.accuracy(fitted, variant=True),
                "exit_agreement": float((exits == at_fitted).mean()),
                "exit_agreement_at_fp32_eta": float((exits == at_same).mean()),
                "sac_top1_agreement": float((found.sac.top1 == found.sac.variant_top1)[both].mean()),
                "decisions_equal": float((found.top1(eta, variant=False) == found.top1(fitted, variant=True)).mean()),
                "target_blocks_kept": float(found.overlap.mean()),
                "mean_logit_error": {
                    "EE": float(found.ee.mean_error.mean()),
                    "SAC": float(found.sac.mean_error[~exits].mean()),
                },
                "quantized_operators": count_qdq(*files[label]),
                "seconds": round(seconds[label], 1),
            }
            report["fp32_top1"] = found.accuracy(eta, variant=False)
            report["results"].append(row)
            print(
                f"{label:30}{row['top1']:8.2%}{row['exit_agreement']:16.2%}{row['exit_agreement_at_fp32_eta']:13.2%}"
                f"{row['sac_top1_agreement']:16.2%}{row['decisions_equal']:11.2%}"
            )
        print(f"{'FP32':30}{report['fp32_top1']:8.2%}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
