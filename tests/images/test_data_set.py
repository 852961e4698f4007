"""One rule for every reader: the same data set gives each command the same pixels and the same class numbers."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.errors import ImageError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.images.calibration_set import open_images
from sacvit.images.data_set import LAYOUTS, open_data_set
from sacvit.images.labelled import open_labelled
from sacvit.runtime.sources.files import PictureFiles
from sacvit.runtime.sources.opening import open_source
from sacvit.serving.requests import fills_of

S = 12


def pixels_of(count: int, side: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *side, 3), np.uint8)


def png(rgb: np.ndarray) -> bytes:
    return cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()


def write_folders(folder: Path, images: np.ndarray, labels: list[int], names: list[str]) -> Path:
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / names[label]).mkdir(parents=True, exist_ok=True)
        (folder / names[label] / f"{place}.png").write_bytes(png(image))
    return folder


def write_list(folder: Path, images: np.ndarray, labels: list[int], names: list[str], suffix: str) -> Path:
    separator = "," if suffix == ".csv" else "\t"
    for place, image in enumerate(images):
        (folder / f"{place}.png").write_bytes(png(image))
    rows = (f"{place}.png{separator}{names[label]}\n" for place, label in enumerate(labels))
    (folder / f"list{suffix}").write_text("".join(rows))
    return folder / f"list{suffix}"


def write_arrays(folder: Path, images: np.ndarray, labels: list[int]) -> Path:
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", np.array(labels))
    return folder


def write_archive(folder: Path, images: np.ndarray, labels: list[int]) -> Path:
    np.savez(folder / "a.npz", images=images, labels=np.array(labels))
    return folder / "a.npz"


def write_shard(folder: Path, images: np.ndarray, labels: list[int]) -> Path:
    with tarfile.open(folder / "a.tar", "w") as archive:
        for place, (image, label) in enumerate(zip(images, labels, strict=True)):
            for suffix, content in ((".png", png(image)), (".cls", str(label).encode())):
                member = tarfile.TarInfo(f"{place}{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return folder / "a.tar"


WRITERS: dict[str, Any] = {
    "folders": write_folders,
    "csv": lambda *data: write_list(*data, ".csv"),
    "txt": lambda *data: write_list(*data, ".txt"),
    "arrays": lambda folder, images, labels, _: write_arrays(folder, images, labels),
    "npz": lambda folder, images, labels, _: write_archive(folder, images, labels),
    "tar": lambda folder, images, labels, _: write_shard(folder, images, labels),
}


@given(
    labels=st.lists(st.integers(0, 11), min_size=2, max_size=14).filter(lambda labels: len(set(labels)) > 1),
    layout=st.sampled_from(sorted(WRITERS)),
    are_numbers=st.booleans(),
    side=st.sampled_from([(S, S), (20, 15)]),
)
def test_every_reader_gives_the_same_pixels_and_class_numbers(
    tmp_path_factory: pytest.TempPathFactory, labels: list[int], layout: str, are_numbers: bool, side: tuple[int, int]
) -> None:
    folder = tmp_path_factory.mktemp(layout)
    images = pixels_of(len(labels), side)
    # In an order that is neither that of letters nor of numbers.
    names = [str(number) for number in range(12)] if are_numbers else [f"class {5 * n % 12:02}" for n in range(12)]
    path = WRITERS[layout](folder, images, labels, names)
    rule = Preprocessing(S, crop_ratio=0.8)
    views = [rule.apply(image, bgr=False).tobytes() for image in images]
    expected = sorted(zip(views, labels, strict=True))

    tuned = open_labelled(path, 12, names)
    calibrated = open_images(path, rule, None, 12, names, "--calib")
    assert calibrated.labels is not None
    seen = {
        "tune": [(rule.apply(tuned.read(index)).tobytes(), int(tuned.labels[index])) for index in range(tuned.count)],
        "export": list(zip((image.tobytes() for image in calibrated.read()), calibrated.labels.tolist(), strict=True)),
    }
    for reader, found in seen.items():
        assert sorted(found) == expected, reader
    if layout in ("folders", "csv", "txt"):
        files = sorted(folder.rglob("*.png"))
        source = PictureFiles(files) if layout == "folders" else open_source(str(folder))
        assert sorted(rule.apply(frame.image).tobytes() for frame in source) == sorted(views)
        for file in files:
            slot = np.empty((S, S, 3), np.uint8)
            fills_of(np.array([[file.read_bytes()]], object), rule)[0](slot)
            assert slot.tobytes() in views


@given(
    labels=st.permutations(range(12)),
    layout=st.sampled_from(["folders", "arrays", "tar"]),
    side=st.sampled_from([(S, S), (20, 15)]),
)
def test_training_numbers_classes_and_sees_pixels_as_the_others_do(
    tmp_path_factory: pytest.TempPathFactory, labels: list[int], layout: str, side: tuple[int, int]
) -> None:
    dataset = pytest.importorskip("sacvit.training.dataset")
    rule = Preprocessing(S, crop_ratio=0.8)
    images = pixels_of(12, (S, S) if layout == "arrays" else side)  # arrays are trained on as they are
    path = WRITERS[layout](tmp_path_factory.mktemp(layout), images, labels, [str(number) for number in range(12)])
    split = dataset.open_split(path if path.is_dir() else path.parent, rule)
    views, indices = split.read(np.arange(12))
    tuned = open_labelled(path, 12, split.classes)
    trained = sorted(zip((view.tobytes() for view in views), split.labels[indices].tolist(), strict=True))
    assert trained == sorted(
        (rule.apply(tuned.read(index)).tobytes(), int(tuned.labels[index])) for index in range(tuned.count)
    )


def test_a_path_that_does_not_exist_is_refused_with_what_could_be_given(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as fault:
        open_data_set(tmp_path / "gone", "--calib", 3, None)
    assert str(fault.value).startswith(f"--calib {tmp_path / 'gone'} does not exist; give ")
    assert all(layout.help in str(fault.value) for layout in LAYOUTS)


def test_a_file_of_another_kind_is_refused_with_what_could_be_given(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(ImageError, match=r"--calib .*a\.zip is none of: "):
        open_data_set(tmp_path / "a.zip", "--calib", 3, None)


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "folder/notes.md"])
def test_a_data_set_without_an_image_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / name).write_text("\n\n")
    with pytest.raises(ImageError, match="holds no images"):
        open_data_set(tmp_path / "folder" if "/" in name else tmp_path / name, "--calib", 3, None)


def test_linked_class_folders_are_classes(tmp_path: Path) -> None:
    write_folders(tmp_path / "real", pixels_of(4, (8, 8)), [0, 0, 1, 2], ["ant", "bee", "cat"])
    (tmp_path / "linked").mkdir()
    for name in ("ant", "bee", "cat"):
        (tmp_path / "linked" / name).symlink_to(f"../real/{name}")
    assert open_labelled(tmp_path / "linked", 3, ["ant", "bee", "cat"]).labels.tolist() == [0, 0, 1, 2]


def test_two_folders_of_a_thousand_classes_are_these_by_name(tmp_path: Path) -> None:
    names = [f"n{number:04}" for number in range(1000)]
    write_folders(tmp_path, pixels_of(2, (8, 8)), [700, 42], names)
    found = open_data_set(tmp_path, "--eval", 1000, names)
    assert found.labels is not None and found.labels.tolist() == [42, 700]


def test_a_tar_from_a_mac_has_files_beside_the_pictures_that_are_passed_over(tmp_path: Path) -> None:
    path = write_shard(tmp_path, pixels_of(2, (8, 8)), [0, 1])
    with tarfile.open(path, "a") as archive:
        for name in ("._0.png", "._0.cls"):
            archive.addfile(tarfile.TarInfo(name))
    assert len(open_data_set(path, "--calib", 3, None)) == 2


def test_a_list_of_which_no_picture_exists_is_refused_before_the_first_is_read(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,breed\n000bec180,ant\n001513dfc,bee\n")
    with pytest.raises(ImageError, match=r"labels\.csv: none of its first 2 pictures exists.*suffix"):
        open_data_set(tmp_path / "labels.csv", "--data", 3, ["ant", "bee", "cat"])


@pytest.mark.parametrize("write", [write_arrays, write_shard])
def test_numbers_are_the_lines_of_classes_txt_beside_them(tmp_path: Path, write: Any) -> None:
    write(tmp_path, pixels_of(3, (8, 8)), [0, 2, 0])
    (tmp_path / "classes.txt").write_text("bee\ncow\nant\n")
    found = open_data_set(tmp_path, "--eval", 4, ["ant", "bee", "cat", "cow"])
    assert found.labels is not None and found.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(("text", "words"), [("bee\ndog\n", "'dog'"), ("bee\n", "names 1 classes")])
def test_a_classes_txt_of_another_model_is_refused(tmp_path: Path, text: str, words: str) -> None:
    write_arrays(tmp_path, pixels_of(2, (8, 8)), [0, 1])
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(ImageError, match=words):
        open_data_set(tmp_path, "--eval", 2, ["ant", "bee"])


def test_numbers_stay_where_the_model_names_no_classes(tmp_path: Path) -> None:
    write_arrays(tmp_path, pixels_of(2, (8, 8)), [0, 1])
    (tmp_path / "classes.txt").write_text("bee\nant\n")
    found = open_data_set(tmp_path, "--eval", 2, None)
    assert found.labels is not None and found.labels.tolist() == [0, 1]
