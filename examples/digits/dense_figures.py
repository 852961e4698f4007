"""The dense example as numbers and figures: two-stage chains against a plain ViT, and which blocks are looked at again.

    python examples/digits/make_dense_scenes.py --out data/dense-test --train 0 --val 2000 --seed 100
    taskset -c 0 python examples/digits/dense_figures.py --runs runs --data data/dense-test/val --out docs/dense

The scenes must be ones that no training and no threshold saw. mIoU is over all scenes together, its intervals are by bootstrap
over scenes. Milliseconds are of single passes at batch 1 in ONNX Runtime, all contenders by turns. A chain takes EE's and SAC's
for the share that goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from sacvit.bundle.figure_style import MARKERS, MATPLOTLIB, SERIES
from sacvit.bundle.gating import may_exit
from sacvit.bundle.preprocess import ImageU8
from sacvit.calibration.onnx_session import Arrays, Pair, Session
from sacvit.export.graphs.builder import GraphBuilder
from sacvit.export.graphs.dense import answer
from sacvit.export.graphs.layers import layer_norm
from sacvit.export.graphs.stages import fine_tokens, read_blocks
from sacvit.export.pair_graphs import build_pair
from sacvit.export.write_plain import plain_graphs
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.checkpoint import Checkpoint, load_checkpoint, load_plain
from sacvit.model.cost import count_cost
from sacvit.profiles.timing.alternating import time_alternating
from sacvit.runtime.chain.cells import Cells as Answered
from sacvit.runtime.sinks.overlay import draw_targets
from sacvit.runtime.sinks.tint import tint_cells
from sacvit.training.dense.score import Cells, JudgedCells, count_cells

mpl.use("agg")
import matplotlib.pyplot as plt

CHAINS = ("uncertain", "attention")  # folders of trainings, by what selects the targets
MODEL = "model.pth"
NAMES = {"uncertain": "unsure blocks", "attention": "attended blocks", "dropped": "unsure blocks, others dropped"}
TIMED_PASSES, RESAMPLES = 60, 1000
Classes = npt.NDArray[np.int64]


@dataclass
class Chain:
    """A chain's answers: classes of both stages (N, 2G, 2G), EE's confidence (N,), target indices (N, M)."""

    checkpoint: Checkpoint
    ee: Classes
    sac: Classes
    confidence: npt.NDArray[np.float32]
    targets: npt.NDArray[np.int32]

    @property
    def threshold(self) -> float:
        assert self.checkpoint.threshold is not None
        return self.checkpoint.threshold

    def in_targets(self) -> npt.NDArray[np.bool_]:
        """(N, 2G, 2G): which cells lie in target blocks."""
        grid = self.checkpoint.config.grid
        blocks = np.zeros((len(self.targets), grid * grid), bool)
        np.put_along_axis(blocks, self.targets.astype(np.int64), True, 1)
        return blocks.reshape(-1, grid, grid).repeat(2, 1).repeat(2, 2)


def without_non_targets(checkpoint: Checkpoint) -> Session:
    """SAC over the class token and the targets alone: answers (K, 4 M, C) of the target cells, block by block."""
    config, g = checkpoint.config, GraphBuilder()
    weights = {name: tensor.numpy() for name, tensor in checkpoint.model.state_dict().items()}
    x, _ = fine_tokens(g, config, weights, checkpoint.preprocessing, None)
    fine = 4 * config.targets
    x = g.slice("kept", x, 0, fine + 1, 1)
    x = layer_norm(g, "norm", read_blocks(g, x, weights, config, fine + 1, None, None, "cpu"), weights)
    answer(g, "logits", g.slice("cells.tokens", x, 0, fine, 1), weights, "head")
    g.output("logits", "float32", ["K", fine, config.classes])
    return Session(g.model("SAC"))


def run_chain(checkpoint: Checkpoint, images: ImageU8) -> tuple[Chain, Chain, dict[str, Any]]:
    """The chain, the chain whose SAC has no non-targets, and one pass of each stage for timing."""
    pair = Pair(*build_pair(checkpoint, None))
    dropping = without_non_targets(checkpoint)
    parts: dict[str, list[Any]] = {name: [] for name in ("ee", "sac", "confidence", "targets", "fine")}
    for start in range(0, len(images), pair.chunk):
        batch = images[start : start + pair.chunk]
        handed = pair.run_ee(batch)
        parts["ee"].append(handed["logits"].argmax(-1))
        parts["sac"].append(pair.run_sac(batch, handed).argmax(-1))
        parts["confidence"].append(handed["confidence"])
        parts["targets"].append(handed["target_index"])
        inputs = {name: values for name, values in pair.sac_inputs(batch, handed).items() if name in dropping.inputs}
        parts["fine"].append(dropping.run(inputs)["logits"].argmax(-1))
    found = {name: np.concatenate(values) for name, values in parts.items()}
    fine = found.pop("fine").reshape(*found["targets"].shape, 4)
    chain = Chain(checkpoint, **found)
    kept = Chain(checkpoint, found["ee"], found["ee"].copy(), found["confidence"], found["targets"])
    rows, columns = np.divmod(found["targets"], checkpoint.config.grid)
    image = np.arange(len(rows))[:, None]
    for place in range(4):
        kept.sac[image, 2 * rows + place // 2, 2 * columns + place % 2] = fine[:, :, place]
    one, handed = images[:1], pair.run_ee(images[:1])
    inputs = pair.sac_inputs(one, handed)
    assert pair.sac is not None
    sac = pair.sac
    return (
        chain,
        kept,
        {
            "ee": lambda: pair.ee.run({"image": one}),
            "sac": lambda: sac.run(inputs),
            "dropped": lambda: dropping.run({name: inputs[name] for name in dropping.inputs}),
        },
    )


def interval(cells: Cells, other: Cells | None = None) -> list[float]:
    """95 % of the resampled mIoU, or of its difference to another contender's on the same scenes, in points."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, cells.count, cells.count)
        values.append(cells.of(chosen).miou() - (0.0 if other is None else other.of(chosen).miou()))
    return [round(100 * float(value), 2) for value in np.percentile(values, [2.5, 97.5])]


