"""Writes the bundles that the runtime's tests use, so that those run without torch and onnx.

    python tests/runtime/make_bundles.py

`bundle` and `fixed` (batch 4) come from one checkpoint, `stranger` from another, `cousin` from the first with other
options, `alphas` with two further SACs.
`typed` is `bundle` again, with every precision; its goldens are of the images that it was calibrated on. `plain` has a plain
ViT and other classes; half of its own images exit at its threshold.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from sacvit.bundle.goldens import read_goldens
from sacvit.bundle.preprocess import Preprocessing
from sacvit.export.precision.request import PrecisionOptions
from sacvit.export.write_bundle import export
from sacvit.model.config import preset
from sacvit.model.network import TwoStageViT
from sacvit.model.write_checkpoint import save_checkpoint

HERE = Path(__file__).parent / "bundles"
GEOMETRY = {"image_size": 32, "patch_size": 4, "width": 16, "depth": 4, "heads": 2, "hidden": 32}


def make_checkpoint(path: Path, seed: int, labels: tuple[str, ...] = ("ant", "bee", "cat", "dog", "emu")) -> None:
    torch.manual_seed(seed)
    model = TwoStageViT(preset("demo", **GEOMETRY, classes=len(labels)))
    with torch.no_grad():
        for parameter in model.parameters():  # wide, so that confidences differ between images
            parameter.add_(torch.randn_like(parameter) * (0.25 if parameter.ndim > 1 else 0.05))
    save_checkpoint(path, model, Preprocessing(32), labels=list(labels), threshold=0.5)


def make_images(path: Path) -> None:
    """96 smooth colour fields with noise, as the tests' pictures are."""
    rng = np.random.default_rng(11)
    fields = [cv2.resize(rng.uniform(0, 255, (5, 5, 3)).astype(np.float32), (32, 32)) for _ in range(96)]
    np.savez(path, images=np.clip(np.stack(fields) + rng.normal(0, 10, (96, 32, 32, 3)), 0, 255).astype(np.uint8))


def export_typed(checkpoint: Path, work: Path) -> None:
    make_images(work / "images.npz")
    limits = {"exit_agreement": 0.9, "far_flips": 0.1, "top1_agreement": 0.7, "target_overlap": 0.8}  # it is untrained
    options = PrecisionOptions(
        int8=True, fp16=True, calib=work / "images.npz", calib_cache=work / "cache", limits=limits
    )
    export(checkpoint, HERE / "typed", precision=options)


def export_with_plain(checkpoint: Path) -> None:
    export(checkpoint, HERE / "plain")
    threshold = float(np.median(read_goldens(HERE / "plain").confidence))
    export(checkpoint, HERE / "plain", plain=True, threshold=threshold)


def main() -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        first, second, third = (Path(name) / f"{which}.pth" for which in ("first", "second", "third"))
        make_checkpoint(first, 0)
        make_checkpoint(second, 1)
        make_checkpoint(third, 2, ("fox", "gnu", "hen", "ibis", "jay", "kite", "lynx"))
        export(first, HERE / "bundle")
        export(first, HERE / "fixed", batch=4)
        export(first, HERE / "cousin", alpha=0.4)
        export(first, HERE / "alphas", sac_alpha=(0.25, 0.75))
        export(second, HERE / "stranger")
        export_typed(first, Path(name))
        export_with_plain(third)


if __name__ == "__main__":
    main()
