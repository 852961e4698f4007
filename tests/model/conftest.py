"""Small networks, and files with them, for the tests of checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sacvit.bundle.errors import CheckpointError, SacvitError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.model.checkpoint import load_checkpoint
from sacvit.model.config import ModelConfig, preset
from sacvit.model.network import PlainViT, TwoStageViT

CONFIG = preset("demo", image_size=32, patch_size=8, width=16, depth=4, heads=2, hidden=24, classes=3)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Whatever ran before in this process."""
    torch.manual_seed(0)


@pytest.fixture
def config() -> ModelConfig:
    return CONFIG


@pytest.fixture
def new_model() -> Callable[..., Any]:
    """A function that makes a network whose weights are all random: (kind, seed, config)."""

    def make(kind: Any = TwoStageViT, seed: int = 0, config: ModelConfig = CONFIG) -> Any:
        torch.manual_seed(seed)
        model = kind(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        return model.eval()

    return make


@pytest.fixture
def plain(new_model: Any) -> dict[str, torch.Tensor]:
    """The state dict of a plain network, to be changed by a test."""
    return dict(new_model(PlainViT).state_dict())


@pytest.fixture
def content(new_model: Any) -> dict[str, Any]:
    """What save_checkpoint writes, to be changed by a test."""
    return {
        "model": dict(new_model().state_dict()),
        "config": CONFIG.to_dict(),
        "preprocessing": Preprocessing(32).to_dict(),
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    """A function that saves a content as torch does and returns the path."""

    def write(content: Any) -> Path:
        path = tmp_path / "model.pth"
        torch.save(content, path)
        return path

    return write


@pytest.fixture
def refusal() -> Callable[..., str]:
    """A function that loads a file which must be refused by an error of exactly that kind; returns the message."""

    def refusal(path: Path, kind: type[SacvitError] = CheckpointError, **options: Any) -> str:
        with pytest.raises(kind) as fault:
            load_checkpoint(path, **options)
        assert type(fault.value) is kind
        return str(fault.value)

    return refusal


@pytest.fixture
def same_weights() -> Callable[..., bool]:
    """A function that compares a network with a state dict, bit by bit."""

    def same(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
        found = model.state_dict()
        return found.keys() == tensors.keys() and all(torch.equal(found[key], tensors[key]) for key in found)

    return same
