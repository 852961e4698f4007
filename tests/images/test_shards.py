"""Tar shards: what is in them, in which order it comes, and every message."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from own_peak import own_peak

from sacvit.bundle.errors import ImageError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.images import shards as shards_module
from sacvit.images.shards import Shards, open_shards
from sacvit.training.augment import Augmentation
from sacvit.training.batches import Batches
from sacvit.training.dataset import open_split

RULE = Preprocessing(16)


def png(value: int) -> bytes:
    return cv2.imencode(".png", np.full((20, 30, 3), value, np.uint8))[1].tobytes()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def write_shards(folder: Path, count: int = 12, each: int = 4) -> Path:
    """Picture i is filled with 10 * i; its label is i % 3."""
    for shard in range(count // each):
        members = {}
        for index in range(shard * each, (shard + 1) * each):
            members |= {
                f"n{index % 3}/{index:04d}.png": png(index * 10),
                f"n{index % 3}/{index:04d}.cls": b"%d" % (index % 3),
            }
        write_tar(folder / f"part-{shard:04d}.tar", members)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ImageError) as fault:
        open_split(folder, RULE)
    return str(fault.value)


def test_pictures_come_with_their_labels(tmp_path: Path) -> None:
    split = open_split(write_shards(tmp_path), RULE)
    images, taken = split.read(np.arange(12))
    assert images[:, 0, 0, 0].tolist() == [10 * index for index in range(12)]
    assert split.labels[taken].tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize(
    ("members", "kept"),
    [
        (
            {"22.0/a.1.png": png(10), "22.0/a.1.cls": b"0", "22.0/a.2.png": png(20), "22.0/a.2.cls": b"1"},
            {10: 0, 20: 1},
        ),
        ({"n/a.left.png": png(10), "n/a.cls": b"1", "b.png": png(20), "b.cls": b"0"}, {10: 1, 20: 0}),
        ({"a.seg.png": png(30), "a.png": png(10), "a.cls": b"1", "b.png": png(20), "b.cls": b"0"}, {10: 1, 20: 0}),
    ],
    ids=["dots in a key", "two suffixes", "a second picture of an example"],
)
def test_keys_may_hold_dots(tmp_path: Path, members: dict[str, bytes], kept: dict[int, int]) -> None:
    shards, labels = open_shards(write_tar(tmp_path / "a.tar", members))
    assert {int(shards.read(index)[0, 0, 0]): label for index, label in enumerate(labels.tolist())} == kept


def test_classes_are_numbers_or_the_lines_of_classes_txt(tmp_path: Path) -> None:
    assert open_split(write_shards(tmp_path), RULE).classes == ["0", "1", "2"]
    (tmp_path / "classes.txt").write_text("cat\ndog\neel\n")
    assert open_split(tmp_path, RULE).classes == ["cat", "dog", "eel"]


def test_shards_train_what_class_folders_of_the_same_pictures_do_not_see_twice(tmp_path: Path) -> None:
    batches = Batches(open_split(write_shards(tmp_path), RULE), 4)
    seen = np.concatenate([batches.read(step)[0][:, 0, 0, 0] for step in range(3)])
    assert sorted(seen.tolist()) == [10 * index for index in range(12)]


def test_an_order_stays_within_few_shards_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 shards of 50 pictures, of which 200 in a row are shuffled: no 200 touch more than four or five shards."""
    monkeypatch.setattr(shards_module, "NEAR", 200)
    shard = np.repeat(np.arange(100, dtype=np.int32), 50)
    shards = Shards([Path("x")] * 100, shard, np.arange(5000), np.ones(5000, np.int64))
    order = shards.order(np.random.default_rng(0))
    windows = [shard[order[start : start + 200]] for start in range(0, 5000, 200)]
    assert sorted(order.tolist()) == list(range(5000)) and all(len(set(window.tolist())) == 4 for window in windows)
    assert all((np.diff(window) != 0).sum() > 100 for window in windows)  # shuffled within
    assert (np.diff([window.min() for window in windows]) < 0).any()  # the shards too


def test_the_system_is_asked_once_for_each_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(shards_module, "NEAR", 4)
    monkeypatch.setattr(shards_module.os, "posix_fadvise", lambda *rest: asked.append(rest))
    split = open_split(write_shards(tmp_path), RULE)
    batches = Batches(split, 2, augmentation=Augmentation(crop=True))
    for step in range(6):
        batches.read(step)
    assert len(asked) == 2 + 2 + 1  # each window's shard and the next one's


