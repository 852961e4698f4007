"""Checkpoints are written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sacvit.bundle.errors import SacvitError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.model.write_checkpoint import save_checkpoint


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_failed_save_leaves_the_earlier_file(
    tmp_path: Path, new_model: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    save_checkpoint(path, new_model(), Preprocessing(32))
    earlier = path.read_bytes()

    def fail(self: Path, content: Any) -> int:
        with self.open("wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(
        SacvitError, match=rf"{name} cannot be written: No space left on device; the file before is kept"
    ):
        save_checkpoint(path, new_model(seed=1), Preprocessing(32))
    assert path.read_bytes() == earlier and list(tmp_path.iterdir()) == [path]


def test_other_programs_can_read_our_safetensors(tmp_path: Path, new_model: Any) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file

    model = new_model()
    save_checkpoint(tmp_path / "a.safetensors", model, Preprocessing(32), labels=["cat", "dog", "owl"])
    tensors = load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(value, tensors[key]) for key, value in model.state_dict().items())
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert json.loads(file.metadata()["sacvit"])["labels"] == ["cat", "dog", "owl"]
