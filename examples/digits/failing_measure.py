"""Answers of both stages to scenes of one kind: on ONNX Runtime, and in torch with the target blocks of other rules.

The torch network gets other targets than attention's; before that it must give ONNX Runtime's logits with attention's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from failing_scenes import Scene, draw_kind
from scenes import Material
from selections import by_score, leave_one_out, mask_per_block, ranks, run_ee, run_sac, share_inside, token_entropy

from sacvit import load_checkpoint
from sacvit.model.checkpoint import load_plain
from sacvit.runtime.chain.gate import Gate
from sacvit.runtime.chain.pipeline import Pipeline

HERE = Path(__file__).parent
CHUNK = 50  # scenes in one pass
CLOSE = 1e-3  # between the logits of ONNX Runtime and of torch
RULES = ("attention", "oracle", "random", "leave-one-out", "entropy", "both")

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Measured:
    """One kind. Arrays are (N,) unless stated; by rule: right, share, answers, orders (N, G * G)."""

    scenes: list[Scene]
    labels: npt.NDArray[np.int64]
    per_block: Floats  # (N, G * G): the share of the object in each block
    confidence: Floats
    ee: npt.NDArray[np.int64]  # EE's answers
    plain: npt.NDArray[np.int64]
    answers: dict[str, npt.NDArray[np.int64]]  # SAC's
    share: dict[str, Floats]
    orders: dict[str, npt.NDArray[np.int64]]
    targets: int
    differences: tuple[float, int]  # the largest of the logits; scenes with other targets

    def right(self, rule: str) -> Bools:
        return self.answers[rule] == self.labels


def measure(pipeline: Pipeline, material: Material, kind: str, count: int, seed: int) -> Measured:
    """Draws the scenes of a kind, and answers them with the targets of every rule."""
    scenes = draw_kind(material, kind, count, seed)
    rng = np.random.default_rng(seed)
    checkpoint = load_checkpoint(HERE / "model.pth")
    model, plain = checkpoint.model.eval(), load_plain(HERE / "plain.pth")[0].eval()
    config = checkpoint.config
    images, masks = np.stack([one.image for one in scenes]), np.stack([one.mask for one in scenes])
    per_block = mask_per_block(masks, config.grid)
    track, found = pipeline.track(CHUNK), _Columns()
    largest, others = 0.0, 0
    for start in range(0, count, CHUNK):
        piece = images[start : start + CHUNK]
        size = len(piece)
        track.images[:size] = piece
        track.start(size)
        track.gate(Gate(1.0))
        track.finish()
        coarse = run_ee(model, piece)
        attention, mine = coarse.attention.numpy(), per_block[start : start + size]
        own = by_score(attention)
        orders = {
            "attention": own,
            "oracle": by_score(mine + 1e-3 * attention / attention.max()),  # blocks without the object by attention
            "random": by_score(rng.random(attention.shape, np.float32)),
            "leave-one-out": by_score(moved := leave_one_out(model, piece, coarse)),
            "entropy": by_score(token_entropy(model, coarse)),
            "both": by_score(ranks(attention) + ranks(moved)),
        }
        logits = {rule: run_sac(model, piece, coarse, order) for rule, order in orders.items()}
        is_same = np.sort(own[:, : config.targets], 1) == np.sort(track.target_index[:size], 1)
        others += int((~is_same.all(1)).sum())
        for one, other in ((coarse.logits.numpy(), track.logits), (logits["attention"], track.sac_logits)):
            largest = max(largest, float(np.abs(one - other[:size])[is_same.all(1)].max()))
        found.add("confidence", track.confidence[:size])
        found.add("ee", track.logits[:size].argmax(-1))
        found.add("attention", track.sac_logits[:size].argmax(-1))
        for rule in RULES[1:]:
            found.add(rule, logits[rule].argmax(-1))
        with torch.inference_mode():
            found.add("plain", plain(torch.from_numpy(piece)).numpy().argmax(-1))
        for rule, order in orders.items():
            found.add(f"order {rule}", order)
    if largest > CLOSE:
        raise SystemExit(f"{kind}: logits of ONNX Runtime and torch differ by {largest:.2g}")
    orders = {rule: found[f"order {rule}"] for rule in RULES}
    return Measured(
        scenes=scenes,
        labels=np.array([one.label for one in scenes]),
        per_block=per_block,
        confidence=found["confidence"],
        ee=found["ee"],
        plain=found["plain"],
        answers={rule: found[rule] for rule in RULES},
        share={rule: share_inside(per_block, order, config.targets) for rule, order in orders.items()},
        orders=orders,
        targets=config.targets,
        differences=(largest, others),
    )


class _Columns:
    """Arrays that grow by pieces, by name."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[npt.NDArray[Any]]] = {}

    def add(self, name: str, piece: npt.NDArray[Any]) -> None:
        self._pieces.setdefault(name, []).append(piece.copy())

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return np.concatenate(self._pieces[name])
