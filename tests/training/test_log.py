"""Metrics as lines and as TensorBoard's curves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacvit.bundle.errors import SacvitError
from sacvit.commands.frame import CURES
from sacvit.training.log import Log


def points(out: Path, name: str) -> list[tuple[int, float]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_metrics_become_curves_over_epochs(tmp_path: Path) -> None:
    with Log(tmp_path, None, tensorboard=True) as log:
        for epoch in (1, 2):
            log.note({"epoch": epoch, "clustered": True, "loss": 1 / epoch})
    assert points(tmp_path, "loss") == [(1, 1.0), (2, 0.5)]


def test_a_resumed_run_hides_the_curves_of_epochs_that_are_done_again(tmp_path: Path) -> None:
    with Log(tmp_path, None, tensorboard=True) as log:
        for epoch in (1, 2, 3):
            log.note({"epoch": epoch, "loss": float(epoch)})
    with Log(tmp_path, 1, tensorboard=True) as log:
        log.note({"epoch": 2, "loss": 20.0})
    assert points(tmp_path, "loss") == [(1, 1.0), (2, 20.0)]
    assert [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1.0, 20.0]


def test_without_tensorboard_nothing_of_it_is_written(tmp_path: Path) -> None:
    with Log(tmp_path, None, tensorboard=False) as log:
        log.note({"epoch": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_missing_tensorboard_has_a_cure() -> None:
    assert CURES["tensorboard"] == "pip install 'sacvit[curves]'"


def test_a_full_disk_is_told_by_the_file_s_name(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    wanted = r"metrics\.jsonl and its curves cannot be written: No space left on device. Make room; the same command"
    with pytest.raises(SacvitError, match=wanted), Log(tmp_path, None, tensorboard=False) as log:
        log.note({"epoch": 1})
