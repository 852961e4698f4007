"""The two stages, calibrated in the order in which they will run.

EE's activations are measured on the images. SAC's are measured on the outputs of the *quantized* EE, for the images that do not
exit at the quantized EE's own threshold, because SAC gets no others in use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import compress, islice
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from ...bundle.gating import may_exit
from ...bundle.precision import FORMS, Precision, file_name, row_of
from ...bundle.preprocess import ImageU8
from ...calibration.activations import observe
from ...calibration.onnx_session import Arrays, Pair
from ...calibration.qdq_placement import PIXEL_LAYER, weighted_layers
from ...calibration.quantizers import BY_LARGEST, QUANTIZERS
from ...calibration.range_cache import CacheKey, Ranges, read_ranges, write_ranges
from ...calibration.threshold import match_exit_rate
from ...images.calibration_set import ImageSet
from ..checks.lint import require_clean
from .options import STAGES, Graphs, Report, Stage, default_cache
from .request import PrecisionOptions

FEWEST_SURVIVORS = 64  # images that SAC is calibrated on at least
# Images for finding tensors of the GPU form that are too large for FP16. Few suffice: the limit, 512, is 1/128 of FP16's
# largest number.
GPU_IMAGES = 64
OBSERVED = 2  # images per pass while every tensor is an output: DeiT-S's SAC has 130 MB of them per image


class Cascade:
    """An FP32 pair with the ranges of its tensors. `reference` has no SAC session until one is added.

    Ranges are those of the CPU form. Tensors that only the GPU form has are checked for their size only, on GPU_IMAGES images.
    """

    def __init__(
        self,
        graphs: Graphs,
        images: ImageSet,
        threshold: float,
        options: PrecisionOptions,
        report: Report,
    ) -> None:
        self.graphs, self.fp32 = graphs, graphs["cpu"]
        self.images, self.threshold, self.options, self.report = images, threshold, options, report
        self.layers = {stage: weighted_layers(model) for stage, model in self.fp32.items()}
        self.hashes = {stage: hash_of(*(graphs[form][stage] for form in FORMS)) for stage in STAGES}
        self.reference = Pair(self.fp32["EE"])
        self.ranges: dict[Stage, Ranges] = {}
        self.left: dict[Stage, list[str]] = {stage: [] for stage in STAGES}  # layers that --auto leaves unquantised
        self.sac_images: dict[str, Any] = {}

    def calibrate_ee(self) -> None:
        self.ranges["EE"] = self._measure("EE", self.images.sha256, self._ee_feed)

    def calibrate_sac(self, handing: onnx.ModelProto) -> None:
        """Measures SAC's ranges on the outputs of the EE graph `handing`, for the images that go on."""
        pair = Pair(handing)
        before, after = [], []
        for batch in self.images.batches(pair.chunk):
            before.append(self.reference.run_ee(batch)["confidence"])
            after.append(pair.run_ee(batch)["confidence"])
        confidence = np.concatenate(after)
        eta = self.threshold
        if self.options.match == "exit-rate" and not self.images.are_strangers:
            eta = match_exit_rate(np.concatenate(before), eta, confidence)
        survivors = ~may_exit(confidence, eta)
        count = int(survivors.sum())
        fewest = min(FEWEST_SURVIVORS, self.images.count)
        chosen = survivors
        if count < fewest:
            chosen = np.zeros_like(survivors)
            chosen[np.argsort(confidence, kind="stable")[:fewest]] = True
            self.report(
                f"warning: only {count} of {self.images.count} calibration images do not exit at {eta:g}; SAC is"
                f" calibrated on the {fewest} least certain ones. More images would serve it better"
            )
        else:
            self.report(f"SAC: calibrated on the {count} of {self.images.count} images that do not exit at {eta:g}")
        self.sac_images = {"survivors": count, "sac_images": int(chosen.sum()), "sac_threshold": eta}
        digest = hashlib.sha256(self.images.sha256.encode() + hash_of(handing).encode() + np.packbits(chosen).tobytes())

        def feed() -> Iterator[tuple[int, Arrays]]:
            size = self.reference.fixed or OBSERVED
            going_on = replace(self.images, read=lambda: compress(self.images.read(), chosen), count=int(chosen.sum()))
            for batch in self._batches(going_on, "calibrating SAC", size):
                yield len(batch), self.reference.sac_inputs(batch, pair.run_ee(batch))

        self.ranges["SAC"] = self._measure("SAC", digest.hexdigest(), feed)

    def quantised(self, stage: Stage, precision: Precision = "int8") -> onnx.ModelProto:
        """A stage in the precision of a row, before its body is retyped: FP32, or with Q/DQ pairs.

        Layers that --auto left out are not quantized, nor are layers whose input is always 0.
        """
        row = row_of(precision)
        model = self.graphs[row.form][stage]
        if row.quantizer is None:
            return model
        model = self.quantised_by(row.quantizer, stage, model, [*self.dead(stage), *self.left[stage]])
        if row.body == "fp32":
            require_clean(file_name(stage, row.name), model, row.name)
        return model

    def quantised_by(
        self, quantizer: str, stage: Stage, model: onnx.ModelProto, left: Collection[str]
    ) -> onnx.ModelProto:
        """A stage's graph by a quantizer of the table, with what was measured; all layers but `left`."""
        measured = self.ranges[stage]
        ranges = measured.largest if quantizer in BY_LARGEST else measured.ranges
        return QUANTIZERS[quantizer](model, ranges, left)

    def dead(self, stage: Stage) -> list[str]:
        """Layers whose input was 0 on every image, so that their range is unknown."""
        ranges = self.ranges[stage].ranges
        return [
            layer.name for layer in self.layers[stage] if ranges[layer.activation] == 0 and layer.name != PIXEL_LAYER
        ]

    def _measure(self, stage: Stage, data_sha256: str, feed: Callable[[], Iterator[tuple[int, Arrays]]]) -> Ranges:
        """Ranges of a stage's FP32 graph, from the cache or from a run over `feed`."""
        options = self.options
        key = CacheKey(self.hashes[stage], data_sha256, options.calib_method, self.images.count)
        folder = options.calib_cache or default_cache()
        activations = [layer.activation for layer in self.layers[stage]]
        ranges = read_ranges(folder, stage, key, activations)
        if ranges is not None:
            self.report(f"{stage}: ranges of {ranges.images} images from {folder / key.file_name(stage)}")
            return ranges
        seen = observe(f"{stage.lower()}.onnx", self.fp32[stage], activations, feed())
        some = islice(feed(), -(-GPU_IMAGES // (self.reference.fixed or OBSERVED)))
        largest = observe(f"{stage.lower()}.onnx", self.graphs["gpu"][stage], [], some).largest
        ranges = Ranges(
            {name: histogram.range_by(options.calib_method) for name, histogram in seen.histograms.items()},
            {name: max(sizes.get(name, 0.0) for sizes in (seen.largest, largest)) for name in seen.largest | largest},
            seen.images,
        )
        path = write_ranges(folder, stage, key, ranges)
        self.report(f"{stage}: ranges of {ranges.images} images by {options.calib_method}, kept in {path}")
        return ranges

    def _ee_feed(self) -> Iterator[tuple[int, Arrays]]:
        size = self.reference.fixed or OBSERVED
        for batch in self._batches(self.images, "calibrating EE", size):
            yield len(batch), {"image": self.reference.filled(batch)}

    def _batches(self, images: ImageSet, what: str, size: int) -> Iterator[ImageU8]:
        with progress(images.count, what) as bar:
            for batch in images.batches(size):
                yield batch
                bar.update(len(batch))


def progress(total: int | None, what: str, unit: str = "image") -> Any:
    """A progress bar on a terminal, nothing elsewhere: the steps are reported in lines."""
    return tqdm(total=total, desc=what, unit=unit, mininterval=0.5, disable=None, leave=False)


def hash_of(*models: onnx.ModelProto) -> str:
    digest = hashlib.sha256()
    for model in models:
        digest.update(model.SerializeToString(deterministic=True))
    return digest.hexdigest()
