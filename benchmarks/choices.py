"""What single choices of the INT8 recipe are worth, all else equal, on the digits model.

python benchmarks/choices.py --calib data/digits/val --test data/report/val --json choices.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sacvit.calibration import qdq_placement as placement
from sacvit.calibration.activations import Observation, observe
from sacvit.calibration.decisions import Comparison, compare
from sacvit.calibration.methods import Method
from sacvit.calibration.onnx_session import Pair
from sacvit.calibration.qdq_placement import LEVELS, as_step, insert_qdq, weighted_layers
from sacvit.calibration.threshold import match_exit_rate
from sacvit.export.pair_graphs import build_pair
from sacvit.images.calibration_set import open_images
from sacvit.machine.packages import versions
from sacvit.model.checkpoint import load_checkpoint

CHECKPOINT = Path(__file__).parent.parent / "examples" / "digits" / "model.pth"
ALL = 2.0  # a threshold that nobody reaches: every image goes on


def activations(model: onnx.ModelProto) -> list[str]:
    return [layer.activation for layer in weighted_layers(model)]


def ranges(seen: Observation, method: Method) -> dict[str, float]:
    return {name: histogram.range_by(method) for name, histogram in seen.histograms.items()}


def observe_sac(sac: onnx.ModelProto, pair: Pair, images: Any, eta: float) -> Observation:
    """SAC on what `pair`'s EE hands over for the images below eta."""

    def feed() -> Any:
        for batch in images.batches(8):
            handed = pair.run_ee(batch)
            keep = handed["confidence"] < np.float32(eta)
            if keep.any():
                yield int(keep.sum()), pair.sac_inputs(batch[keep], {name: v[keep] for name, v in handed.items()})

    return observe("sac.onnx", sac, activations(sac), feed())


def quantize_residuals(model: onnx.ModelProto, seen: Observation) -> onnx.ModelProto:
    """Q/DQ on both inputs of every residual add too, at their largest magnitude."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:]
    done = set()
    for original in model.graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        is_residual = node.name.endswith(".after_attn") or (
            node.name.startswith("blocks.") and node.name.count(".") == 1
        )
        for place, name in enumerate(node.input if is_residual else []):
            if name not in done:
                done.add(name)
                largest = seen.largest.get(name, seen.largest["blocks.0.after_attn"])  # the embedding is a joint
                step = as_step(np.array(largest / LEVELS))
                out.graph.initializer.append(numpy_helper.from_array(step, f"{name}.add.step"))
                out.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.int8), f"{name}.add.zero"))
                scale = [f"{name}.add.step", f"{name}.add.zero"]
                out.graph.node.append(helper.make_node("QuantizeLinear", [name, *scale], [f"{name}.add.q"]))
                out.graph.node.append(
                    helper.make_node("DequantizeLinear", [f"{name}.add.q", *scale], [f"{name}.add.dq"])
                )
            node.input[place] = f"{name}.add.dq"
        out.graph.node.append(node)
    return out


def describe(found: Comparison, fit: Comparison, eta: float) -> dict[str, float]:
    fitted = match_exit_rate(fit.confidence, eta, fit.variant_confidence)
    exits, mine = found.confidence >= np.float32(eta), found.variant_confidence >= np.float32(fitted)
    assert found.sac is not None
    both = ~exits & ~mine
    return {
        "threshold": fitted,
        "top1": found.accuracy(fitted, variant=True),
        "exit_agreement": float((exits == mine).mean()),
        "mean_logit_error_ee": float(found.ee.mean_error.mean()),
        "mean_logit_error_sac": float(found.sac.mean_error[~exits].mean()),
        "top1_agreement_full_path": float((found.sac.top1 == found.sac.variant_top1)[both].mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calib", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    checkpoint = load_checkpoint(CHECKPOINT)
    rule, classes = checkpoint.preprocessing, checkpoint.config.classes
    calib = open_images(options.calib, rule, 512, classes, None, "--calib")
    test = open_images(options.test, rule, None, classes, None, "--test")
    ee, sac = build_pair(checkpoint, None)
    eta = float(checkpoint.threshold or 0)
    coarse = Pair(ee)
    seen = observe("ee.onnx", ee, activations(ee), ((len(batch), {"image": batch}) for batch in calib.batches(8)))

    def fitted(pair: Pair) -> float:
        found = compare(coarse, {"it": pair}, calib)["it"]
        return match_exit_rate(found.confidence, eta, found.variant_confidence)

    def build(method: Method = "mse", change: Callable[[onnx.ModelProto, Observation], onnx.ModelProto] | None = None,
              cascade: bool = True) -> Pair:  # fmt: skip
        small = insert_qdq(ee, ranges(seen, method))
        handing = Pair(small)
        seen_sac = (
            observe_sac(sac, handing, calib, fitted(handing)) if cascade else observe_sac(sac, coarse, calib, ALL)
        )
        large = insert_qdq(sac, ranges(seen_sac, method))
        return Pair(change(small, seen), change(large, seen_sac)) if change else Pair(small, large)

    pairs = {"as exported (mse)": build(), "SAC calibrated on FP32's hand-off of all images": build(cascade=False)}
    exact = placement.PIXEL_STEP
    placement.PIXEL_STEP = 2 * exact  # pixels 0 .. 255 use one sign: half the steps
    pairs["pixels 0 .. 255 instead of centred"] = build()
    placement.PIXEL_STEP = exact
    pairs["Q/DQ on the residual adds too"] = build(change=quantize_residuals)
    for method in ("minmax", "percentile", "entropy"):
        pairs[f"--calib-method {method}"] = build(method)  # type: ignore[arg-type]
    fits = compare(coarse, pairs, calib)
    found = compare(Pair(ee, sac), pairs, test)
    report = {name: describe(found[name], fits[name], eta) for name in pairs}
    for name, row in report.items():
        print(f"{name:50}" + "".join(f"{key} {value:.4f}  " for key, value in row.items()))
    if options.json:
        about = {"versions": versions(), "calibration": calib.sha256, "test": test.sha256}
        options.json.write_text(json.dumps({**about, "choices": report}, indent=1) + "\n")


if __name__ == "__main__":
    main()