def judged(chain: Chain, truth: Classes, classes: int) -> JudgedCells:
    return JudgedCells(chain.confidence, count_cells(chain.ee, truth, classes), count_cells(chain.sac, truth, classes))


def measure(runs: Path, images: ImageU8, truth: Classes) -> tuple[dict[str, Any], dict[str, Chain], Classes]:
    """All numbers, the chains, and the plain network's classes. runs: the folder of the trainings."""
    model, preprocessing = load_plain(runs / "plain" / MODEL)
    session = Session(plain_graphs(model, preprocessing, None, "", ("cpu",))["cpu"])
    steps = range(0, len(images), 8)
    plain = np.concatenate([session.run({"image": images[at : at + 8]})["logits"].argmax(-1) for at in steps])
    one: Arrays = {"image": images[:1]}
    tasks: dict[str, Any] = {"plain": lambda: session.run(one)}
    chains: dict[str, Chain] = {}
    for name in CHAINS:
        chains[name], dropped, passes = run_chain(load_checkpoint(runs / name / MODEL), images)
        if name == "uncertain":
            chains["dropped"] = dropped
            tasks |= passes
    repeated = {name: (lambda task=task: [task() for _ in range(TIMED_PASSES)]) for name, task in tasks.items()}
    times = time_alternating(repeated, 9)
    ms = {name: statistics.median(values) / TIMED_PASSES for name, values in times.items()}
    classes = model.config.classes
    of_plain = count_cells(plain, truth, classes)
    rows: dict[str, Any] = {"plain": row(of_plain, ms["plain"])}
    curves = {}
    for name, chain in chains.items():
        both = judged(chain, truth, classes)
        sac_ms = ms["dropped" if name == "dropped" else "sac"]
        if name == "uncertain":
            rows["ee"] = row(both.ee, ms["ee"], of_plain)
        rows[f"{name}, every image"] = row(both.sac, ms["ee"] + sac_ms, of_plain)
        exits = may_exit(chain.confidence, chain.threshold)
        chained = both.chain(exits)
        rows[f"{name}, chain"] = row(chained, ms["ee"] + (1 - float(exits.mean())) * sac_ms, of_plain) | {
            "eta": chain.threshold,
            "exits": round(float(exits.mean()), 4),
            "exits_without_object": round(float((truth[exits] == 0).all((1, 2)).mean()), 4),
        }
        curves[name] = curve(both, ms["ee"], sac_ms)
    attention = judged(chains["attention"], truth, classes).sac
    numbers = {
        "scenes": len(images),
        "scenes_without_object": round(float((truth == 0).all((1, 2)).mean()), 4),
        "rows": rows,
        "curves": curves,
        "unsure_minus_attended_points": interval(judged(chains["uncertain"], truth, classes).sac, attention),
        "kept_minus_dropped_points": interval(
            judged(chains["uncertain"], truth, classes).sac, judged(chains["dropped"], truth, classes).sac
        ),
        "wrong_cells_in_targets": {
            name: round(float(chains[name].in_targets()[chains[name].ee != truth].mean()), 4) for name in CHAINS
        },
        "object_cells_in_targets": {
            name: round(float(chains[name].in_targets()[truth > 0].mean()), 4) for name in CHAINS
        },
        "share_of_target_blocks": round(model.config.targets / model.config.blocks, 4),
        "pass_ms": {name: round(value, 3) for name, value in ms.items()},
        "megamacs": {
            stage: round(getattr(count_cost(model.config), stage).macs / 1e6, 1) for stage in ("ee", "sac", "plain")
        },
        "machine": describe_machine(),
        "versions": versions(),
    }
    return numbers, chains, plain


