"""The chain: EE over a batch, the gate, SAC over the survivors; one result per image, in order.

Buffers are allocated when a batch size is first seen and stay where they are. EE's outputs *are* SAC's inputs: the hand-off
copies nothing, and a frame allocates nothing but its result.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, overload

import numpy as np

from ..bundle.errors import EngineError, ImageError, UsageError
from ..bundle.manifest import HAND_OFF, require_pair
from ..bundle.preprocess import Fit, ImageU8
from .gate import Gate
from .stage import Array, Binding, Stage, load_stage

CHUNK = 64  # images that a pass takes at most when the engines do not say


@dataclass(frozen=True)
class Result:
    """The chain's answer for one image.

    ee_ms and sac_ms are the wall time of the passes that the image took part in, shared by its whole batch; sac_ms is
    None for an image that exited.
    """

    index: int  # of the class
    label: str
    probability: float  # of the label, by the stage that answered
    stage: Literal["EE", "SAC"]
    confidence: float  # EE's largest softmax probability: what the gate saw
    target_blocks: tuple[int, ...]  # row-major on the coarse grid, most attended first
    ee_ms: float
    sac_ms: float | None

    @property
    def exits_early(self) -> bool:
        return self.stage == "EE"


@dataclass
class Buffers:
    """The arrays of a batch size B. `ee` and `sac` share the image and the hand-off, address for address."""

    ee: dict[str, Array]
    sac: dict[str, Array]


class Pipeline:
    """Two loaded stages, their gate and their buffers. Not for use by two threads at once."""

    def __init__(self, ee: Stage, sac: Stage, threshold: float) -> None:
        if ee.batch != sac.batch:
            raise EngineError(
                f"the EE engine takes batches of {ee.batch or 'any size'}, SAC of {sac.batch or 'any size'}"
            )
        self.ee, self.sac = ee, sac
        self.gate = Gate(threshold)
        self.preprocessing = ee.record.preprocessing
        self.labels = ee.record.labels
        self.grid: int = ee.outputs["class_attention"].shape[0]  # coarse blocks along a side
        self._bindings: dict[int, tuple[Buffers, Binding, dict[int, Binding]]] = {}

    @classmethod
    def load(cls, ee: str | Path, sac: str | Path, threshold: float | None = None) -> Pipeline:
        """The pipeline of two engine files, at a threshold or at the one that was stored with them.

        Raises EngineError when a file is no engine of ours or the two are no pair, UsageError for a wrong threshold.
        """
        ee_path, sac_path = Path(ee), Path(sac)
        if threshold is not None:
            Gate(threshold)  # a wrong number is told before two engines are loaded
        ee_stage, sac_stage = load_stage(ee_path), load_stage(sac_path)
        require_pair(ee_path, ee_stage.record, sac_path, sac_stage.record)
        return cls(ee_stage, sac_stage, ee_stage.record.threshold if threshold is None else threshold)

    @property
    def threshold(self) -> float:
        return self.gate.threshold

    def use_fit(self, fit: Fit) -> None:
        """Squares frames another way than the bundle says."""
        self.preprocessing = replace(self.preprocessing, fit=fit)

    @overload
    def __call__(self, images: ImageU8) -> Result: ...

    @overload
    def __call__(self, images: Sequence[ImageU8]) -> list[Result]: ...

    def __call__(self, images: ImageU8 | Sequence[ImageU8]) -> Result | list[Result]:
        """Classifies one RGB image (H, W, 3) uint8, or a batch: a sequence of them or one array (B, H, W, 3).

        Images of S x S are taken as they are, others go through the preprocessing rule. An empty batch gives [].
        """
        if isinstance(images, np.ndarray):
            if images.ndim == 3:
                return self._classify([images])[0]
            images = list(images)  # views
        results: list[Result] = []
        chunk = self.ee.batch or CHUNK
        for start in range(0, len(images), chunk):
            results += self._classify(images[start : start + chunk])
        return results

    def _classify(self, images: Sequence[ImageU8]) -> list[Result]:
        slots = self.image_slots(len(images))
        size = self.preprocessing.image_size
        for slot, image in zip(slots, images, strict=True):
            if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
                raise ImageError(f"an image must be an RGB array (H, W, 3) of uint8, found {found}")
            if image.shape[:2] == (size, size):
                slot[:] = image
            else:
                self.preprocessing.apply(image, slot, bgr=False)
        return self.run(len(images))

    def image_slots(self, count: int) -> ImageU8:
        """The input buffer (count, S, S, 3): fill it and call `run(count)`. For callers that preprocess in place."""
        buffers, _, _ = self._bound(count)
        return buffers.ee["image"][:count]

    def run(self, count: int) -> list[Result]:
        """Classifies the `count` images that lie in `image_slots(count)`."""
        buffers, ee_binding, sac_bindings = self._bound(count)
        began = time.perf_counter()
        ee_binding.run()
        between = time.perf_counter()
        row = buffers.sac["row"]
        survivors = self.gate.survivors(buffers.ee["confidence"][:count], row)
        if survivors:
            places = self.sac.batch or survivors
            row[survivors:places] = row[survivors - 1]  # a fixed graph computes the last one again
            if places not in sac_bindings:
                sac_bindings[places] = self._bind_sac(buffers, places)
            began_sac = time.perf_counter()
            sac_bindings[places].run()
        ended = time.perf_counter()
        ee_ms = 1e3 * (between - began)
        sac_ms = 1e3 * (ended - began_sac) if survivors else None
        place_of = {int(image): place for place, image in enumerate(row[:survivors])}
        return [self._result(buffers, image, place_of.get(image), ee_ms, sac_ms) for image in range(count)]

    def _result(self, buffers: Buffers, image: int, place: int | None, ee_ms: float, sac_ms: float | None) -> Result:
        logits = buffers.ee["logits"][image] if place is None else buffers.sac["logits"][place]
        index = int(logits.argmax())
        confidence = float(buffers.ee["confidence"][image])
        if place is None:
            probability = confidence
        else:
            probability = float(1 / np.exp(logits - logits[index], dtype=np.float64).sum())
            if probability != probability:
                raise EngineError("the SAC engine computes NaN; check its precision, and the export (sacvit-export)")
        return Result(
            index=index,
            label=self.labels[index] if self.labels else str(index),
            probability=probability,
            stage="EE" if place is None else "SAC",
            confidence=confidence,
            target_blocks=tuple(buffers.ee["target_index"][image].tolist()),
            ee_ms=ee_ms,
            sac_ms=None if place is None else sac_ms,
        )

    def _bound(self, count: int) -> tuple[Buffers, Binding, dict[int, Binding]]:
        """Buffers and bindings for `count` images; made when the size is first seen."""
        size = self.ee.batch or count
        if not 1 <= count <= size:
            raise UsageError(f"this engine takes 1 to {size} images a pass, found {count}")
        if size not in self._bindings:
            buffers = self._allocate(size)
            self._bindings[size] = buffers, self.ee.bind(buffers.ee), {}
        return self._bindings[size]

    def _allocate(self, size: int) -> Buffers:
        side = self.preprocessing.image_size
        ee: dict[str, Array] = {"image": np.zeros((size, side, side, 3), np.uint8)}
        for name, spec in self.ee.outputs.items():
            ee[name] = np.zeros((size, *spec.shape), spec.kind)
        sac = {name: ee[name] for name in ("image", *HAND_OFF)}
        sac["row"] = np.zeros(size, np.int32)
        sac["logits"] = np.zeros_like(ee["logits"])
        return Buffers(ee, sac)

    def _bind_sac(self, buffers: Buffers, places: int) -> Binding:
        """SAC over the first `places` entries of `row`, on views of the same memory."""
        views = {name: buffers.sac[name][:places] for name in ("row", "logits")}
        return self.sac.bind(buffers.sac | views)
