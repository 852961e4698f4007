"""A state on a disk that is full."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from sacvit.bundle.errors import CheckpointError, SacvitError
from sacvit.model.config import preset
from sacvit.model.network import PlainViT
from sacvit.training.recipe import Recipe
from sacvit.training.resume import Place, State, forget_lines


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 64 KiB: the system refuses the write in the middle, as it does on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_state_before_and_nothing_half(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    model = PlainViT(preset("demo", image_size=32, classes=3))
    state = State({}, model, torch.optim.AdamW(model.parameters()), model)
    path = tmp_path / "last.pth"
    state.save(path, Place(1))
    before = path.read_bytes()
    request.getfixturevalue("small_disk")
    with pytest.raises(SacvitError, match=r"last\.pth cannot be written: File too large; the file before is kept"):
        state.save(path, Place(2))
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["last.pth"]


@pytest.mark.parametrize("damage", [b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"7\n", b'{"epoch": "1"}\n'])
def test_damaged_lines_of_metrics_are_dropped_when_a_run_goes_on(tmp_path: Path, damage: bytes) -> None:
    whole = b'{"epoch": 1, "loss": 0.5}\n'
    (tmp_path / "metrics.jsonl").write_bytes(whole + damage)
    forget_lines(tmp_path / "metrics.jsonl", 1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def run_of(model: PlainViT, **changes: object) -> dict[str, dict[str, object]]:
    return {"config": model.config.to_dict(), "recipe": asdict(Recipe()) | changes}


def test_a_run_from_before_an_entry_existed_goes_on_where_the_entry_has_its_default(tmp_path: Path) -> None:
    model = PlainViT(preset("demo", image_size=32, classes=3))
    optimizer, now = torch.optim.AdamW(model.parameters()), run_of(model)
    before = {key: dict(entries) for key, entries in now.items()}
    del before["config"]["levels"], before["config"]["task"], before["recipe"]["colour_jitter"]
    State(before, model, optimizer, model).save(tmp_path / "last.pth", Place(3))
    assert State(now, model, optimizer, model).restore(tmp_path / "last.pth") == Place(3)
    with pytest.raises(CheckpointError, match="its recipe is"):
        State(run_of(model, colour_jitter=0.4), model, optimizer, model).restore(tmp_path / "last.pth")