def row(cells: Cells, ms: float, other: Cells | None = None) -> dict[str, Any]:
    found = {"miou": round(100 * cells.miou(), 2), "interval": interval(cells), "ms": round(ms, 3)}
    return found if other is None else found | {"minus_plain": interval(cells, other)}


def curve(both: JudgedCells, ee_ms: float, sac_ms: float) -> list[list[float]]:
    """Exits, mIoU in % and ms at 41 thresholds, each between two exit rates that are 2.5 points apart."""
    points = []
    for share in np.linspace(0, 1, 41):
        exits = np.zeros(both.sac.count, bool)
        exits[np.argsort(-both.confidence, kind="stable")[: round(share * both.sac.count)]] = True
        miou = both.chain(exits).miou()
        points.append([round(float(share), 4), round(100 * miou, 2), round(ee_ms + (1 - float(share)) * sac_ms, 3)])
    return points


def draw_tradeoff(numbers: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    rows = numbers["rows"]
    for place, (name, points) in enumerate(numbers["curves"].items()):
        _, miou, ms = zip(*points, strict=True)
        axes.plot(ms, miou, color=SERIES[place], label=NAMES[name])
        stored = rows[f"{name}, chain"]
        axes.plot(stored["ms"], stored["miou"], MARKERS[place], color=SERIES[place], ms=9)
    plain = rows["plain"]
    low, high = plain["interval"]
    bars = [[plain["miou"] - low], [high - plain["miou"]]]
    axes.errorbar([plain["ms"]], [plain["miou"]], bars, fmt=MARKERS[3], color=SERIES[3], ms=9, label="plain ViT, 95 %")
    axes.set_xlabel("milliseconds per image, batch 1, one core; left end: every image exits, right end: none does")
    axes.set_ylabel("mIoU on unseen scenes, %")
    axes.set_title("Markers: the stored threshold", loc="left")
    axes.legend(loc="best")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_sheet(chains: dict[str, Chain], plain: Classes, images: ImageU8, truth: Classes, path: Path) -> None:
    """Six scenes that went on: the truth, EE, SAC by both selections with their targets, and the plain ViT."""
    unsure, attended = chains["uncertain"], chains["attention"]
    going = np.flatnonzero(~may_exit(unsure.confidence, unsure.threshold) & (truth > 0).any((1, 2)))
    chosen = going[np.linspace(0, len(going) - 1, 6).astype(int)]
    columns: list[tuple[str, Classes, Chain | None]] = [
        ("truth", truth, None),
        ("EE", unsure.ee, None),
        ("SAC, unsure blocks", unsure.sac, unsure),
        ("SAC, attended blocks", attended.sac, attended),
        ("plain ViT", plain, None),
    ]
    figure, axes = plt.subplots(len(chosen), len(columns), figsize=(8.4, 10), layout="constrained")
    for index, line in zip(chosen, axes, strict=True):
        for (title, classes, chain), axis in zip(columns, line, strict=True):
            canvas: Any = cv2.resize(images[index][:, :, ::-1], (288, 288), interpolation=cv2.INTER_CUBIC)
            sure = np.ones(classes[index].shape, np.float32)
            tint_cells(canvas, Answered(classes[index], sure, ("ground", "digit")))
            if chain is not None:
                grid = chain.checkpoint.config.grid
                draw_targets(canvas, (0, 0, 288, 288), grid, tuple(chain.targets[index].tolist()), dims=False)
            axis.imshow(canvas[:, :, ::-1])
            axis.axis("off")
            if index == chosen[0]:
                axis.set_title(title, fontsize=9)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="the folder that holds uncertain, attention and plain")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/dense"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    images = np.load(options.data / "images.npy", mmap_mode="r")
    truth = np.load(options.data / "masks.npy").astype(np.int64)
    with plt.rc_context(MATPLOTLIB):
        numbers, chains, plain = measure(options.runs, np.ascontiguousarray(images), truth)
        draw_tradeoff(numbers, options.out / "tradeoff.png")
        draw_sheet(chains, plain, np.ascontiguousarray(images), truth, options.out / "sheet.jpg")
    (options.out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    for name, entries in numbers["rows"].items():
        print(name, " ".join(f"{key}={value}" for key, value in entries.items()))


if __name__ == "__main__":
    main()
