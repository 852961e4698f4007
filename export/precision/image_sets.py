"""The images that variants are measured and judged on."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...bundle.errors import ImageError, UsageError
from ...bundle.precision import PRECISIONS, STRANGERS_LOGIT_ERROR
from ...bundle.preprocess import ImageU8
from ...images.builtin import builtin_photographs
from ...images.calibration_set import ImageSet, open_images
from ...images.data_set import layout_of
from ...model.checkpoint import Checkpoint
from ..checks.parity import check_images
from .calibration_images import find_images
from .cascade import progress
from .options import Report
from .request import PrecisionOptions

ADVISED_COUNT = 300  # Ultralytics warns below it too; NVIDIA asks for 500 for a ViT
SYNTHETIC = "synthetic"
SYNTHETIC_COUNT = 64  # where FP16 is asked for without images


def open_both(
    checkpoint: Checkpoint, labels: list[str] | None, options: PrecisionOptions, report: Report
) -> tuple[ImageSet, ImageSet]:
    """The images to calibrate on and those to judge on, which may be the same.

    Those of a dense task have no labels: a variant is judged by FP32's answers alone. Raises UsageError for options that need
    labels then.
    """
    config = checkpoint.config
    for flag, is_given in (("--eval", options.evaluation is not None), ("--min-top1", options.min_top1 is not None)):
        if config.task == "dense" and is_given:
            raise UsageError(
                f"{flag} needs a label per image, and {checkpoint.path} is of --task dense. Leave it out: the share of cells"
                f" with FP32's class is a guard"
            )
    for path, flag in ((options.calib, "--calib"), (options.evaluation, "--eval")):
        if path is not None:
            layout_of(path, flag)  # both, before every image of one of them is read

    def opened(path: Path, count: int | None, flag: str) -> ImageSet:
        with progress(None, f"reading {flag}") as bar:
            return open_images(path, checkpoint.preprocessing, count, config.classes, labels, flag, bar.update)

    measures = any(row.quantizer and options.wants(row.family) for row in PRECISIONS)
    given = options.calib or (find_images(checkpoint) if measures else None)
    if given is None and not measures:
        images = synthetic_images(check_images(config, SYNTHETIC_COUNT))
        report(f"no --calib: FP16 is checked on {images.count} synthetic images, which says little about yours")
    else:
        if given is None:
            images = builtin_photographs(config.image_size)
            report(
                "warning: INT8 is calibrated and judged on built-in photographs, which are not what this model will see: FP32's"
                f" threshold is kept, and the mean logit error may reach {100 * STRANGERS_LOGIT_ERROR:g} % of its usual limit."
                " Give some hundred images of its own with --calib DIR, or put them into a folder calib/ beside the checkpoint"
            )
        else:
            images = opened(given, options.calib_count, "--calib")
            if config.task == "dense":
                images = replace(images, labels=None, why_unlabelled="a dense task takes no label per image")
        report(
            f"calibration: {images.count} of {images.available} images of {images.source}, sha256 {images.sha256[:12]}"
        )
        if images.distinct < ADVISED_COUNT:
            report(
                f"warning: {images.distinct} different images are few for calibration; {ADVISED_COUNT} or more,"
                f" drawn as the camera will see them, make ranges that hold"
            )
    evaluation = images if options.evaluation is None else opened(options.evaluation, None, "--eval")
    if options.evaluation is not None and evaluation.labels is None:
        raise ImageError(f"{evaluation.why_unlabelled}. --eval needs labels")
    if options.min_top1 is not None and evaluation.labels is None:
        raise UsageError(f"--min-top1 needs labels: give --eval with labels. {evaluation.why_unlabelled}".rstrip())
    return images, evaluation


def synthetic_images(images: ImageU8) -> ImageSet:
    """Arrays in memory as an image set."""
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    return ImageSet(SYNTHETIC, len(images), len(images), len(images), digest, None, lambda: iter(images))


def describe_images(images: ImageSet) -> dict[str, Any]:
    return {
        "source": Path(images.source).name,
        "images": images.count,
        "available": images.available,
        "distinct": images.distinct,
        "sha256": images.sha256,
        "labels": images.labels is not None,
        "strangers": images.are_strangers,
    }
