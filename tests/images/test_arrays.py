"""Arrays of images: both containers, what is refused, and that no file runs code or makes room for what it claims."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_peak import own_peak

from sacvit.bundle.errors import ImageError
from sacvit.images.data_set import DataSet, open_data_set

SIZE = 16


def opened(path: Path, classes: int = 7) -> DataSet:
    return open_data_set(path, "--calib", classes, None)


def pixels(data: DataSet) -> np.ndarray:
    return np.stack([data.read(index)[..., ::-1] for index in range(len(data))])


def labels_of(data: DataSet) -> list[int] | None:
    return None if data.labels is None else data.labels.tolist()


@pytest.fixture
def squares() -> np.ndarray:
    """(7, 16, 16, 3) uint8 RGB: already of the network's size."""
    return np.random.default_rng(3).integers(0, 256, (7, SIZE, SIZE, 3), np.uint8)


def saved_npz(path: Path, compressed: bool = False, **arrays: Any) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def test_images_npy_is_read_as_rgb(tmp_path: Path, squares: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", squares)
    np.testing.assert_array_equal(pixels(opened(tmp_path)), squares)


def test_images_npy_without_labels_npy_has_no_labels(tmp_path: Path, squares: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", squares)
    assert labels_of(opened(tmp_path)) is None


@pytest.mark.parametrize("kind", [np.uint8, ">i4"])
def test_labels_npy_may_be_of_any_whole_number_type(tmp_path: Path, squares: np.ndarray, kind: Any) -> None:
    np.save(tmp_path / "images.npy", squares)
    np.save(tmp_path / "labels.npy", np.array([6, 5, 4, 3, 2, 1, 0], kind))
    assert labels_of(opened(tmp_path)) == [6, 5, 4, 3, 2, 1, 0]


def test_images_npy_comes_before_pictures_beside_it(tmp_path: Path, squares: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", squares)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert len(opened(tmp_path)) == 7


def test_an_images_npy_in_fortran_order_is_read_all_the_same(tmp_path: Path, squares: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", np.asfortranarray(squares))
    np.testing.assert_array_equal(pixels(opened(tmp_path)), squares)


@pytest.mark.parametrize("name", ["images", "image"])
def test_an_npz_is_read_as_rgb(tmp_path: Path, squares: np.ndarray, name: str) -> None:
    path = saved_npz(tmp_path / "a.npz", **{name: squares})
    np.testing.assert_array_equal(pixels(opened(path)), squares)


def test_images_come_before_image_in_an_npz(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", image=squares[:2], images=squares)
    assert len(opened(path)) == 7


def test_an_npz_may_hold_labels(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares, labels=np.arange(7)[::-1])
    assert labels_of(opened(path)) == [6, 5, 4, 3, 2, 1, 0]


def test_an_npz_without_labels_has_none(tmp_path: Path, squares: np.ndarray) -> None:
    assert labels_of(opened(saved_npz(tmp_path / "a.npz", images=squares))) is None


def test_other_arrays_in_an_npz_do_not_matter(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", names=np.array(["a"]), images=squares, features=np.ones((3, 3)))
    np.testing.assert_array_equal(pixels(opened(path)), squares)


@given(order=st.lists(st.integers(0, 39), min_size=1, max_size=30))
def test_an_npz_gives_any_image_in_any_order(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    numbered = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    data = opened(saved_npz(tmp_path_factory.mktemp("order") / "a.npz", True, images=numbered))
    assert [int(data.read(index)[0, 0, 0]) for index in order] == order


def test_reading_an_npz_takes_no_more_memory_for_more_images(tmp_path: Path) -> None:
    many = np.random.default_rng(0).integers(0, 256, (400, 64, 64, 3), np.uint8)
    path = saved_npz(tmp_path / "a.npz", True, images=many)
    image_bytes = many[0].nbytes
    del many

    def read_all() -> None:
        data = opened(path)
        for index in range(len(data)):
            data.read(index)

    assert own_peak(read_all) < 40 * image_bytes  # those that are kept for other threads, zipfile's buffers, names


def test_a_few_images_of_an_npz_do_not_need_the_rest_of_it(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares)
    content = bytearray(path.read_bytes())
    content[bytes(content).index(squares[6].tobytes())] ^= 255
    path.write_bytes(content)
    np.testing.assert_array_equal(opened(path).read(3)[..., ::-1], squares[3])


@pytest.mark.parametrize("wrong", [-1, 7])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_labels_beyond_the_classes_are_refused(tmp_path: Path, squares: np.ndarray, wrong: int, kind: str) -> None:
    labels = np.array([0, 1, 2, wrong, 3, 4, 5])
    np.save(tmp_path / "images.npy", squares)
    np.save(tmp_path / "labels.npy", labels)
    path = tmp_path if kind == "npy" else saved_npz(tmp_path / "a.npz", images=squares, labels=labels)
    with pytest.raises(
        ImageError, match=rf"labels go from {min(wrong, 0)} to {max(wrong, 5)}, the model has 7 classes"
    ):
        opened(path)


WRONG_IMAGES = {
    "grey": np.zeros((3, 16, 16), np.uint8),
    "alpha": np.zeros((3, 16, 16, 4), np.uint8),
    "float": np.zeros((3, 16, 16, 3), np.float32),
}


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("wrong", WRONG_IMAGES)
def test_arrays_that_are_no_rgb_pictures_are_refused_by_shape_and_type(tmp_path: Path, wrong: str, kind: str) -> None:
    array = WRONG_IMAGES[wrong]
    np.save(tmp_path / "images.npy", array)
    path = tmp_path if kind == "npy" else saved_npz(tmp_path / "a.npz", images=array)
    with pytest.raises(ImageError, match=r"images must be \(N, H, W, 3\) uint8 RGB, found \w+ \(.*\)"):
        opened(path)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_of_images_without_pixels_are_refused(tmp_path: Path, kind: str) -> None:
    array = np.zeros((3, 0, 16, 3), np.uint8)
    with (tmp_path / "images.npy").open("wb") as file:
        np.save(file, array)
        file.write(b"\0")  # an array without bytes cannot be mapped
    path = tmp_path if kind == "npy" else saved_npz(tmp_path / "a.npz", images=array)
    with pytest.raises(ImageError, match=r"images must have pixels, found \(3, 0, 16, 3\)"):
        opened(path)


WRONG_LABELS = {
    "too few": np.arange(6),
    "two columns": np.zeros((7, 2), int),
    "float": np.arange(7.0),
}


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("wrong", WRONG_LABELS)
def test_labels_that_are_not_one_whole_number_an_image_are_refused(
    tmp_path: Path, squares: np.ndarray, wrong: str, kind: str
) -> None:
    np.save(tmp_path / "images.npy", squares)
    np.save(tmp_path / "labels.npy", WRONG_LABELS[wrong])
    path = saved_npz(tmp_path / "a.npz", images=squares, labels=WRONG_LABELS[wrong]) if kind == "npz" else tmp_path
    with pytest.raises(ImageError, match=r"(labels must be \(7,\)|must hold 7) whole numbers"):
        opened(path)


def test_an_npz_without_images_is_refused_with_what_it_holds(tmp_path: Path, squares: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"a\.npz has no array `images`; found labels, pictures"):
        opened(saved_npz(tmp_path / "a.npz", pictures=squares, labels=np.arange(7)))


def test_an_npz_in_fortran_order_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    with pytest.raises(ImageError, match="arrays must be in C order"):
        opened(saved_npz(tmp_path / "a.npz", images=np.asfortranarray(squares)))


def test_an_images_npy_that_is_an_archive_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    saved_npz(tmp_path / "a.npz", images=squares).rename(tmp_path / "images.npy")
    with pytest.raises(ImageError, match=r"images\.npy is an archive of arrays \(\.npz\); expected one array"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not an array", b"\x93NUMPY\x09\x09\x00\x00"])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_an_array_that_is_none_is_refused(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "images.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("images.npy", content)
    path = tmp_path if kind == "npy" else tmp_path / "a.npz"
    with pytest.raises(ImageError, match=r"images\.npy is not a readable array|a\.npz is no readable \.npz"):
        opened(path)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_images_npy_that_was_cut_short_is_refused(tmp_path: Path, squares: np.ndarray, share: float) -> None:
    path = tmp_path / "images.npy"
    np.save(path, squares)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ImageError, match=r"images\.npy is not a readable array"):
        opened(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_an_npz_that_was_cut_short_is_refused(tmp_path: Path, squares: np.ndarray, share: float) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ImageError, match=r"a\.npz is no readable \.npz"):
        opened(path)


def test_an_npz_with_a_flipped_bit_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares)
    content = bytearray(path.read_bytes())
    content[bytes(content).index(squares[6].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.npz is damaged at image \d: Bad CRC-32"):
        pixels(opened(path))


def test_an_npz_whose_compression_breaks_is_refused_at_the_image(tmp_path: Path) -> None:
    many = np.random.default_rng(0).integers(0, 256, (200, SIZE, SIZE, 3), np.uint8)
    array = io.BytesIO()
    np.save(array, many)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=0) as file:
        file.writestr("images.npy", array.getvalue())
    content = bytearray((tmp_path / "a.npz").read_bytes())
    first = 30 + len("images.npy")  # blocks of bytes as they are, each behind five bytes: its kind, its length twice
    second = first + 5 + int.from_bytes(content[first + 1 : first + 3], "little")
    content[second] |= 0b110  # a kind of block that does not exist
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.npz is damaged at image [1-9]\d*: .*invalid block type"):
        pixels(opened(tmp_path / "a.npz"))


def npz_that_claims(path: Path, shape: tuple[int, ...], body: bytes) -> Path:
    """A sound archive of an array whose header promises more than there is."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", header.getvalue() + body)
    return path


def test_an_array_that_ends_before_its_shape_does_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    path = npz_that_claims(tmp_path / "a.npz", (8, SIZE, SIZE, 3), squares.tobytes())
    with pytest.raises(ImageError, match=r"a\.npz claims 8 images, but holds \d+ bytes"):
        opened(path)


@pytest.mark.parametrize("shape", [(10**12, SIZE, SIZE, 3), (7, 9000, 9000, 3)])
def test_a_shape_that_claims_terabytes_is_refused_without_making_room_for_them(
    tmp_path: Path, squares: np.ndarray, shape: tuple[int, ...]
) -> None:
    path = npz_that_claims(tmp_path / "a.npz", shape, squares.tobytes())

    def refuse() -> None:
        with pytest.raises(ImageError, match=r"a\.npz claims \d+ images, but holds"):
            opened(path)

    assert own_peak(refuse) < 1 << 20


@pytest.mark.parametrize("shape", [(-1, SIZE, SIZE, 3), (1, -SIZE, SIZE, 3), (1, -SIZE, -SIZE, 3)])
def test_a_negative_shape_is_refused(tmp_path: Path, squares: np.ndarray, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="images must have pixels"):
        opened(npz_that_claims(tmp_path / "a.npz", shape, squares.tobytes()))


def test_an_image_larger_than_any_picture_may_be_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"images must be .* found uint8 \(7, 10000, 10000, 3\)"):
        opened(npz_that_claims(tmp_path / "a.npz", (7, 10_000, 10_000, 3), squares.tobytes()))


def test_an_npz_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(ImageError, match=r"a\.npz is no regular file"):
        opened(tmp_path / "a.npz")


def test_labels_that_are_a_pipe_are_refused_and_not_waited_for(tmp_path: Path, squares: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", squares)
    os.mkfifo(tmp_path / "labels.npy")
    with pytest.raises(ImageError, match=r"labels\.npy is no regular file"):
        opened(tmp_path)


def test_labels_that_claim_terabytes_are_refused_without_making_room_for_them(
    tmp_path: Path, squares: np.ndarray
) -> None:
    np.save(tmp_path / "images.npy", squares)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (1 << 40,)})
    (tmp_path / "labels.npy").write_bytes(header.getvalue() + bytes(100))
    with pytest.raises(ImageError, match=r"labels\.npy is not a readable array"):
        opened(tmp_path)


def test_a_label_that_no_int64_holds_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", squares)
    np.save(tmp_path / "labels.npy", np.array([0] * 6 + [2**63], np.uint64))
    with pytest.raises(ImageError, match=f"a label is {2**63}, which no class can have"):
        opened(tmp_path)


DESCRIPTIONS = [
    "'|u1'",
    "('|u1',)",
    "[('a','|u1')]",
    "'|u1,|u1'",
    "()",
    "[]",
    "[()]",
    "{}",
    "1",
    "None",
    "('|S1',(2,))",
]
SHAPES = ["(7,16,16,3)", "(7,)", "()", "7", "(True,)", "(7.0,)", "('7',)", "None", "(7,-1)", "(10**9,)", "[7]"]


@given(descr=st.sampled_from(DESCRIPTIONS), shape=st.sampled_from(SHAPES), order=st.sampled_from(["False", "1", "'C'"]))
def test_no_header_of_an_array_raises_anything_but_our_error(
    tmp_path_factory: pytest.TempPathFactory, descr: str, shape: str, order: str
) -> None:
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(7 * SIZE * SIZE * 3)
    folder = tmp_path_factory.mktemp("header")
    (folder / "images.npy").write_bytes(content)
    with zipfile.ZipFile(folder / "a.npz", "w") as file:
        file.writestr("images.npy", content)
    for path in (folder, folder / "a.npz"):
        try:
            opened(path)
        except ImageError as fault:
            assert str(path) in str(fault)


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "it ran"


@pytest.mark.parametrize("place", ["images", "labels"])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_an_object_array_is_refused_and_not_unpickled(
    tmp_path: Path, squares: np.ndarray, mark: Path, place: str, kind: str
) -> None:
    objects = np.array([Bomb(mark)] * 7, object)
    arrays = {"images": squares} | {place: objects}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    path = tmp_path if kind == "npy" else saved_npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(ImageError):
        opened(path)
    assert not mark.exists()


@pytest.mark.parametrize("place", ["images", "labels"])
def test_a_pickle_named_npy_is_refused_and_not_unpickled(
    tmp_path: Path, squares: np.ndarray, mark: Path, place: str
) -> None:
    np.save(tmp_path / "images.npy", squares)
    (tmp_path / f"{place}.npy").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ImageError, match=rf"{place}\.npy is not a readable array: .*pickle"):
        opened(tmp_path)
    assert not mark.exists()


def test_the_bomb_of_these_tests_does_go_off_where_pickles_are_allowed(tmp_path: Path, mark: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Bomb(mark)], object), allow_pickle=True)
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert mark.exists()
