"""Fixtures that many tests share: small networks whose confidences and selections differ between images."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_NAMES = ("cfvit-224-7x7", "lfvit-224-m5")


@dataclass(frozen=True)
class Golden:
    """Outputs of the public CF-ViT or LF-ViT code for one checkpoint, and the options that describe it."""

    checkpoint: Path
    options: dict[str, Any]
    image_u8: np.ndarray
    coarse_logits: np.ndarray
    fine_logits: np.ndarray
    fine_index: np.ndarray


def load_golden(name: str) -> Golden:
    arrays = np.load(GOLDEN / f"{name}.npz", allow_pickle=False)
    geometry = ast.literal_eval(str(arrays["config"]))
    options = {"heads": geometry["num_heads"], "alpha": geometry["alpha"], "attention": "global"}
    if "region_size" in geometry:
        options |= {"selection": "window", "window": geometry["region_size"]}
    names = ("image_u8", "coarse_logits", "fine_logits", "fine_index")
    return Golden(GOLDEN / f"{name}.pth", options, *(arrays[key] for key in names))


@pytest.fixture(params=GOLDEN_NAMES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return load_golden(request.param)


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that writes a small random checkpoint and returns its path; entries of ModelConfig may be changed."""

    def make(seed: int = 0, **changes: Any) -> Path:
        import torch

        from sacvit.bundle.preprocess import Preprocessing
        from sacvit.model.checkpoint import save_checkpoint
        from sacvit.model.config import preset
        from sacvit.model.network import TwoStageViT

        torch.manual_seed(seed)
        geometry = {"image_size": 64, "patch_size": 8, "width": 32, "depth": 5, "heads": 2, "hidden": 64, "classes": 7}
        config = preset("demo", **(geometry | changes))
        model = TwoStageViT(config)
        with torch.no_grad():
            for parameter in model.parameters():  # wide, so that images differ in confidence and in targets
                parameter.add_(torch.randn_like(parameter) * (0.12 if parameter.ndim > 1 else 0.05))
        path = tmp_path_factory.mktemp("checkpoint") / "model.pth"
        save_checkpoint(path, model, Preprocessing(config.image_size))
        return path

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(make_checkpoint: Any) -> Path:
    return make_checkpoint()


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny checkpoint, with a symbolic batch and threshold 0.4."""
    from sacvit.export.export import export

    return export(tiny_checkpoint, tmp_path_factory.mktemp("bundle") / "build", threshold=0.4).folder


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """(12, 64, 64, 3) uint8: smooth colour fields with noise."""
    import cv2

    rng = np.random.default_rng(7)
    fields = [cv2.resize(rng.uniform(0, 255, (5, 5, 3)).astype(np.float32), (64, 64)) for _ in range(12)]
    return np.clip(np.stack(fields) + rng.normal(0, 10, (12, 64, 64, 3)), 0, 255).astype(np.uint8)
