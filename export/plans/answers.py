"""What a pair of engines answers to a bundle's reference images, beside what FP32 answered."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...bundle.errors import EngineError
from ...bundle.goldens import Goldens
from ...bundle.precision import Limits
from ...calibration.decisions import Comparison, answers_between
from ...runtime.chain.track import Track, places_for
from ...runtime.engines.stage import Stage


class PairRunner:
    """Both stages over the reference images, every image through SAC. capacity: the most images of a pass."""

    def __init__(self, ee: Stage, sac: Stage, capacity: int) -> None:
        self.ee, self.sac, self.capacity = ee, sac, capacity
        self.track = Track(ee, sac, capacity, ee.device.lanes([max(ee.scratch_bytes, sac.scratch_bytes)]))

    def answers(self, goldens: Goldens, places: int, with_sac: bool = True) -> Goldens:
        """What the engines say, asked in passes of `places`. Raises EngineError for images of another size."""
        size = self.track.images.shape[1:]
        if goldens.images.shape[1:] != size:
            raise EngineError(f"goldens.npz holds images {goldens.images.shape[1:]}, the engine takes {size}")
        parts: dict[str, list[Any]] = {name: [] for name in ("ee_logits", "confidence", "target_index", "sac_logits")}
        track = self.track
        for start in range(0, len(goldens.images), places):
            images = goldens.images[start : start + places]
            count = len(images)
            track.images[:count] = images
            binding = track.ee_binding(places_for(places, self.ee.batches))
            binding.start()
            binding.wait()
            if with_sac:
                track.row[:] = np.minimum(np.arange(self.capacity), count - 1)
                binding = track.sac_binding(places)
                binding.start()
                binding.wait()
            for name, seen in zip(
                parts, (track.logits, track.confidence, track.target_index, track.sac_logits), strict=True
            ):
                parts[name].append(seen[:count].copy())
        return Goldens(goldens.images, **{name: np.concatenate(part) for name, part in parts.items()})


def compare_answers(goldens: Goldens, found: Goldens, with_sac: bool = True) -> Comparison:
    """An engine's answers beside the reference answers. Raises EngineError when they are of another model."""
    for name, expected in vars(goldens).items():
        if getattr(found, name).shape != expected.shape:
            raise EngineError(
                f"goldens.npz holds {name} {expected.shape}, the engine gives {getattr(found, name).shape}"
            )
    return Comparison(
        confidence=goldens.confidence,
        variant_confidence=found.confidence,
        overlap=(goldens.target_index[:, :, None] == found.target_index[:, None]).any(2).mean(1),
        ee=answers_between(goldens.ee_logits, found.ee_logits),
        sac=answers_between(goldens.sac_logits, found.sac_logits) if with_sac else None,
        labels=None,
    )


def for_few(limits: Limits, images: int) -> Limits:
    """The limits where few images judge: one gate may flip near eta, a larger share than the export allowed of thousands."""
    return limits.but(exit_agreement=min(limits.exit_agreement, 1 - 1 / images))
