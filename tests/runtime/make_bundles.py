"""Writes the bundles that the runtime's tests use, so that those run without torch and onnx.

    python tests/runtime/make_bundles.py

`bundle` and `fixed` (batch 4) come from one checkpoint, `stranger` from another, `cousin` from the first with other options.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch

from sacvit.bundle.preprocess import Preprocessing
from sacvit.export.export import export
from sacvit.model.checkpoint import save_checkpoint
from sacvit.model.config import preset
from sacvit.model.network import TwoStageViT

HERE = Path(__file__).parent / "bundles"
GEOMETRY = {"image_size": 32, "patch_size": 4, "width": 16, "depth": 4, "heads": 2, "hidden": 32, "classes": 5}


def make_checkpoint(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    model = TwoStageViT(preset("demo", **GEOMETRY))
    with torch.no_grad():
        for parameter in model.parameters():  # wide, so that confidences differ between images
            parameter.add_(torch.randn_like(parameter) * (0.25 if parameter.ndim > 1 else 0.05))
    labels = ["ant", "bee", "cat", "dog", "emu"]
    save_checkpoint(path, model, Preprocessing(32), labels=labels, threshold=0.5)


def main() -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        first, second = Path(name) / "first.pth", Path(name) / "second.pth"
        make_checkpoint(first, 0)
        make_checkpoint(second, 1)
        export(first, HERE / "bundle")
        export(first, HERE / "fixed", batch=4)
        export(first, HERE / "cousin", alpha=0.4)
        export(second, HERE / "stranger")


if __name__ == "__main__":
    main()
