"""The chain: EE over a batch, the gate, SAC over the survivors; one result per image, in order.

Buffers are allocated when a batch size is first seen, and kept for the sizes that were used last: a frame allocates nothing but
its result.

More than 250 lines: one class with all methods that users call: load, call, slots and run, gate, warm-up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, overload

import numpy as np

from ...bundle.errors import EngineError, ImageError, UsageError
from ...bundle.manifest import Tuned
from ...bundle.preprocess import Fit, ImageU8
from ...bundle.stored_gate import read_tuned
from ..engines.choice import fitted_threshold
from ..engines.options import EngineOptions, Provider
from ..engines.pairs import find_pair, load_pair
from ..engines.stage import Stage
from .cells import read_cells
from .describe import describe_pipeline
from .device_arrays import DeviceBatch, DeviceImage, unwrap
from .gate import Gate
from .intake import Image, Intake
from .result import RANKED, Result, rank
from .sacs import load_sacs
from .track import Track, places_for

MOST_TRACKS = 4  # sizes whose buffers are kept; sources and servers use one or two
CHUNK = 64  # images that a pass takes at most when the engines do not say


class Pipeline:
    """Two loaded stages, their gate and their buffers. Not for use by two threads at once."""

    def __init__(
        self,
        ee: Stage,
        sac: Stage,
        threshold: float,
        temperature: float = 1.0,
        targets_at: Callable[[float], int] | None = None,
    ) -> None:
        if ee.device.name != sac.device.name:
            raise EngineError(
                f"{ee.path} runs on {ee.backend}, {sac.path} on {sac.backend}: what EE hands over must lie where SAC"
                f" reads it. Give two files of one kind"
            )
        if ee.capacity != sac.capacity:
            raise EngineError(
                f"the EE engine takes batches of {ee.capacity or 'any size'}, SAC of {sac.capacity or 'any size'}"
            )
        self.ee, self.sac = ee, sac
        self._temperature = temperature
        self.gate = Gate(threshold)
        self.preprocessing = ee.record.preprocessing
        self.labels = ee.record.labels
        self.grid: int = ee.outputs["class_attention"].shape[0]  # coarse blocks along a side
        self.tuned: Tuned | None = None
        self._tracks: dict[int, Track] = {}
        self._reserved = 0
        own = sac.record.targets or ee.outputs["target_index"].shape[0]
        # Of what EE hands over, how many blocks SAC takes for an image of this confidence.
        self._targets_at = targets_at or (lambda confidence: own)
        self.also_reads = () if targets_at is None else ("confidence",)  # several SACs: each image's is chosen by it
        # One lane for both stages: they never run at once for a batch, so they share their scratch memory.
        self._lanes = ee.device.lanes([max(ee.scratch_bytes, sac.scratch_bytes)])

    @classmethod
    def load(
        cls,
        engine: str | Path,
        sac: str | Path | None = None,
        threshold: float | None = None,
        provider: Provider = "auto",
        threads: int = 0,
    ) -> Pipeline:
        """The pipeline of a bundle's folder or of two engine files, at a threshold or at the one that was stored with them.

        Of a folder, what sacvit-build chose on this machine is taken, else its FP32 .onnx files; `repr` shows which. What
        sacvit-tune stored in the manifest takes precedence over what sacvit-build fitted, and that over the export's threshold;
        its temperature, and the SACs that it chose by their share of target blocks, are used with a given threshold too.

        provider: what runs .onnx files: ONNX Runtime or OpenVINO; "auto" takes what was chosen, else CUDA where it works.
        threads: of a CPU; 0 takes one per physical core that this process may use.

        Raises EngineError when a file is no engine of ours or does not fit this machine, when the two are no pair, and for the
        choice of another machine; UsageError for a wrong threshold.
        """
        if threshold is not None:
            Gate(threshold)  # checked before two engines are loaded
        found = find_pair(engine, sac, provider)
        ee_stage, sac_stage = load_pair(found.ee, found.sac, EngineOptions(found.provider, threads))
        tuned = read_tuned(found.ee, ee_stage.record)
        fitted = None if threshold is not None else fitted_threshold(found.ee, found.sac, ee_stage.provider)
        exported = ee_stage.record.threshold if fitted is None else fitted
        stored = exported if tuned is None else tuned.threshold
        temperature = 1.0 if tuned is None else tuned.temperature
        sacs = load_sacs(found.sac, ee_stage, sac_stage, tuned, EngineOptions(found.provider, threads))
        pipeline = cls(
            ee_stage,
            sac_stage if sacs is None else sacs,
            stored if threshold is None else threshold,
            temperature,
            None if sacs is None else sacs.targets_at,
        )
        pipeline.tuned = tuned
        return pipeline

    @property
    def threshold(self) -> float:
        """The gate's eta in [0, 1]; it may be set between two calls."""
        return self.gate.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.gate.threshold = value

    @property
    def temperature(self) -> float:
        """What EE's logits are divided by before the softmax; 1 takes the engine's own confidence."""
        return self.gate.temperature or 1.0

    @property
    def gate(self) -> Gate:
        """Decides which images exit. A gate without a temperature gets the one that was tuned for these engines."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        if gate.temperature is None:
            gate.temperature = self._temperature
        self._gate = gate

    def use_fit(self, fit: Fit) -> None:
        """Makes frames square in another way than the bundle says."""
        self.preprocessing = replace(self.preprocessing, fit=fit)

    def __repr__(self) -> str:
        return describe_pipeline(self.ee, self.sac, self.gate, self.tuned)

    @overload
    def __call__(
        self, images: ImageU8 | str | bytes | PathLike[str], *, bgr: bool = ..., top: int = ..., logits: bool = ...
    ) -> Result: ...

    @overload
    def __call__(
        self,
        images: list[Any] | tuple[Any, ...] | Iterator[Any],
        *,
        bgr: bool = ...,
        top: int = ...,
        logits: bool = ...,
    ) -> list[Result]: ...

    def __call__(self, images: Any, *, bgr: bool = False, top: int = RANKED, logits: bool = False) -> Any:
        """Classifies one image, or several: a list, a generator, or one array (B, H, W, 3). An empty list gives [].

        An image is an RGB array (H, W, 3) of uint8, a grey one (H, W), a torch tensor or another library's array of these
        shapes, a PIL image, the path of a picture, or its bytes. bgr: arrays are in OpenCV's channel order. top: how many
        classes each result ranks. logits: results keep their logits too.

        Images go through the preprocessing rule, which takes those of S x S as they are. Arrays of other libraries are taken
        by the CUDA Array Interface or DLPack; on a GPU they must be S x S, contiguous and beside engines that run there.
        Raises ImageError for anything else, with the conversion where there is one.
        """
        if top < 1:
            raise UsageError(f"top={top}: give the number of classes that a result ranks, 1 or more")
        taken, is_single = Intake(self._unwrapped, bgr).take(images)
        results: list[Result] = []
        while chunk := list(islice(taken, self.ee.capacity or CHUNK)):
            results += self._ranked(self._classify(chunk), top, logits)
        return results[0] if is_single else results

    def _ranked(self, track: Track, top: int, logits: bool) -> list[Result]:
        """The results of a finished track with their most probable classes."""
        places = _places(track)
        return [
            rank(result, track.logits[image], self.temperature, self.labels, top, logits)
            if result.stage == "EE"
            else rank(result, track.sac_logits[places[image]], 1.0, self.labels, top, logits)
            for image, result in enumerate(self._answered(track, range(track.count), places))
        ]

    def _unwrapped(self, image: Any) -> DeviceBatch | ImageU8:
        return unwrap(image, self.ee.device, self._lanes[0])

    def _classify(self, images: Sequence[Image]) -> Track:
        """Takes the images through both stages; the track holds their answers until the next pass."""
        track = self.track(len(images))
        size = self.preprocessing.image_size
        on_device = [isinstance(image, DeviceImage) for image in images]
        if any(on_device) and not all(on_device):
            raise ImageError("some images of the batch lie on the GPU and some do not: give two batches")
        for place, (slot, image) in enumerate(zip(track.images, images, strict=False)):
            if isinstance(image, DeviceImage):
                if image.side != size:
                    raise ImageError(f"an image on the GPU must be {size} x {size}, found {image.side} x {image.side}")
                track.take(place, image)
                continue
            self.preprocessing.apply(image, slot, bgr=False)
        self._pass(track, len(images), all(on_device))
        return track

    def reserve(self, count: int) -> None:
        """Lets batches of up to `count` images share one set of buffers: less memory where sizes vary from pass to pass."""
        self._reserved = count

    def image_slots(self, count: int) -> ImageU8:
        """The input buffer (count, S, S, 3): fill it and call `run(count)`. For callers that preprocess in place.

        Call it again for each batch: buffers of sizes that were not used lately are freed.
        """
        return self.track(count).images[:count]

    def run(self, count: int) -> list[Result]:
        """Classifies the `count` images that lie in `image_slots(count)`."""
        track = self.track(count)
        self._pass(track, count)
        return self.results(track)

    def _pass(self, track: Track, count: int, on_device: bool = False) -> None:
        track.start(count, on_device)
        track.gate(self.gate)
        track.finish()
        if track.survivors:
            self.gate.learn(track.sac_ms, track.survivors)

    def probe(self) -> None:
        """Runs SAC over the last batch's first image, for the gate to learn the time of a pass. The answer is not used."""
        track = self.track(1) if self.ee.capacity is None else self.track(self.ee.capacity)
        track.row[0] = 0
        binding = track.sac_binding(places_for(1, self.sac.batches))
        began = time.perf_counter()
        binding.start()
        binding.wait()
        self.gate.learn(1e3 * (time.perf_counter() - began), 1)

    def results(self, track: Track) -> list[Result]:
        """The results of a finished track, in order."""
        return self._answered(track, range(track.count), _places(track))

    def exits(self, track: Track) -> dict[int, Result]:
        """The results of the images that exit, by their places in the batch. The track must have decided."""
        staying = self.gate.broken.union(_places(track))
        leaving = [image for image in range(track.count) if image not in staying]
        return dict(zip(leaving, self._answered(track, leaving, {}), strict=True))

    def survivors(self, track: Track) -> dict[int, Result]:
        """The results of the other images of a finished track."""
        places = {image: place for image, place in _places(track).items() if image not in self.gate.broken}
        return dict(zip(places, self._answered(track, places, places), strict=True))

    def _answered(self, track: Track, images: Iterable[int], place_of: Mapping[int, int]) -> list[Result]:
        results = []
        for image in images:
            place = place_of.get(image)
            if place is not None and image in self.gate.shadows:
                agrees = bool((track.sac_logits[place].argmax(-1) == track.logits[image].argmax(-1)).all())
                results.append(replace(self._result(track, image, None), agreed=agrees))
            else:
                result = self._result(track, image, place)
                results.append(replace(result, degraded=True) if image in self.gate.degraded else result)
        return results

    def _result(self, track: Track, image: int, place: int | None) -> Result:
        logits = track.logits[image] if place is None else track.sac_logits[place]
        cells = read_cells(logits, self.labels) if logits.ndim > 1 else None
        index = int(logits.argmax()) if cells is None else cells.most_frequent
        confidence = float(track.confidence[image])
        if place is None:
            probability = confidence
        elif cells is not None:
            probability = float(cells.confidence.min())
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
            target_blocks=tuple(track.target_index[image][: self._targets_at(confidence)].tolist()),
            ee_ms=track.ee_ms,
            sac_ms=None if place is None else track.sac_ms,
            cells=cells,
        )

    def track(self, count: int) -> Track:
        """The buffers and bindings for `count` images, for callers that run the steps themselves.

        Those of the MOST_TRACKS sizes that were used last are kept.
        """
        size = self.ee.capacity or max(count, self._reserved)
        if not 1 <= count <= size:
            raise UsageError(f"this engine takes 1 to {size} images per pass, found {count}")
        track = self._tracks.pop(size, None) or Track(self.ee, self.sac, size, self._lanes, self.also_reads).bind_all()
        self._tracks[size] = track  # the last place of the dictionary: the size that was used last
        if len(self._tracks) > MOST_TRACKS:
            del self._tracks[next(iter(self._tracks))]
        return track


def _places(track: Track) -> dict[int, int]:
    """The survivors' places among SAC's answers, by their places in the batch."""
    return {int(image): place for place, image in enumerate(track.row[: track.survivors])}
