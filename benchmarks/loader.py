"""What reading pictures for training costs, and whether training waits for it.

    python benchmarks/loader.py --json loader.json

Photograph-sized JPEGs (500 x 375) of noise over smooth shapes, as class folders and as tar shards, with random crops and with
the paper's whole recipe. Alternating: images/s of reading alone, with one thread and with one per core. Then short runs of
sacvit-train, whose metrics tell the pace of loader and step when both share the cores.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sacvit.bundle.preprocess import Preprocessing
from sacvit.machine.processor import describe_machine
from sacvit.model.config import preset
from sacvit.training.augment import Augmentation, Mixing
from sacvit.training.batches import Batches
from sacvit.training.dataset import Split, open_split
from sacvit.training.recipe import Recipe
from sacvit.training.run_options import RunOptions
from sacvit.training.train import train

SIZE = 224
CLASSES = 4


def jpeg(rng: np.random.Generator) -> bytes:
    """About 40 kB: what ImageNet's pictures of this size are at quality 90."""
    coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
    picture = cv2.resize(coarse, (500, 375), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    picture += rng.integers(-12, 12, picture.shape, np.int16)
    return cv2.imencode(".jpg", np.clip(picture, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def write_data(folder: Path, count: int) -> float:
    """folders/ and shards/ with the same pictures in train/, a few in val/; returns the mean size in kB."""
    rng, sizes = np.random.default_rng(0), []
    for part, number in (("train", count), ("val", 2 * CLASSES)):
        (folder / "shards" / part).mkdir(parents=True)
        with tarfile.open(folder / "shards" / part / "0.tar", "w") as archive:
            for index in range(number):
                label, content = index % CLASSES, jpeg(rng)
                sizes.append(len(content))
                path = folder / "folders" / part / str(label) / f"{index}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                for name, data in ((f"{index}.jpg", content), (f"{index}.cls", str(label).encode())):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
    return statistics.mean(sizes) / 1e3


def reading_pace(split: Split, augmentation: Augmentation, mixing: Mixing, steps: range) -> float:
    """Images per second of reading alone, in batches of 64."""
    batches = Batches(split, 64, augmentation=augmentation, mixing=mixing)
    batches.read(steps[0])
    began = time.monotonic()
    for step in steps:
        batches.read(step)
    return 64 * len(steps) / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--presets", nargs="*", default=["demo", "deit-ti"], help="of the short training runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": describe_machine(), "reading": {}, "training": {}}
    whole = (Augmentation(True, 0.4, 0.25), Mixing(0.8, 1.0))
    cases = {"crops": (Augmentation(crop=True), Mixing()), "paper": whole}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["mean_jpeg_kb"] = round(write_data(folder, options.images), 1)
        paces: dict[str, list[float]] = {}
        steps = range(options.images // 64)
        for _ in range(options.rounds):
            for layout in ("folders", "shards"):
                for case, (augmentation, mixing) in cases.items():
                    for threads in (1, 2):
                        split = open_split(folder / layout / "train", Preprocessing(SIZE))
                        split.pool = ThreadPoolExecutor(threads)
                        pace = reading_pace(split, augmentation, mixing, steps)
                        paces.setdefault(f"{layout}, {case}, {threads} threads", []).append(pace)
        for key, values in paces.items():
            found["reading"][key] = {"median": round(statistics.median(values)), "rounds": [round(v) for v in values]}
            print(f"{key:32} {statistics.median(values):7.0f} images/s  ({min(values):.0f} .. {max(values):.0f})")
        recipe = Recipe(1, 0, batch=64, augment=True, colour_jitter=0.4, erase=0.25, mixup=0.8, cutmix=1.0)
        for number, geometry in enumerate(options.presets):
            config = replace(preset(geometry, image_size=SIZE), classes=CLASSES)
            run = RunOptions(folder / f"run{number}")
            metrics = train(folder / "shards", config, Preprocessing(SIZE), recipe, run)
            keys = ("images_per_s", "loader_images_per_s", "step_images_per_s", "waited")
            found["training"][geometry] = {key: metrics[key] for key in keys}
            print(geometry, found["training"][geometry])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
