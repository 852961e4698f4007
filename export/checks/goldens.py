"""The images that go along with a bundle, and the FP32 pair's answers to them."""

from __future__ import annotations

from itertools import compress

import numpy as np
import numpy.typing as npt
import onnx

from ...bundle.gating import may_exit
from ...bundle.goldens import Goldens
from ...bundle.preprocess import ImageU8
from ...calibration.onnx_session import Pair
from ...images.calibration_set import ImageSet

GOLDEN_COUNT = 128
SYNTHETIC_COUNT = 32  # where no images are given; more would not improve the check
GOLDEN_BYTES = 16 << 20  # of pixels: 111 images of 224 x 224


def make_goldens(ee: onnx.ModelProto, sac: onnx.ModelProto, images: ImageU8) -> Goldens:
    """What the FP32 pair says to each image: EE's answers, and SAC's whatever EE's confidence."""
    pair = Pair(ee, sac)
    handed = [pair.run_ee(images[start : start + pair.chunk]) for start in range(0, len(images), pair.chunk)]
    sac_logits = [
        pair.run_sac(images[start : start + pair.chunk], outputs)
        for start, outputs in zip(range(0, len(images), pair.chunk), handed, strict=True)
    ]
    ee_logits, confidence, target_index = (
        np.concatenate([outputs[name] for outputs in handed]) for name in ("logits", "confidence", "target_index")
    )
    return Goldens(images, ee_logits, confidence, target_index, np.concatenate(sac_logits))


def sample_images(images: ImageSet, confidence: npt.NDArray[np.float32], threshold: float) -> ImageU8:
    """Up to GOLDEN_COUNT of the images, evenly over the set: half of them from those that do not exit, if there are so many.

    SAC is judged on the images that reach it, and one in four would leave it too few.
    """
    exits = may_exit(confidence, threshold)
    count = max(1, min(GOLDEN_COUNT, images.count, GOLDEN_BYTES // next(images.read()).nbytes))
    going_on = min(int((~exits).sum()), max(count // 2, count - int(exits.sum())))
    chosen = np.zeros(images.count, bool)
    for group, wanted in ((~exits, going_on), (exits, count - going_on)):
        places = np.flatnonzero(group)
        chosen[places[np.linspace(0, len(places) - 1, min(wanted, len(places))).astype(int)]] = True
    return np.stack(list(compress(images.read(), chosen)))
