"""The images that a pipeline takes: arrays of any library, PIL images, files, and lists and generators of these.

None of these libraries is needed: objects are recognised by their attributes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...bundle.errors import ImageError
from ...bundle.preprocess import ImageU8
from ...images.decode import decode_picture, read_picture
from .device_arrays import DeviceBatch, DeviceImage, is_foreign

Image = ImageU8 | DeviceImage
WANTED = "an image must be an RGB array (H, W, 3) of uint8"
TAKEN = "a pipeline takes NumPy arrays, torch tensors, PIL images, paths of pictures, and lists or generators of these"
# How to convert NumPy types other than uint8, by their kind, where the values give no further hint.
CONVERSIONS = {
    "b": "image.astype(np.uint8) * 255",
    "u": "(image >> 8).astype(np.uint8) for 16-bit pictures, image.astype(np.uint8) for values of 0 to 255",
    "i": "image.astype(np.uint8) for values of 0 to 255",
}
TRANSPOSE = "{0}.transpose({1}) in NumPy, {0}.permute({1}) in torch"


@dataclass(frozen=True)
class Intake:
    """Splits what a caller gives into images. unwrap: reads arrays of other libraries. bgr: NumPy arrays and tensors are in
    OpenCV's order."""

    unwrap: Callable[[Any], DeviceBatch | ImageU8]
    bgr: bool = False

    def take(self, given: Any) -> tuple[Iterator[Image], bool]:
        """The images in what a caller gave, one after the other, and whether it was a single one.

        Raises ImageError for anything else, also while the images are taken from a list or a generator.
        """
        found = self._of_one(given)
        if found is not None:
            images, is_single = found
            return iter(images), is_single
        if isinstance(given, Mapping) or not isinstance(given, Iterable):
            raise ImageError(f"{TAKEN}; found {type(given).__name__}")
        return self._of_many(given), False

    def _of_many(self, given: Iterable[Any]) -> Iterator[Image]:
        for place, one in enumerate(given):
            try:
                found = self._of_one(one)
            except ImageError as reason:
                raise ImageError(f"image {place}: {reason}") from None
            if found is None:
                raise ImageError(f"image {place}: {TAKEN}; found {type(one).__name__}")
            yield from found[0]

    def _of_one(self, given: Any) -> tuple[list[Image], bool] | None:
        """The images of one object, and whether it is a single image; None for any other object."""
        return next((read(self, given) for matches, read in READERS if matches(given)), None)

    def _array(self, given: Any) -> tuple[list[Image], bool]:
        images, is_single = split(np.asarray(given))
        return [_turned(image) if self.bgr else image for image in images], is_single

    def _foreign(self, given: Any) -> tuple[list[Image], bool]:
        try:
            taken = self.unwrap(given)
        except (BufferError, RuntimeError, TypeError, ValueError) as reason:  # what torch and NumPy raise here
            raise ImageError(
                f"this {type(given).__name__} cannot be read as an array: {reason}. For a torch tensor give"
                f" image.detach().cpu()"
            ) from None
        if not isinstance(taken, DeviceBatch):
            return self._array(taken)
        if self.bgr:
            raise ImageError("bgr=True: an image on the GPU is taken as it lies there. Turn it there: image.flip(-1)")
        return list(taken.images), taken.is_single

    def _file(self, given: str | PathLike[str]) -> tuple[list[Image], bool]:
        path = Path(given)
        if path.is_dir():
            raise ImageError(f"{path} is a folder. Give its pictures: sorted(Path({str(path)!r}).glob('*.jpg'))")
        return [_turned(read_picture(path))], True

    def _bytes(self, given: bytes) -> tuple[list[Image], bool]:
        return [_turned(decode_picture(given, "the picture in these bytes"))], True

    def _pillow(self, given: Any) -> tuple[list[Image], bool]:
        if given.mode.startswith(("I", "F")):
            raise ImageError(f"a PIL image of mode {given.mode} has no 8-bit colours; scale it to 0 .. 255 first")
        upright = importlib.import_module("PIL.ImageOps").exif_transpose(given)  # as for pictures from files
        return [np.asarray(upright.convert("RGB"))], True

    def _bare(self, given: Any) -> tuple[list[Image], bool]:
        raise ImageError(
            f"a {type(given).__name__} is GPU memory without a shape. Give it one: pycuda.gpuarray.GPUArray((S, S, 3),"
            f" numpy.uint8, gpudata=allocation)"
        )


READERS: tuple[tuple[Callable[[Any], bool], Callable[[Intake, Any], tuple[list[Image], bool]]], ...] = (
    (lambda given: isinstance(given, str | PathLike), Intake._file),
    (lambda given: isinstance(given, bytes), Intake._bytes),
    (lambda given: hasattr(given, "convert") and hasattr(given, "getexif"), Intake._pillow),
    (is_foreign, Intake._foreign),
    (lambda given: hasattr(given, "__array__"), Intake._array),
    (lambda given: hasattr(given, "__int__") and hasattr(given, "free"), Intake._bare),  # PyCUDA's allocations
)


def split(array: npt.NDArray[Any]) -> tuple[list[ImageU8], bool]:
    """The RGB images (H, W, 3) in an array of one or several, and whether it is one.

    Grey ones, (H, W), (H, W, 1) or (B, H, W, 1), get three equal channels. Raises ImageError, with the conversion, for
    another type, channels first, or alpha.
    """
    if array.dtype != np.uint8:
        raise ImageError(f"{WANTED}, found {array.dtype} {array.shape}{_conversion(array)}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim not in (3, 4) or array.shape[-1] not in (1, 3) or 0 in array.shape[-3:]:
        raise ImageError(f"{WANTED}, found uint8 {array.shape}{_order(array.shape)}")
    if array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=-1)
    return ([array], True) if array.ndim == 3 else (list(array), False)


def _conversion(array: npt.NDArray[Any]) -> str:
    """A hint how to convert an array to uint8."""
    if array.dtype.kind in "OUS":
        return f". {TAKEN}: give a list, as images.tolist()"
    how = CONVERSIONS.get(array.dtype.kind)
    if array.dtype.kind == "f" and array.size:
        if array.min() < 0:
            return ". Its values are normalised: give the picture as it was before, the graphs normalise it"
        how = "(image * 255).round().astype(np.uint8)" if array.max() <= 1 else "image.round().astype(np.uint8)"
    return f". Convert it: {how}" if how else ""


def _order(shape: tuple[int, ...]) -> str:
    """A hint how to change the order of the axes."""
    if len(shape) in (3, 4) and shape[-1] == 4:
        return ". Leave out the fourth channel: image[..., :3]"
    if len(shape) == 3 and shape[0] in (1, 3):
        return f". Its channels come first: {TRANSPOSE.format('image', '1, 2, 0')}"
    if len(shape) == 4 and shape[1] in (1, 3):
        return f". Its channels come first: {TRANSPOSE.format('images', '0, 2, 3, 1')}"
    return ". For a batch of grey images give images[..., None]" if len(shape) == 3 and 0 not in shape else ""


def _turned(picture: ImageU8) -> ImageU8:
    """A BGR picture as RGB."""
    return np.ascontiguousarray(picture[..., ::-1])
