"""What an INT8 export costs when its ranges come from the built-in photographs, and whether the guards catch bad models there.

    python examples/digits/make_scenes.py --out data/report --seed 20 --train 0
    python benchmarks/builtin_calibration.py --test data/report/val --json builtin.json

Two parts, on the digits model, on the same with a class for "no digit" that every photograph falls into, and on the two
golden checkpoints (random weights; their six images, mirrored, turned and cropped to 96):

1. INT8 with ranges from the model's own images and from the photographs: its decisions against FP32's on own images.
2. Models that were broken on purpose (ranges cut, steps too coarse, one block wrong, ...), judged on the photographs as the
   export judges them, and on own images. What passes there and fails here was let through.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from sacvit.bundle.gating import may_exit
from sacvit.bundle.precision import INT8_LIMITS, Limits
from sacvit.calibration import ranges
from sacvit.calibration.decisions import Comparison, compare
from sacvit.calibration.guards import judge
from sacvit.calibration.onnx_session import Pair
from sacvit.calibration.qdq_placement import PIXEL_LAYER, weighted_layers
from sacvit.calibration.threshold import match_exit_rate
from sacvit.export.pair_graphs import build_graphs
from sacvit.export.precision.cascade import Cascade
from sacvit.export.precision.options import Graphs
from sacvit.export.precision.request import PrecisionOptions
from sacvit.images.builtin import builtin_photographs
from sacvit.images.calibration_set import ImageSet, open_images
from sacvit.machine.packages import versions
from sacvit.model.checkpoint import load_checkpoint

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "examples" / "digits" / "model.pth"
GOLDENS = ("cfvit-224-7x7", "lfvit-224-m5")
NOTHING_LOGIT = 4.0  # of the class for "no digit": above every photograph's, below most digits'
JUDGED_FAULTS = 320  # own images that a broken model is judged on

Models = dict[str, onnx.ModelProto]


@dataclass(frozen=True)
class Subject:
    """An FP32 pair with the images that its ranges come from, and those that it is judged on."""

    name: str
    graphs: Graphs
    threshold: float
    own: ImageSet
    test: ImageSet
    photographs: ImageSet

    def few(self) -> ImageSet:
        """Those own images that broken models are judged on."""
        count = min(JUDGED_FAULTS, self.test.count)
        chosen = np.arange(count) * self.test.count // count
        wanted = set(chosen.tolist())

        def read() -> Iterator[Any]:
            return (image for place, image in enumerate(self.test.read()) if place in wanted)

        return replace(
            self.test, count=count, read=read, labels=None if self.test.labels is None else self.test.labels[chosen]
        )


def digits(test: Path, folder: Path, with_nothing: bool) -> Subject:
    """The digits model; with_nothing: with an 11th class that photographs fall into, as a model in the field has one."""
    path = DIGITS
    classes = 10
    if with_nothing:
        content = torch.load(DIGITS, weights_only=True)
        weights = content["model"]
        weights["head.weight"] = torch.cat([weights["head.weight"], torch.zeros(1, weights["head.weight"].shape[1])])
        weights["head.bias"] = torch.cat([weights["head.bias"], torch.tensor([NOTHING_LOGIT])])
        content = {key: value for key, value in content.items() if key not in ("labels", "calibration")}
        if "classes" in content.get("config", {}):
            content["config"]["classes"] = 11
        path, classes = folder / "nothing.pth", 11
        torch.save(content, path)
    checkpoint = load_checkpoint(path)
    calibration = load_checkpoint(DIGITS).calibration
    assert calibration is not None and checkpoint.threshold is not None
    found = calibration.find()
    assert found is not None
    rule = checkpoint.preprocessing
    return Subject(
        "digits with a class for nothing" if with_nothing else "digits",
        build_graphs(checkpoint, None),
        checkpoint.threshold,
        open_images(found, rule, 512, classes, None, "--calib"),
        open_images(test, rule, None, classes, None, "--test"),
        builtin_photographs(checkpoint.config.image_size),
    )


def golden(name: str) -> Subject:
    """A golden checkpoint at the median confidence of its own images, so that half of them exit."""
    folder = ROOT / "tests" / "golden"
    arrays = np.load(folder / f"{name}.npz", allow_pickle=False)
    geometry = ast.literal_eval(str(arrays["config"]))
    switches: dict[str, Any] = {"heads": geometry["num_heads"], "alpha": geometry["alpha"], "attention": "global"}
    if "region_size" in geometry:
        switches |= {"selection": "window", "window": geometry["region_size"]}
    checkpoint = load_checkpoint(folder / f"{name}.pth", **switches)
    own = varied(arrays["image_u8"])
    graphs = build_graphs(checkpoint, None)
    coarse = Pair(graphs["cpu"]["EE"])
    confidence = np.concatenate([coarse.run_ee(batch)["confidence"] for batch in own.batches(8)])
    photographs = builtin_photographs(checkpoint.config.image_size)
    return Subject(name, graphs, float(np.median(confidence)), own, own, photographs)


def varied(images: Any) -> ImageSet:
    """Each image in 8 orientations, whole and as a crop."""
    import cv2

    rng, made = np.random.default_rng(0), []
    for image in images:
        size = len(image)
        for turn in range(4):
            for turned in (np.rot90(image, turn), np.rot90(image, turn)[:, ::-1]):
                made.append(np.ascontiguousarray(turned))
                side = int(size * rng.uniform(0.6, 0.95))
                top, left = rng.integers(size - side + 1, size=2)
                made.append(cv2.resize(made[-1][top : top + side, left : left + side], (size, size)))
    digest = hashlib.sha256(np.stack(made).tobytes()).hexdigest()
    return ImageSet("goldens", len(made), len(made), len(made), digest, None, lambda: iter(made))


def quantised(subject: Subject, images: ImageSet, method: str = "mse", percentile: float = ranges.PERCENTILE) -> Models:
    """EE and SAC with ranges from these images, as the export makes them."""
    before, ranges.PERCENTILE = ranges.PERCENTILE, percentile
    with tempfile.TemporaryDirectory() as cache:
        options = PrecisionOptions(int8=True, calib_method=method, calib_cache=Path(cache))  # type: ignore[arg-type]
        cascade = Cascade(subject.graphs, images, subject.threshold, options, lambda line: None)
        cascade.calibrate_ee()
        cascade.calibrate_sac(cascade.quantised("EE"))
        ranges.PERCENTILE = before
        return {"EE": cascade.quantised("EE"), "SAC": cascade.quantised("SAC")}


def stretched(models: Models, factor: float, stages: str = "EE SAC", block: int | None = None) -> Models:
    """Steps of activations times `factor`: below 1 they are cut, above 1 they are coarse."""
    return {
        stage: _with_steps(model, factor, block) if stage in stages.split() else model
        for stage, model in models.items()
    }


def _with_steps(model: onnx.ModelProto, factor: float, block: int | None) -> onnx.ModelProto:
    out = onnx.ModelProto()
    out.CopyFrom(model)
    readers = {
        layer.activation.removesuffix(".dequantized")
        for layer in weighted_layers(model)
        if layer.name != PIXEL_LAYER and (block is None or layer.name.startswith(f"blocks.{block}."))
    }
    for tensor in out.graph.initializer:
        if tensor.name.endswith(".step") and tensor.name.removesuffix(".step") in readers:
            step = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array((step * factor).astype(np.float32), tensor.name))
    return out


def one_step_per_weight(models: Models) -> Models:
    """Weights with one step per tensor in place of one per column."""
    changed: Models = {}
    for stage, model in models.items():
        out = onnx.ModelProto()
        out.CopyFrom(model)
        for tensor in out.graph.initializer:
            step = numpy_helper.to_array(tensor)
            if tensor.name.endswith(".step") and step.ndim:
                tensor.CopyFrom(numpy_helper.from_array(np.full_like(step, step.max()), tensor.name))
        changed[stage] = out
    return changed


def broken(subject: Subject) -> Iterator[tuple[str, Models]]:
    """Models that are wrong in one way each; some of them only a little."""
    healthy = quantised(subject, subject.photographs)
    yield "one step per weight", one_step_per_weight(healthy)
    for factor in (0.7, 0.6, 0.5, 0.35, 2, 4):
        yield f"every range x {factor}", stretched(healthy, factor)
    for stage in ("EE", "SAC"):
        for factor in (0.6, 0.5):
            yield f"every range of {stage} x {factor}", stretched(healthy, factor, stage)
    for percentile in (99.9, 99.5, 99):
        yield f"{percentile} percentile", quantised(subject, subject.photographs, "percentile", percentile)
    for block in (0, 2, 4, 5):
        for factor in (0.5, 0.25, 8):
            yield f"ranges of block {block} x {factor}", stretched(healthy, factor, block=block)


def describe(found: Comparison, eta: float, fitted: float) -> dict[str, Any]:
    """The chain's decisions on own images."""
    exits, mine = may_exit(found.confidence, eta), may_exit(found.variant_confidence, fitted)
    row = {
        "threshold": fitted,
        "exit_rate": float(mine.mean()),
        "exit_rate_fp32": float(exits.mean()),
        "exit_agreement": float((exits == mine).mean()),
        "decisions_equal": float((found.top1(eta, variant=False) == found.top1(fitted, variant=True)).mean()),
        "logit_error_ee": float(found.ee.mean_error.mean()),
    }
    if found.labels is not None:
        row |= {"top1": found.accuracy(fitted, variant=True), "top1_fp32": found.accuracy(eta, variant=False)}
    return row


