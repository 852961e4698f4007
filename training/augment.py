"""Augmentation of training images: crops, mirrors, colours, erased boxes, and mixed pairs.

All on uint8 pixels, before the network's normalisation. Sources: DeiT's recipe (arXiv 2012.12877), which CF-ViT trains
with; random erasing, arXiv 1708.04896; mixup, arXiv 1710.09412; CutMix, arXiv 1905.04899.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..bundle.preprocess import IMAGENET_MEAN, IMAGENET_STD, ImageU8, Preprocessing

SMALLEST_CROP = 0.35  # share of the picture's area that a random crop keeps at least
ERASED_SHARE = (0.02, 1 / 3)  # of the image: timm's bounds, DeiT's choice
ERASED_RATIO = 0.3  # height to width lies between this and its inverse
MEAN, STD = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601: of R, G, B


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of one image. Zeros leave it unchanged."""

    crop: bool = False  # a random square of the picture, mirrored half of the time
    jitter: float = 0.0  # brightness, contrast and saturation times 1 - jitter .. 1 + jitter
    erase: float = 0.0  # probability of a box of noise

    def apply(self, picture: ImageU8, rule: Preprocessing, rng: np.random.Generator) -> ImageU8:
        """The network's view (S, S, 3) RGB of a decoded picture (H, W, 3) BGR."""
        return self.recolour(random_crop(picture, rule.image_size, rng) if self.crop else rule.apply(picture), rng)

    def recolour(self, view: ImageU8, rng: np.random.Generator) -> ImageU8:
        """The part that works on the view (S, S, 3) RGB; returns a new array where it changes anything."""
        if self.jitter:
            view = jitter_colours(view, self.jitter, rng)
        return erase_box(view, rng) if rng.random() < self.erase else view


def random_crop(picture: ImageU8, size: int, rng: np.random.Generator) -> ImageU8:
    """A square of the picture (H, W, 3) BGR, as large as the short side down to SMALLEST_CROP of that area: (S, S, 3) RGB."""
    area, across, down, mirror = rng.random(4)
    height, width = picture.shape[:2]
    side = max(1, int(min(height, width) * (SMALLEST_CROP + (1 - SMALLEST_CROP) * area) ** 0.5))
    top, left = int((height - side) * down), int((width - side) * across)
    view = Preprocessing(size, fit="stretch").apply(picture[top : top + side, left : left + side])
    return np.ascontiguousarray(view[:, ::-1]) if mirror < 0.5 else view


def jitter_colours(view: ImageU8, strength: float, rng: np.random.Generator) -> ImageU8:
    """Brightness, contrast and saturation, each times 1 - strength .. 1 + strength."""
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3).astype(np.float32)
    pixels = view.astype(np.float32) * brightness
    grey = pixels @ GREY
    pixels = (pixels - grey[..., None]) * saturation + grey[..., None]
    mean = grey.mean()
    return to_pixels((pixels - mean) * contrast + mean)


def erase_box(view: ImageU8, rng: np.random.Generator) -> ImageU8:
    """A box of noise in the colours of ImageNet."""
    side = view.shape[0]
    area = rng.uniform(*ERASED_SHARE) * side * side
    ratio = np.exp(rng.uniform(np.log(ERASED_RATIO), -np.log(ERASED_RATIO)))
    height, width = (min(side, max(1, round(length))) for length in ((area * ratio) ** 0.5, (area / ratio) ** 0.5))
    top, left = rng.integers(side - height + 1), rng.integers(side - width + 1)
    noise = rng.standard_normal((height, width, 3), np.float32) * STD + MEAN
    view = view.copy()
    view[top : top + height, left : left + width] = to_pixels(noise * 255)
    return view


@dataclass(frozen=True)
class Mixing:
    """How pairs of images and their labels are mixed. With both values given, each pair uses one of the two methods."""

    mixup: float = 0.0  # of Beta(mixup, mixup), the first image's weight
    cutmix: float = 0.0  # of Beta(cutmix, cutmix), the share that stays outside the box

    @property
    def is_on(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def apply(self, pair: ImageU8, rng: np.random.Generator) -> tuple[ImageU8, float]:
        """Two images (2, S, S, 3), mixed both ways round, and the weight of the label that each had before."""
        cuts = self.cutmix > 0 and (self.mixup == 0 or rng.random() < 0.5)
        kept = float(rng.beta(self.cutmix, self.cutmix) if cuts else rng.beta(self.mixup, self.mixup))
        if cuts:
            return swap_box(pair, kept, rng)
        pixels = pair.astype(np.float32)
        return to_pixels(kept * pixels + (1 - kept) * pixels[::-1]), kept


def swap_box(pair: ImageU8, kept: float, rng: np.random.Generator) -> tuple[ImageU8, float]:
    """The two images with a box of about `1 - kept` of their area exchanged, and the share that stayed."""
    side = pair.shape[1]
    half = side * (1 - kept) ** 0.5 / 2
    bounds = [
        int(np.clip(round(centre + way * half), 0, side)) for centre in rng.uniform(0, side, 2) for way in (-1, 1)
    ]
    top, bottom, left, right = bounds
    mixed = pair.copy()
    mixed[:, top:bottom, left:right] = pair[::-1, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (side * side)


def to_pixels(values: npt.NDArray[np.float32]) -> ImageU8:
    """Rounded and held within 0 .. 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
