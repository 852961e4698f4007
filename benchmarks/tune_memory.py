"""What sacvit-tune needs at full size: its peak memory and its time on 50 000 pictures of 1 000 classes.

    python benchmarks/tune_memory.py
    python benchmarks/tune_memory.py --preset deit-s --run 200

A few pictures stand under 50 000 names (hard links; one name in `--large-every` is a 12-megapixel one), in a CSV of random
labels; the engines are random. --run N answers only the last N pictures and writes random answers for the others into the cache
first: what a large network keeps in memory does not depend on how often it ran. Peak: VmHWM of the command's own process, read
at its end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from sacvit.bundle.records import write_record
from sacvit.images.labelled import open_labelled
from sacvit.machine.processor import describe_machine
from sacvit.profiles.tuning.answer_files import FILES, KEY_NAME, SUMS_NAME, row_sums
from sacvit.profiles.tuning.stored_answers import answers_key
from sacvit.runtime.chain.pipeline import Pipeline

TINY = {"image_size": 32, "patch_size": 4, "width": 48, "depth": 4, "heads": 3, "hidden": 96}
ORDINARY, LARGE = (375, 500), (3000, 4000)  # pixels: ImageNet's median, a telephone's
DIFFERENT = 8
# A fresh interpreter: ru_maxrss would hold what this process had when it started the child.
CHILD = (
    "import sys\nfrom sacvit.commands.tune import main\ncode = main()\n"
    "(line,) = (line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
    "print('PEAK_KIB', line.split()[1], file=sys.stderr)\nsys.exit(code)"
)


def export_random(folder: Path, name: str, classes: int) -> Path:
    """A bundle of random weights. In a process of its own: torch would stay in this one."""
    changes = TINY if name == "demo" else {}
    code = (
        "import torch\nfrom pathlib import Path\n"
        "from sacvit.bundle.preprocess import Preprocessing\nfrom sacvit.export.write_bundle import export\n"
        "from sacvit.model.write_checkpoint import save_checkpoint\nfrom sacvit.model.config import preset\n"
        "from sacvit.model.network import TwoStageViT\n"
        f"folder, config = Path({str(folder)!r}), preset({name!r}, classes={classes}, **{changes})\n"
        "torch.manual_seed(0)\nmodel = TwoStageViT(config)\n"
        "with torch.no_grad():\n    for one in model.parameters(): one.add_(0.05 * torch.randn_like(one))\n"
        "save_checkpoint(folder / 'model.pth', model, Preprocessing(config.image_size))\n"
        "export(folder / 'model.pth', folder / 'build')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    return folder / "build"


def write_pictures(folder: Path, images: int, classes: int, large_every: int) -> Path:
    """A CSV of `images` names of a few JPEG pictures, with random labels."""
    rng = np.random.default_rng(0)
    (folder / "seen").mkdir(parents=True)

    def draw(name: str, height: int, width: int) -> Path:
        field = cv2.resize(rng.uniform(0, 255, (9, 12, 3)).astype(np.float32), (width, height))
        noisy = np.clip(field + rng.normal(0, 12, (height, width, 1)), 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(folder / name), noisy)
        return folder / name

    ordinary = [draw(f"{index}.jpg", *ORDINARY) for index in range(DIFFERENT)]
    large = draw("large.jpg", *LARGE)
    labels = rng.integers(0, classes, images)
    with (folder / "list.csv").open("w") as file:
        file.write("path,label\n")
        for index in range(images):
            name = f"seen/{index:06d}.jpg"
            os.link(large if index % large_every == 0 else ordinary[index % DIFFERENT], folder / name)
            file.write(f"{name},{labels[index]}\n")
    return folder / "list.csv"


def write_answers(bundle: Path, data: Path, folder: Path, classes: int, batch: int, answered: int) -> None:
    """Random answers of the first pictures, as a run that was killed there would have left them."""
    pipeline = Pipeline.load(bundle / "ee.onnx", bundle / "sac.onnx")
    images = open_labelled(data, classes, None)
    folder.mkdir(parents=True)
    write_record(folder / KEY_NAME, answers_key(pipeline, images, batch))
    rng = np.random.default_rng(1)
    times = rng.uniform(1, 2, (answered, 2)).astype(np.float32)
    times.tofile(folder / FILES[2])
    ee_file, sac_file, sums = ((folder / name).open("wb") for name in (*FILES[:2], SUMS_NAME))
    with ee_file as ee, sac_file as sac, sums:
        for start in range(0, answered, 1000):
            size = min(1000, answered - start)
            logits = rng.normal(0, 1, (size, classes)).astype(np.float32)
            better = logits.copy()
            right = rng.random(size) < 0.8
            rows = np.flatnonzero(right)
            better[rows, images.labels[start : start + size][rows]] += 6
            logits[rows, images.labels[start : start + size][rows]] += rng.uniform(0, 9, len(rows)).astype(np.float32)
            logits.tofile(ee)
            better.tofile(sac)
            sums.write(b"".join(row_sums(start, logits, better, times[start : start + size])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo", help="demo is shrunk to 32 x 32 pixels (default: %(default)s)")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--large-every", type=int, default=500)
    parser.add_argument("--run", type=int, help="answer only this many of the pictures (default: all)")
    parser.add_argument("--limit-mib", type=float, default=1e9 / (1 << 20), help="end with 1 above (default: 1 GB)")
    options = parser.parse_args()
    print(json.dumps(describe_machine()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = export_random(folder, options.preset, options.classes)
        data = write_pictures(folder / "pictures", options.images, options.classes, options.large_every)
        if options.run is not None:
            answered = (options.images - options.run) // options.batch * options.batch
            write_answers(bundle, data, folder / "out" / "answers", options.classes, options.batch, answered)
        command = [sys.executable, "-c", CHILD, "--engine", str(bundle / "ee.onnx"), str(bundle / "sac.onnx")]
        command += ["--data", str(data), "--batch", str(options.batch), "--out", str(folder / "out"), "--point", "fast"]
        began = time.monotonic()
        done = subprocess.run([*command, "--provider", "cpu"], capture_output=True, text=True, check=False)
        spent = time.monotonic() - began
        print(done.stdout, done.stderr, sep="\n")
        peaks = [int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("PEAK_KIB")]
        if done.returncode or not peaks:
            sys.exit(f"sacvit-tune ended with {done.returncode}")
        print(
            f"{options.preset}, {options.images} pictures of {options.classes} classes, batch {options.batch},"
            f" {options.images if options.run is None else options.run} answered: peak {peaks[0] / 1024:.0f} MiB"
            f" ({peaks[0] * 1024 / 1e9:.2f} GB), {spent:.0f} s"
        )
    sys.exit(peaks[0] / 1024 > options.limit_mib)


if __name__ == "__main__":
    main()
