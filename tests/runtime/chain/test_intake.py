"""Everything that a notebook has at hand as an image, and what is no image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.runtime.chain.intake import Intake, split
from sacvit.runtime.chain.pipeline import Pipeline


@pytest.fixture(scope="module")
def pipeline(bundles) -> Pipeline:
    return Pipeline.load(bundles / "bundle")


@pytest.fixture
def photograph(tmp_path, pictures) -> Path:
    import cv2

    path = tmp_path / "cat.png"
    assert cv2.imwrite(str(path), pictures[0][..., ::-1])
    return path


def taken(given, bgr=False) -> list:
    return list(Intake(np.from_dlpack, bgr).take(given)[0])


def same(pipeline, given, picture, **options) -> bool:
    return pipeline(given, **options).probability == pipeline(picture).probability


def test_a_bgr_array_is_turned_by_the_flag(pipeline, pictures):
    assert same(pipeline, pictures[0][..., ::-1], pictures[0], bgr=True)
    assert not same(pipeline, pictures[0][..., ::-1], pictures[0])


def test_a_batch_of_bgr_arrays_is_turned(pictures):
    np.testing.assert_array_equal(taken(pictures[:2, ..., ::-1], bgr=True), pictures[:2])


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1)])
def test_a_grey_array_gets_three_equal_channels(shape):
    images, is_single = split(np.arange(600, dtype=np.uint8).reshape(shape))
    assert is_single and images[0].shape == (20, 30, 3)
    assert (images[0] == images[0][..., :1]).all()


def test_a_batch_of_grey_arrays_is_a_batch():
    images, is_single = split(np.zeros((4, 20, 30, 1), np.uint8))
    assert not is_single and [image.shape for image in images] == [(20, 30, 3)] * 4


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_read_in_rgb_whatever_the_order_of_arrays(pipeline, photograph, pictures, kind):
    assert same(pipeline, kind(photograph), pictures[0])
    assert same(pipeline, kind(photograph), pictures[0], bgr=True)


def test_the_bytes_of_a_picture_are_decoded(pipeline, photograph, pictures):
    assert same(pipeline, photograph.read_bytes(), pictures[0])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_a_pil_image_of_any_mode_is_taken(pictures, mode):
    pil = pytest.importorskip("PIL.Image").fromarray(pictures[0]).convert(mode)
    np.testing.assert_array_equal(taken(pil), [np.asarray(pil.convert("RGB"))])


def test_a_pil_image_is_turned_upright_as_a_file_is(tmp_path, pictures):
    image = pytest.importorskip("PIL.Image").fromarray(pictures[0][:16])
    exif = image.getexif()
    exif[0x0112] = 6  # a camera that was turned by 90 degrees
    path = tmp_path / "turned.png"
    image.save(path, exif=exif)
    with pytest.importorskip("PIL.Image").open(path) as opened:
        np.testing.assert_array_equal(taken(opened), taken(path))


def test_a_torch_tensor_on_the_cpu_is_taken(pictures):
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(taken(torch.from_numpy(pictures[:2])), pictures[:2])


def test_an_object_with_an_array_interface_is_taken(pictures):
    class Frame:
        def __array__(self, dtype=None, copy=None):
            return pictures[0]

    np.testing.assert_array_equal(taken(Frame()), pictures[:1])


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_several_images_of_different_kinds_keep_their_order(pipeline, photograph, pictures, kind):
    results = pipeline(kind([pictures[1], photograph, pictures[2:4]]))
    assert [result.index for result in results] == [pipeline(picture).index for picture in pictures[[1, 0, 2, 3]]]


def test_a_generator_is_drained_by_the_pass(bundles, pictures):
    """No more images are held than the engines take: here 4."""
    fixed, seen, most = Pipeline.load(bundles / "fixed"), [], []
    run = fixed._classify
    fixed._classify = lambda images: most.append(len(seen)) or run(images)  # type: ignore[method-assign]
    results = fixed(seen.append(0) or picture for picture in pictures[:10])
    assert len(results) == 10 and most == [4, 8, 10]


REFUSED = {
    "channels first": (np.zeros((3, 8, 9), np.uint8), r"transpose\(1, 2, 0\)"),
    "a batch with channels first": (np.zeros((2, 3, 8, 9), np.uint8), r"transpose\(0, 2, 3, 1\)"),
    "alpha": (np.zeros((8, 9, 4), np.uint8), r"image\[\.\.\., :3\]"),
    "floats to 1": (np.full((8, 9, 3), 0.5), r"image \* 255"),
    "floats to 255": (np.full((8, 9, 3), 99.0), r"image\.round\(\)\.astype"),
    "normalised": (np.full((8, 9, 3), -1.5, np.float32), "normalised"),
    "not a number": (np.full((8, 9, 3), np.nan), "float64"),
    "16 bits": (np.zeros((8, 9, 3), np.uint16), "image >> 8"),
    "a mask": (np.zeros((8, 9), bool), r"\* 255"),
    "an array of names": (np.array(["a.jpg"]), r"tolist\(\)"),
    "a batch of grey images": (np.zeros((7, 8, 9), np.uint8), r"\[\.\.\., None\]"),
    "no pixels": (np.zeros((0, 9, 3), np.uint8), r"\(0, 9, 3\)"),
    "one number": (np.uint8(3), r"\(H, W, 3\)"),
    "nothing": (None, "NoneType"),
    "a dictionary": ({"image": 1}, "dict"),
    "a missing file": ("missing.jpg", "missing.jpg is not readable"),
    "a folder": (".", "is a folder.*glob"),
    "bytes of no picture": (b"hello", "no picture"),
    "a list in a list": ([[1, 2]], "image 0: .*list"),
    "a wrong one in a list": ([np.zeros((8, 9, 3), np.uint8), 7], "image 1: .*int"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused_with_what_to_do(name):
    given, cure = REFUSED[name]
    with pytest.raises(ImageError, match=cure):
        taken(given)


@pytest.mark.parametrize(
    "convert", [lambda x: x.float().requires_grad_(), lambda x: x.to("meta"), lambda x: x.bfloat16()]
)
def test_a_tensor_that_no_array_can_be_made_of_is_refused_in_our_words(pipeline, pictures, convert):
    torch = pytest.importorskip("torch")
    with pytest.raises(ImageError, match=r"detach\(\)|device"):
        pipeline(convert(torch.from_numpy(pictures[0])))


def test_a_pil_image_without_8_bit_colours_is_refused(pictures):
    with pytest.raises(ImageError, match="mode F"):
        taken(pytest.importorskip("PIL.Image").new("F", (8, 8)))
