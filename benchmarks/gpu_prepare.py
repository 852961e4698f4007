"""What benchmarks/gpu.py measures: bundles and plain ViTs in every precision. Runs anywhere with torch, no GPU needed.

    python benchmarks/gpu_prepare.py --out build/gpu

Writes digits/ (the example's trained weights, for parity) and deit-s/ (random weights, for speed: it does not depend on
their values), each with the graphs of sacvit-export --fp16 --int8 and its plain ViT as plain*.onnx.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from int8 import NO_GUARDS, prepare

from sacvit.bundle.preprocess import Preprocessing
from sacvit.export.checks.parity import check_images
from sacvit.export.write_plain import plain_graphs, plain_variants, write_plain_variants
from sacvit.model.config import ModelConfig, preset
from sacvit.model.network import PlainViT

ROOT = Path(__file__).parent.parent
CALIBRATION_IMAGES = 64


def run(*command: object) -> None:
    print(*command, file=sys.stderr)
    subprocess.run([str(part) for part in command], check=True)


def export(checkpoint: Path, images: Path, out: Path, *limits: str) -> None:
    tool = Path(sys.executable).parent / "sacvit-export"
    run(tool, "--ckpt", checkpoint, "--out", out, "--no-build", "--fp16", "--int8", "--calib", images, *limits)


def write_plain(config: ModelConfig, folder: Path) -> None:
    """plain.onnx and its typed variants, made by the steps that make the chain's."""
    torch.manual_seed(0)
    images = check_images(config, CALIBRATION_IMAGES)
    graphs = plain_graphs(PlainViT(config), Preprocessing(config.image_size), None, "")
    write_plain_variants(plain_variants(graphs, images, ["int8", "fp16", "int8fp16"]), folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    parser.add_argument("--preset", default="deit-s")
    parser.add_argument("--images", type=int, default=128, help="to calibrate on, and to classify")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    scenes = options.out / "scenes"
    maker = ROOT / "examples" / "digits" / "make_scenes.py"
    run(sys.executable, maker, "--out", scenes, "--seed", "20", "--train", "0", "--val", "512")
    export(ROOT / "examples" / "digits" / "model.pth", scenes / "val", options.out / "digits")

    config = preset(options.preset)
    prepare(options.out, config, options.images)
    export(options.out / "model.pth", options.out / "images.npz", options.out / options.preset, *NO_GUARDS)
    write_plain(config, options.out / options.preset)
    with np.load(options.out / "images.npz") as arrays:
        np.save(options.out / options.preset / "images.npy", arrays["images"])


if __name__ == "__main__":
    main()