def test_a_part_of_a_shard_that_is_cut_off_later_is_passed_over(tmp_path: Path) -> None:
    split = open_split(write_shards(tmp_path, 4), RULE)
    path = tmp_path / "part-0000.tar"
    path.write_bytes(path.read_bytes()[: int(split.images.offset[2]) + 3])
    assert split.read(np.arange(4))[1].tolist() == [0, 1]
    assert "is cut short: the file became shorter" in split.faults[2]


def test_a_damaged_picture_in_a_shard_is_told_by_its_place(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"1.png": png(1), "1.cls": b"0", "2.png": b"no picture", "2.cls": b"0"})
    split = open_split(tmp_path, RULE)
    split.read(np.arange(2))
    assert f"a.tar: the picture at byte {split.images.offset[1]} is no picture" in split.faults[1]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"1.png": png(0)}, "a.tar: 1 has no .cls with its label; 1 such in this file"),
        ({"1.cls": b"0"}, "a.tar: 1 is a label without a picture; 1 such in this file"),
        ({"1.png": png(0), "1.cls": b"cat"}, "a.tar: 1.cls must hold a class's number, found 'cat'"),
        ({"1.png": png(0), "1.cls": b"123456789"}, "1.cls must hold a class's number, found '123456789'"),
        ({"1.png": png(0), "1.jpg": png(0), "1.cls": b"0"}, "a.tar has two pictures by the name 1"),
        ({"notes.txt": b"mine"}, "no picture in 1 .tar files"),
        ({"a.l.png": png(0), "a.r.png": png(0), "a.cls": b"0"}, "a has several pictures, a.l and a.r"),
    ],
)
def test_what_is_no_pair_of_picture_and_label_is_refused(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    write_tar(tmp_path / "a.tar", members)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize("keep", [0, 700, 1300])
def test_a_truncated_tar_is_refused(tmp_path: Path, keep: int) -> None:
    path = write_tar(
        tmp_path / "a.tar",
        {f"{index}.{kind}": png(0) if kind == "png" else b"0" for index in range(3) for kind in ("png", "cls")},
    )
    path.write_bytes(path.read_bytes()[:keep])
    assert "a.tar" in refusal(tmp_path)


def test_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz"):
        pass
    message = refusal(tmp_path)
    assert "a.tar is compressed with gzip" in message and "gzip -d" in message


def test_a_picture_that_claims_a_huge_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "MAX_PICTURE_BYTES", 16)
    write_tar(tmp_path / "a.tar", {"1.png": png(0), "1.cls": b"0"})
    assert "a.tar: 1.png has 0 MiB; the limit is 0 MiB" in refusal(tmp_path)


def test_links_in_a_shard_are_passed_over(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"1.png": png(0), "1.cls": b"0"})
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        entry = tarfile.TarInfo("2.png")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    assert len(open_shards(tmp_path)[0]) == 1


def six_pairs(path: Path) -> dict[str, int]:
    """A tar of six pictures, and where each member's header begins."""
    members = {f"{index}.{kind}": png(0) if kind == "png" else b"0" for index in range(6) for kind in ("png", "cls")}
    with tarfile.open(write_tar(path, members)) as archive:
        return {member.name: member.offset for member in archive}


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    place = six_pairs(tmp_path / "a.tar")["3.png"]
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[place] ^= 0xFF
    (tmp_path / "a.tar").write_bytes(content)
    assert f"was cut short: neither a header nor the end mark at byte {place}" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [0, 100], ids=["before a header", "within one"])
def test_a_cut_between_two_files_is_not_taken_for_the_end(tmp_path: Path, kept: int) -> None:
    place = six_pairs(tmp_path / "a.tar")["3.png"]
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[: place + kept])
    assert f"was cut short: neither a header nor the end mark at byte {place}" in refusal(tmp_path)


def test_labels_that_are_counted_from_1_on_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"1.png": png(1), "1.cls": b"1", "2.png": png(1), "2.cls": b"2"})
    assert "has classes without a picture: 0. Add some, or remove the folder or the name" in refusal(tmp_path)


def test_a_class_of_classes_txt_without_a_picture_is_refused(tmp_path: Path) -> None:
    (write_shards(tmp_path) / "classes.txt").write_text("cat\ndog\neel\nfox\n")
    assert "has classes without a picture: fox" in refusal(tmp_path)


def test_a_million_pictures_are_opened_in_100_mb(tmp_path: Path) -> None:
    """100 bytes each at the most, of which 28 are kept; tuples of Python's numbers would take more."""
    for shard in range(20):
        names = [f"{shard}-{index}" for index in range(50)]
        members = {
            f"{name}.{kind}": content for name in names for kind, content in (("png", bytes(300)), ("cls", b"0"))
        }
        write_tar(tmp_path / f"{shard}.tar", members)
    open_shards(tmp_path)
    assert own_peak(lambda: open_shards(tmp_path)) < 100 * 1000