def fails(found: Comparison, eta: float, fitted: float, limits: Limits) -> list[str]:
    """The guards that do not hold."""
    return [guard.name for guard in judge(found, eta, fitted, limits) if not guard.holds]


def cost(subject: Subject) -> list[dict[str, Any]]:
    """Part 1."""
    eta, rows = subject.threshold, []
    pairs = {name: Pair(*quantised(subject, images).values())
             for name, images in (("own", subject.own), ("photographs", subject.photographs))}  # fmt: skip
    on_test = compare(Pair(*subject.graphs["cpu"].values()), pairs, subject.test)
    for name, images in (("own", subject.own), ("photographs", subject.photographs)):
        seen = compare(Pair(subject.graphs["cpu"]["EE"]), {"it": pairs[name]}, images)["it"]
        fitted = match_exit_rate(seen.confidence, eta, seen.variant_confidence)
        rows += [
            {"images": name, "fit": fit, **describe(on_test[name], eta, value),
             "fails": fails(on_test[name], eta, value, INT8_LIMITS)}
            for fit, value in (("exit-rate", fitted), ("none", eta))
        ]  # fmt: skip
    return rows


def catch(subject: Subject) -> list[dict[str, Any]]:
    """Part 2: the guards that each broken model fails, on the photographs and on own images."""
    reference, eta = Pair(*subject.graphs["cpu"].values()), subject.threshold
    pairs = {name: Pair(models["EE"], models["SAC"]) for name, models in broken(subject)}
    there, here = (compare(reference, pairs, images) for images in (subject.photographs, subject.few()))
    rows = []
    for name in pairs:
        fitted = match_exit_rate(there[name].confidence, eta, there[name].variant_confidence)
        rows.append(
            {
                "fault": name,
                "photographs, usual limits": fails(there[name], eta, fitted, INT8_LIMITS),
                "photographs": fails(there[name], eta, eta, INT8_LIMITS.on_strangers()),
                "own": fails(here[name], eta, eta, INT8_LIMITS),
            }
        )
    return rows


def count(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How many broken models fail on own images, and how many of these pass on the photographs."""
    bad = [row for row in rows if row["own"]]
    return {
        "broken": len(rows),
        "fail_on_own": len(bad),
        "let_through_by_the_usual_limits": sum(not row["photographs, usual limits"] for row in bad),
        "let_through": sum(not row["photographs"] for row in bad),
        "refused_though_own_pass": sum(bool(row["photographs"]) for row in rows if not row["own"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", type=Path, required=True, help="images.npy folder of digits scenes with labels")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    report: dict[str, Any] = {"versions": versions(), "subjects": {}}
    with tempfile.TemporaryDirectory() as name:
        makers = (
            lambda: digits(options.test, Path(name), False),
            lambda: digits(options.test, Path(name), True),
            *(lambda kind=kind: golden(kind) for kind in GOLDENS),
        )
        for make in makers:
            subject = make()
            costs, faults = cost(subject), catch(subject)
            report["subjects"][subject.name] = {"cost": costs, "caught": count(faults), "faults": faults}
            print(subject.name)
            for row in costs:
                print("  ", {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
            print("  ", count(faults), flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
