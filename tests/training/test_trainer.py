"""The learner's passes: precision, and labels that are shared out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sacvit.model.config import preset
from sacvit.model.network import TwoStageViT
from sacvit.training.trainer import Learner

CONFIG = preset("demo", image_size=32, patch_size=8, width=16, depth=4, heads=2, hidden=16, classes=3)


def test_mixed_precision_computes_its_matrices_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, whole = set(), torch.nn.functional.linear

    def watch(*arguments: Any) -> torch.Tensor:
        result = whole(*arguments)
        seen.add(result.dtype)
        return result

    monkeypatch.setattr(torch.nn.functional, "linear", watch)
    learner = Learner(TwoStageViT(CONFIG), 0.1, mixed=True)
    loss = learner(torch.zeros(2, 32, 32, 3, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), True)
    assert seen == {torch.bfloat16} and loss.dtype == torch.float32


def test_a_mixed_batch_s_loss_is_the_mean_of_both_labels_losses() -> None:
    learner = Learner(TwoStageViT(CONFIG), 0.1)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8))
    shares = torch.tensor([[0.3, 0.7, 0], [0, 0.3, 0.7]])
    one, other = (learner(images, torch.tensor(labels), True) for labels in ([0, 1], [1, 2]))
    assert learner(images, shares, True).item() == pytest.approx((0.3 * one + 0.7 * other).item(), rel=1e-5)
