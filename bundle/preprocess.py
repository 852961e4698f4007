"""The one preprocessing rule: from a decoded picture to the uint8 square that both graphs take.

The short side is resized to S / crop_ratio and the centre S x S is kept (`fit="crop"`: ImageNet's evaluation rule), or
the whole picture is squeezed to S x S (`fit="stretch"`). A picture of exactly S x S pixels is always taken as it is: training
uses arrays as they are, so evaluation, tuning and serving must not crop them again. This holds for a camera's frame of S x S as
well. Mean and standard deviation are part of the rule, but are folded into the graphs: they are never applied to pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from .errors import ConfigError, UsageError, nearest

ImageU8 = npt.NDArray[np.uint8]
Fit = Literal["crop", "stretch"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB in [0, 1]; torchvision's and timm's constants
IMAGENET_STD = (0.229, 0.224, 0.225)
CROP_RATIO = 0.875  # of the short side: DeiT, CF-ViT and LF-ViT evaluate at 224 / 256


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an input. `image_size` is S in pixels; mean and std are RGB in [0, 1]."""

    image_size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    fit: Fit = "crop"
    crop_ratio: float = CROP_RATIO

    def __post_init__(self) -> None:
        if not isinstance(self.image_size, int) or isinstance(self.image_size, bool) or self.image_size < 1:
            raise ConfigError(f"image size must be a positive whole number, found {self.image_size!r}")
        for values in (self.mean, self.std):
            if not isinstance(values, tuple) or len(values) != 3 or not all(_is_finite(value) for value in values):
                raise ConfigError(f"mean and std need three numbers each, found {self.mean} and {self.std}")
        if min(self.std) <= 0:
            raise ConfigError(f"mean and std need three numbers each, std above 0; found {self.mean} and {self.std}")
        if self.fit not in get_args(Fit):
            raise ConfigError(f"fit must be one of {', '.join(get_args(Fit))}; found {self.fit!r}")
        if not _is_finite(self.crop_ratio) or not 0 < self.crop_ratio <= 1:
            raise ConfigError(f"crop ratio must lie in (0, 1], found {self.crop_ratio}")

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> Preprocessing:
        """The rule that `to_dict` wrote. Raises ConfigError for an unknown key or a wrong value."""
        for key in entries:
            if key not in cls.__dataclass_fields__:
                raise ConfigError(f"preprocessing has an unknown entry {key!r}{nearest(key, cls.__dataclass_fields__)}")
        try:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}
            return cls(**values)
        except TypeError as reason:
            raise ConfigError(f"preprocessing is not readable: {reason}") from None

    def region(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part of a height x width picture that reaches the network: top, left, height, width in pixels."""
        if self.fit == "stretch" or height == width == self.image_size:
            return 0, 0, height, width
        side = max(1, round(min(height, width) * self.crop_ratio))
        return (height - side) // 2, (width - side) // 2, side, side

    def apply(self, picture: ImageU8, out: ImageU8 | None = None, *, bgr: bool = True) -> ImageU8:
        """The network's view of a decoded picture: RGB (S, S, 3) uint8, written into `out` when it is given.

        picture: (H, W, 3) uint8, in OpenCV's channel order unless `bgr` is False. The crop is cut before the resize,
        which gives the same view as resizing first (up to the rounding of one pixel) but processes the kept pixels only.
        """
        import cv2  # here, so that reading a manifest does not load OpenCV

        size = self.image_size
        top, left, height, width = self.region(*picture.shape[:2])
        view = shrink(picture[top : top + height, left : left + width], size)
        if view.shape[:2] != (size, size):
            view = cv2.resize(view, (size, size), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        if out is None:
            out = np.empty((size, size, 3), np.uint8)
        elif out.shape != (size, size, 3) or out.dtype != np.uint8:
            raise UsageError(f"`out` must be ({size}, {size}, 3) uint8, found {out.shape} {out.dtype}")
        if bgr:
            cv2.cvtColor(view, cv2.COLOR_BGR2RGB, dst=out)
        else:
            np.copyto(out, view)
        return out


def _is_finite(value: object) -> bool:
    # The bound excludes whole numbers that are too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6  # NaN compares false


def shrink(view: ImageU8, size: int) -> ImageU8:
    """Halves each side, by the mean of neighbours, until it is below 2 * size pixels; up to three edge pixels go.

    What is left for bilinear resizing is a factor below 2, where it skips no pixel and so does not alias. The same job
    by one INTER_AREA takes seven times as long (3.6 against 0.5 ms for a 1080p frame on one core of an EPYC), because its
    factor is not a whole number.
    """
    import cv2

    height, width = view.shape[:2]
    while height >= 2 * size or width >= 2 * size:
        across, down = (2 if side >= 2 * size else 1 for side in (width, height))
        view = view[: height // down * down, : width // across * across]
        height, width = height // down, width // across
        view = cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return view
