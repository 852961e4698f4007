"""Scenes of the digits example: one handwritten digit pasted into a photograph.

Digits are scikit-learn's (8 x 8, UCI), photographs are scikit-image's and scikit-learn's samples. Both are cut apart:
test scenes show digits and parts of photographs that no training scene has. `difficulty` runs from 0, a large digit on
blurred ground, to 1, a small one on clutter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import skimage.data
from sklearn.datasets import load_digits, load_sample_images

ImageU8 = npt.NDArray[np.uint8]
Split = Literal["train", "test"]

SIDE = 64  # pixels of a training scene
TRAIN_DIGITS = 1400  # of scikit-learn's 1797
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "hubble_deep_field", "immunohistochemistry",
    "moon", "retina", "rocket",
)  # fmt: skip
TEST_STRIP = 0.3  # the right-hand share of every photograph, kept for the test
LARGE, SMALL = 0.72, 0.27  # side of the digit over the side of the scene, at difficulty 0 and 1


@dataclass(frozen=True)
class Material:
    """What scenes of one split are made of: digits (N, 8, 8) float in [0, 1], labels (N,), photographs (BGR)."""

    digits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    photographs: list[ImageU8]


def load_material(split: Split) -> Material:
    """The digits and photographs of a split. The cut is fixed: it does not depend on any seed of the caller."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    mine = order[:TRAIN_DIGITS] if split == "train" else order[TRAIN_DIGITS:]
    pictures = [getattr(skimage.data, name)() for name in PHOTOGRAPHS] + list(load_sample_images().images)
    return Material(
        (digits.images[mine] / 16).astype(np.float32),
        digits.target[mine].astype(np.int64),
        [cut(np.asarray(picture), split) for picture in pictures],
    )


def cut(picture: npt.NDArray[np.uint8], split: Split) -> ImageU8:
    """The part of a photograph that belongs to a split, as BGR."""
    colour = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR)
    edge = round(colour.shape[1] * (1 - TEST_STRIP))
    return np.ascontiguousarray(colour[:, :edge] if split == "train" else colour[:, edge:])


def draw_difficulties(
    rng: np.random.Generator, count: int, easy_share: float, hardest: float
) -> npt.NDArray[np.float32]:
    """That share of easy scenes, difficulty 0 to 0.45; the rest spread from there to `hardest`."""
    easy = rng.random(count) < easy_share
    return np.where(easy, rng.uniform(0, 0.45, count), rng.uniform(0.45, hardest, count)).astype(np.float32)


def draw_ground(rng: np.random.Generator, material: Material, difficulty: float, side: int) -> ImageU8:
    """A square piece of a photograph, (side, side, 3), the calmer the easier."""
    photograph = material.photographs[rng.integers(len(material.photographs))]
    height, width = photograph.shape[:2]
    extent = min(height, width, int(rng.uniform(64, 224)))
    top, left = rng.integers(height - extent + 1), rng.integers(width - extent + 1)
    ground = cv2.resize(
        photograph[top : top + extent, left : left + extent], (side, side), interpolation=cv2.INTER_AREA
    )
    if rng.random() < 0.5:
        ground = ground[:, ::-1]
    blur = 0.06 * side * max(0.0, 1 - difficulty / 0.75)  # pixels; none for the hardest quarter
    return cv2.GaussianBlur(ground, (0, 0), blur) if blur > 0.3 else np.ascontiguousarray(ground)


def digit_mask(digit: npt.NDArray[np.float32], size: float, angle: float, centre: tuple[float, float], side: int) -> (
    npt.NDArray[np.float32]
):  # fmt: skip
    """Opacity (side, side) in [0, 1] of a digit `size` pixels high, turned by `angle` degrees about its centre (x, y)."""
    scale = size / 8
    place = cv2.getRotationMatrix2D((3.5, 3.5), angle, scale)
    place[:, 2] += np.array(centre) - 3.5
    mask = cv2.warpAffine(digit, place, (side, side), flags=cv2.INTER_CUBIC)
    return np.clip(mask * 1.25, 0, 1)


def paint(ground: ImageU8, mask: npt.NDArray[np.float32], ink: npt.NDArray[np.float32]) -> ImageU8:
    """The ground with BGR `ink` laid over it where the mask is opaque."""
    alpha = mask[:, :, None]
    return np.clip(ground * (1 - alpha) + ink * alpha, 0, 255).astype(np.uint8)


def choose_ink(
    rng: np.random.Generator, ground: ImageU8, mask: npt.NDArray[np.float32], difficulty: float
) -> npt.NDArray[np.float32]:
    """A BGR colour that stands out from the ground under the digit: strongly when easy, less when hard."""
    under = (ground * mask[:, :, None]).sum((0, 1)) / max(float(mask.sum()), 1e-3)
    contrast = rng.uniform(120, 180) * (1 - 0.35 * difficulty)  # grey levels
    lighter = under.mean() < 128 if abs(under.mean() - 128) > 40 else bool(rng.random() < 0.5)
    tint = rng.uniform(-25, 25, 3)
    return np.clip(under + (contrast if lighter else -contrast) + tint, 0, 255).astype(np.float32)


def draw_scene(rng: np.random.Generator, material: Material, difficulty: float) -> tuple[ImageU8, int]:
    """One scene (SIDE, SIDE, 3) RGB and its digit."""
    which = int(rng.integers(len(material.labels)))
    ground = draw_ground(rng, material, difficulty, SIDE)
    size = SIDE * (LARGE + (SMALL - LARGE) * difficulty) * rng.uniform(0.9, 1.1)
    reach = size / 2
    centre = (rng.uniform(reach, SIDE - reach), rng.uniform(reach, SIDE - reach))
    mask = digit_mask(material.digits[which], size, rng.uniform(-12, 12), centre, SIDE)
    picture = paint(ground, mask, choose_ink(rng, ground, mask, difficulty))
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), int(material.labels[which])
