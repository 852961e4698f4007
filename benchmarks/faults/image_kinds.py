"""Pictures, videos, and everything that lists or holds them."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from .kind import ROOT, Kind, colours, digest
from .mutate import damaged_bytes, damaged_head, damaged_text, flipped_bit

BYTES = (damaged_bytes, damaged_head, flipped_bit)
FRAMES = 25  # that are read of a damaged video


def make_pictures(folder: Path) -> None:
    import cv2

    shown = colours(1, 48)[0]
    options: dict[str, list[int]] = {
        "a.png": [], "b.jpg": [], "c.bmp": [], "d.webp": [], "e.tif": [], "g.ppm": [], "h.pgm": [],
        "p.jpg": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], "q.webp": [cv2.IMWRITE_WEBP_QUALITY, 101],
    }  # fmt: skip
    for name, given in options.items():
        assert cv2.imwrite(str(folder / name), shown if name != "h.pgm" else shown[:, :, 0], given)
    for name in ("i.gif", "j.avif"):
        if cv2.haveImageWriter(name):
            cv2.imwrite(str(folder / name), shown)


def read_pictures(folder: Path, damaged: Path) -> Any:
    from sacvit.images.decode import read_picture

    return digest(read_picture(damaged))


def make_videos(folder: Path) -> None:
    import cv2

    for name, code in (("a.avi", "MJPG"), ("b.mp4", "mp4v")):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*code), 10, (64, 48))
        for picture in colours(12, 64):
            writer.write(picture[:48])
        writer.release()
    shutil.copy(ROOT / "tests" / "fixtures" / "grey.h264", folder / "grey.h264")


def read_videos(folder: Path, damaged: Path) -> Any:
    from sacvit.runtime.sources.opening import open_source

    source = open_source(str(damaged))
    try:
        frames = [digest(frame.image) for frame, _ in zip(source, range(FRAMES), strict=False)]
    finally:
        source.close()
    return frames, source.faults


def _read_set(path: Path) -> Any:
    """As sacvit-tune and sacvit-export read images: names, labels, pixels of those that can be read."""
    from sacvit.bundle.errors import ImageError
    from sacvit.commands.frame import print_safe
    from sacvit.images.data_set import open_data_set

    found = open_data_set(path, "--data", 5, ["ant", "bee", "cat", "dog", "emu"])
    pixels = []
    for index in range(min(len(found), 8)):
        try:
            pixels.append(digest(found.read(index)))
        except ImageError as reason:
            print_safe(str(reason))
            pixels.append(None)
    found.key()
    return list(found.names), None if found.labels is None else found.labels.tolist(), pixels


def _pictures(folder: Path) -> list[str]:
    import cv2

    names = []
    for number, picture in enumerate(colours(6, 20)):
        name = f"{('ant', 'bee')[number % 2]}/{number}.png"
        (folder / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(folder / name), picture)
        names.append(name)
    return names


def make_lists(folder: Path) -> None:
    names = _pictures(folder)
    rows = [(name, name.partition("/")[0]) for name in names]
    (folder / "a.csv").write_text("path,label\n" + "".join(f"{name},{label}\n" for name, label in rows))
    (folder / "b.tsv").write_text("".join(f"{name}\t{label}\n" for name, label in rows))
    (folder / "c.txt").write_text("".join(f"{name} {number % 2}\n" for number, name in enumerate(names)))
    (folder / "labels.txt").write_text("ant\nbee\ncat\ndog\nemu\n")


def read_lists(folder: Path, damaged: Path) -> Any:
    from sacvit.images.class_names import read_class_names

    return read_class_names(damaged, "--labels", 5) if damaged.name == "labels.txt" else _read_set(damaged)


def make_shards(folder: Path) -> None:
    import cv2

    with tarfile.open(folder / "a.tar", "w") as archive:
        for number, picture in enumerate(colours(4, 20)):
            for suffix, content in (("png", cv2.imencode(".png", picture)[1].tobytes()), ("cls", b"%d\n" % number)):
                entry = tarfile.TarInfo(f"{number:04}.{suffix}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def read_shards(folder: Path, damaged: Path) -> Any:
    return _read_set(damaged)


def make_arrays(folder: Path) -> None:
    images, labels = colours(6, 20), np.arange(6) % 5
    (folder / "set").mkdir()
    np.save(folder / "set" / "images.npy", images)
    np.save(folder / "set" / "labels.npy", labels)
    np.savez(folder / "a.npz", images=images, labels=labels)
    np.savez_compressed(folder / "b.npz", images=images, labels=labels)


def read_arrays(folder: Path, damaged: Path) -> Any:
    return _read_set(damaged.parent if damaged.suffix == ".npy" else damaged)


KINDS = (
    Kind("picture", make_pictures, ("*",), read_pictures, BYTES),
    Kind("video", make_videos, ("*",), read_videos, BYTES, share=0.15),
    Kind("CSV, TSV, list, labels", make_lists, ("*.csv", "*.tsv", "*.txt"), read_lists, (damaged_text, damaged_bytes)),
    Kind("tar shard", make_shards, ("*",), read_shards, BYTES),
    Kind("array .npy .npz", make_arrays, ("*.npz", "set/*"), read_arrays, BYTES),
)
