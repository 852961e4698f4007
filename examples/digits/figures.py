"""The paper's three onboarding experiments on the digits example, as figures and numbers.

    python examples/digits/figures.py --data data/digits --out docs/digits

1. eta = 0 against eta = 1: the EE stage alone, the SAC stage alone. 2. Where the fine pass looks. 3. Accuracy against
throughput over eta, with the plain single-stage ViT of the same size as the baseline. `--data` holds the scenes that
make_scenes.py wrote; only its test scenes are used. Throughput is batch 1 on ONNX Runtime, all contenders alternating.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from sacvit.bundle.preprocess import ImageU8
from sacvit.export.write_bundle import export
from sacvit.export.write_plain import export_plain
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.checkpoint import load_plain
from sacvit.model.cost import count_cost
from sacvit.profiles.timing.alternating import time_alternating
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.buffers import HostLane, wrap
from sacvit.runtime.engines.onnx import OnnxStage
from sacvit.runtime.sinks.overlay import draw_targets

mpl.use("agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
ETAS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
TIMED_IMAGES = 400
GREEN, ORANGE, GREY = "#50a85a", "#e08a1e", "#555555"


class Plain:
    """The baseline ViT as an ONNX Runtime stage."""

    def __init__(self, folder: Path) -> None:
        model, preprocessing = load_plain(HERE / "plain.pth")
        export_plain(model, preprocessing, folder / "plain.onnx")
        stage = OnnxStage(folder / "plain.onnx")
        size = preprocessing.image_size
        self.image = np.zeros((1, size, size, 3), np.uint8)
        self.logits = np.zeros((1, model.config.classes), np.float32)
        self.binding = stage.bind(wrap({"image": self.image, "logits": self.logits}), HostLane())

    def __call__(self, image: ImageU8) -> int:
        self.image[0] = image
        self.binding.start()
        return int(self.logits.argmax())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/digits"))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    images = np.load(options.data / "val" / "images.npy", mmap_mode="r")
    labels = np.load(options.data / "val" / "labels.npy")
    with tempfile.TemporaryDirectory() as name:
        bundle = export(HERE / "model.pth", Path(name) / "build")
        stored = Pipeline.load(bundle.ee, bundle.sac)
        plain = Plain(Path(name))
        numbers = measure(stored, plain, images, labels, options.rounds)
        draw_stages(numbers, options.out / "stages.png")
        draw_masks(stored, images, labels, options.out / "masks.png")
        draw_tradeoff(numbers, options.out / "tradeoff.png")
    (options.out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    for row in [*numbers["eta"], numbers["plain"]]:
        print(" ".join(f"{key}={value}" for key, value in row.items()))


def measure(stored: Pipeline, plain: Plain, images: ImageU8, labels: Any, rounds: int) -> dict[str, Any]:
    """Accuracy over all test scenes, time over the first TIMED_IMAGES of them, for every eta and the baseline."""
    etas = sorted({*ETAS, stored.threshold})
    chains = {eta: Pipeline(stored.ee, stored.sac, eta) for eta in etas}
    timed = np.ascontiguousarray(images[:TIMED_IMAGES])

    def over(chain: Any) -> Any:
        return lambda: [chain(image) for image in timed]

    tasks = {str(eta): over(chain) for eta, chain in chains.items()} | {"plain": over(plain)}
    times = time_alternating(tasks, rounds)
    ms = {name: statistics.median(values) / len(timed) for name, values in times.items()}
    rows = []
    for eta, chain in chains.items():
        results = chain(images)
        right = np.array([result.index for result in results]) == labels
        exits = np.array([result.exits_early for result in results])
        rows.append(
            {
                "eta": eta,
                "top1": round(float(right.mean()), 4),
                "exit_rate": round(float(exits.mean()), 4),
                "ms": round(ms[str(eta)], 3),
                "images_per_s": round(1e3 / ms[str(eta)], 1),
            }
        )
    plain_right = np.mean([plain(image) == label for image, label in zip(images, labels, strict=True)])
    cost = count_cost(load_plain(HERE / "plain.pth")[0].config)
    return {
        "test_scenes": len(labels),
        "stored_eta": stored.threshold,
        "eta": rows,
        "plain": {
            "plain_top1": round(float(plain_right), 4),
            "ms": round(ms["plain"], 3),
            "images_per_s": round(1e3 / ms["plain"], 1),
        },
        "megamacs": {stage: round(getattr(cost, stage).macs / 1e6, 1) for stage in ("ee", "sac", "plain")},
        "rounds": rounds,
        "machine": describe_machine(),
        "versions": versions(),
    }


def draw_stages(numbers: dict[str, Any], path: Path) -> None:
    """EE alone (eta 0), SAC for everything (eta 1), the stored eta and the plain ViT: accuracy and time."""
    by_eta = {row["eta"]: row for row in numbers["eta"]}
    stored = numbers["stored_eta"]
    bars = [
        ("EE alone\n(eta 0)", by_eta[0.0]["top1"], by_eta[0.0]["ms"], GREEN),
        (f"chain\n(eta {stored:g})", by_eta[stored]["top1"], by_eta[stored]["ms"], "#8a9a3a"),
        ("EE, then SAC\n(eta 1)", by_eta[1.0]["top1"], by_eta[1.0]["ms"], ORANGE),
        ("plain ViT", numbers["plain"]["plain_top1"], numbers["plain"]["ms"], GREY),
    ]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    names, colours = [bar[0] for bar in bars], [bar[3] for bar in bars]
    for axes, values, title, form in (
        (left, [100 * bar[1] for bar in bars], "top-1 on unseen scenes, %", "{:.1f}"),
        (right, [bar[2] for bar in bars], "milliseconds per image, batch 1", "{:.2f}"),
    ):
        drawn = axes.bar(names, values, color=colours, width=0.62)
        axes.bar_label(drawn, [form.format(value) for value in values], padding=2)
        axes.set_title(title, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", labelsize=8.5)
        axes.margins(y=0.12)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_masks(pipeline: Pipeline, images: ImageU8, labels: Any, path: Path) -> None:
    """Scenes that went on to SAC, with the blocks that it looked at."""
    chosen = []
    for image, label in zip(images, labels, strict=True):
        result = pipeline(np.asarray(image))
        if not result.exits_early:
            chosen.append((np.asarray(image), int(label), result))
        if len(chosen) == 16:
            break
    figure, axes = plt.subplots(2, 8, figsize=(11, 3.2), layout="constrained")
    for axis, (image, label, result) in zip(axes.flat, chosen, strict=True):
        canvas = np.repeat(np.repeat(image[:, :, ::-1], 4, 0), 4, 1).copy()
        draw_targets(canvas, (0, 0, *canvas.shape[:2]), pipeline.grid, result.target_blocks)
        axis.imshow(canvas[:, :, ::-1])
        verdict = "" if result.index == label else f", is {label}"
        axis.set_title(f"{result.label} {result.probability:.0%}{verdict}", fontsize=9)
        axis.axis("off")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_tradeoff(numbers: dict[str, Any], path: Path) -> None:
    """Accuracy against throughput as eta goes from 0 to 1, and where the plain ViT stands."""
    rows, plain, stored = numbers["eta"], numbers["plain"], numbers["stored_eta"]
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    speeds, tops = [row["images_per_s"] for row in rows], [100 * row["top1"] for row in rows]
    axes.plot(speeds, tops, "-o", color=GREEN, ms=4, label="two-stage chain, eta 0 to 1")
    axes.plot(
        plain["images_per_s"], 100 * plain["plain_top1"], "s", color=GREY, ms=9, label="plain ViT of the same size"
    )
    for row in rows:
        if row["eta"] in (0.0, 0.5, 0.7, 0.9, 1.0, stored):
            text = f"eta {row['eta']:g}: {row['exit_rate']:.0%} exit"
            place = (row["images_per_s"], 100 * row["top1"])
            weight = "bold" if row["eta"] == stored else "normal"
            axes.annotate(text, place, (7, 6), textcoords="offset points", fontsize=8, weight=weight)
    axes.set_xlabel("images per second, batch 1, 2 cores, ONNX Runtime")
    axes.set_ylabel("top-1 on unseen scenes, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.16, y=0.1)
    axes.legend(frameon=False, loc="lower left")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
