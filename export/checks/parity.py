"""The export's check of its own work: torch against ONNX Runtime, and the properties that the buffers promise.

Each check returns a number and its limit. A pair that misses one is not written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper

from ...bundle.errors import GuardError
from ...bundle.preprocess import ImageU8
from ...bundle.stage_record import DENSE_HAND_OFF
from ...calibration.onnx_session import Arrays, Session
from ...model.checkpoint import Checkpoint
from ...model.config import ModelConfig
from ...model.layers import take

TOLERANCE = 1e-4  # of the largest magnitude, at least 1: FP32 sums in another order differ by 1e-6 to 1e-5
EXACT = 1e-6  # what must not change at all may still be summed by another kernel
CHECK_IMAGES = 4
TIE = 1e-6  # of the largest attention: closer blocks may swap places between two FP32 backends


@dataclass(frozen=True)
class Check:
    """One number that was measured, and what it may be at most."""

    name: str
    value: float
    limit: float
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "ok" if self.holds else "FAILED"
        return f"{verdict:6} {self.name:52} {self.value:9.2e}  (limit {self.limit:.0e}){self.note}"


def check_pair(ee: onnx.ModelProto, sac: onnx.ModelProto, checkpoint: Checkpoint, batch: int | None) -> list[Check]:
    """Every check of the pair. Runs both graphs and the torch network on synthetic images."""
    images = check_images(checkpoint.config, batch or CHECK_IMAGES)
    rows = np.arange(len(images), dtype=np.int32)
    ee_session, sac_session = Session(ee), Session(sac)
    outputs = ee_session.run({"image": images})
    checks = _ee_parity(checkpoint, images, outputs)
    handed = {name: outputs[name] for name in DENSE_HAND_OFF if name in outputs}
    inputs: Arrays = {"image": images, "row": rows, **handed}
    logits = sac_session.run(inputs)["logits"]
    with torch.no_grad():
        tensors = {name: torch.from_numpy(values) for name, values in handed.items()}
        indices = {name: tensor.long() for name, tensor in tensors.items() if name.endswith("_index")}
        expected = checkpoint.model.sac(torch.from_numpy(images), **(tensors | indices)).numpy()
    checks.append(difference("SAC logits, torch against ONNX Runtime", logits, expected))
    checks.append(_permutation(sac_session, inputs, logits))
    if len(images) > 1:
        checks.append(_padding(sac_session, inputs, logits))
    checks.append(_clustering(sac, inputs, checkpoint.config))
    return checks


def require_held(checks: list[Check]) -> None:
    """Raises GuardError that shows every check that failed."""
    failed = [str(check) for check in checks if not check.holds]
    if failed:
        lines = "\n  ".join(failed)
        raise GuardError(
            f"the exported graphs do not do what the checkpoint does; nothing was written:\n  {lines}\n"
            f"This is a fault of sacvit or of an installed package: report it with the output of sacvit-export --version"
        )


def check_images(config: ModelConfig, count: int) -> ImageU8:
    """(count, S, S, 3) uint8: smooth colour fields with some noise, so that blocks differ as they do in photographs."""
    rng = np.random.default_rng(20250300060)  # the paper's number; any seed will do
    size = config.image_size
    fields = rng.uniform(0, 255, (count, config.grid + 1, config.grid + 1, 3)).astype(np.float32)
    smooth = np.stack([cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC) for field in fields])
    return np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def _ee_parity(checkpoint: Checkpoint, images: ImageU8, outputs: Arrays) -> list[Check]:
    with torch.no_grad():
        expected = checkpoint.model.ee(torch.from_numpy(images))
    checks = [
        difference(f"EE {name}, torch against ONNX Runtime", outputs[name], getattr(expected, name).numpy())
        for name in ("logits", "confidence", "class_attention")
    ]
    score = expected.selection_score.numpy()
    swapped, tied = count_swaps(outputs["target_index"], expected.target_index.numpy(), score)
    note = f"  {tied} swapped within a tie" if tied else ""
    checks.append(Check("EE target blocks that differ", float(swapped), 0, note))
    # What is handed on is compared at the graph's own targets: a tie moves no token's value.
    index = torch.from_numpy(outputs["target_index"]).long()
    with torch.no_grad():
        coarse = checkpoint.model.coarse_pass(torch.from_numpy(images), True)
    outputs_of_ee, embedding = coarse.tokens[:, 1:], coarse.embedding
    reused = outputs_of_ee if checkpoint.config.reuse == "outputs" else embedding
    context = take(outputs_of_ee, index).numpy()
    checks.append(difference("EE target_context, torch against ONNX Runtime", outputs["target_context"], context))
    is_target = torch.zeros(embedding.shape[:2], dtype=torch.bool).scatter(1, index, True)
    others = reused[~is_target].view(len(images), -1, reused.shape[-1]).numpy()
    # Their order is no promise: each must stand somewhere on the other side.
    apart = np.abs(outputs["non_target"][:, :, None] - others[:, None]).max(-1)  # (B, U, U)
    worst = max(float(apart.min(1).max()), float(apart.min(2).max()))
    limit = TOLERANCE * max(1.0, float(np.abs(others).max()))
    checks.append(Check("EE non_target, torch against ONNX Runtime", worst, limit))
    if "non_target_index" in outputs:  # there the order is a promise
        rest = outputs["non_target_index"]
        named = take(reused, torch.from_numpy(rest).long()).numpy()
        checks.append(difference("EE non_target at its non_target_index", outputs["non_target"], named))
        every = np.sort(np.concatenate([outputs["target_index"], rest], 1), 1)
        missing = int((every != np.arange(every.shape[1])).sum())
        checks.append(Check("EE blocks that are neither target nor non-target", float(missing), 0))
    return checks


def count_swaps(found: npt.NDArray[Any], expected: npt.NDArray[Any], score: npt.NDArray[Any]) -> tuple[int, int]:
    """Target blocks that differ between two selections, and those whose score ties with what replaced them.

    found, expected: (B, M) block indices. score: (B, G*G), attention, doubt or norm. A tie is no fault: FP32 cannot order it.
    """
    swapped = tied = 0
    for mine, theirs, values in zip(found, expected, score, strict=True):
        gained, lost = (sorted(set(a.tolist()) - set(b.tolist())) for a, b in ((mine, theirs), (theirs, mine)))
        if not gained:
            continue
        gap = float(np.abs(np.sort(values[gained]) - np.sort(values[lost])).max())
        if gap <= TIE * float(values.max()):
            tied += len(gained)
        else:
            swapped += len(gained)
    return swapped, tied


def _permutation(sac: Session, inputs: Arrays, logits: npt.NDArray[Any]) -> Check:
    """Shuffling the targets together with their context must not move the logits: the position travels along."""
    order = np.random.default_rng(0).permutation(inputs["target_index"].shape[1])
    shuffled = inputs | {name: inputs[name][:, order] for name in ("target_index", "target_context")}
    return difference("SAC logits, targets shuffled", sac.run(shuffled)["logits"], logits)


def _padding(sac: Session, inputs: Arrays, logits: npt.NDArray[Any]) -> Check:
    """What lies in rows that `row` does not name must not move the logits of those it does."""
    count = len(logits)
    named = np.zeros(count, np.int32) + count - 1  # every place of `row` names the last image
    spoilt = inputs | {"row": named}
    for name in inputs.keys() - {"row"}:
        values = inputs[name].copy()
        values[:-1] = 0 if values.dtype.kind in "iu" else 1e6
        spoilt[name] = values
    found = sac.run(spoilt)["logits"]
    return difference("SAC logits, garbage in unnamed rows", found, np.repeat(logits[-1:], count, 0), EXACT)


def _clustering(sac: onnx.ModelProto, inputs: Arrays, config: ModelConfig) -> Check:
    """Clustered: what the non-targets hold must not reach a target token within one block. Global: it must."""
    probe = onnx.ModelProto()
    probe.CopyFrom(sac)
    del probe.graph.output[:]
    probe.graph.output.append(helper.make_tensor_value_info("blocks.0", TensorProto.FLOAT, None))
    session = Session(probe)
    noise = np.random.default_rng(0).standard_normal(inputs["non_target"].shape).astype(np.float32)
    before, after = (session.run(inputs | change)["blocks.0"] for change in ({}, {"non_target": noise}))
    fine = 4 * config.targets
    moved = float(np.abs(after[:, :fine] - before[:, :fine]).max())
    if config.attention == "clustered":
        return Check(
            "SAC targets moved by non-targets in block 0", moved, EXACT * max(1.0, float(np.abs(before).max()))
        )
    return Check("SAC targets untouched by non-targets in block 0", float(moved == 0), 0, "  attention is global")


def difference(name: str, found: npt.NDArray[Any], expected: npt.NDArray[Any], tolerance: float = TOLERANCE) -> Check:
    """The largest absolute difference; the limit grows with the magnitude above 1. NaN fails."""
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max()
    magnitude = max(1.0, float(np.abs(expected).max()))
    return Check(name, float(difference) if np.isfinite(difference) else float("inf"), tolerance * magnitude)
