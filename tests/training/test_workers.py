"""Several processes, several passes, kills: the same losses and weights as one process that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sacvit.bundle.errors import ConfigError, DeviceError, SacvitError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.training.batches import Batches
from sacvit.training.dataset import open_split
from sacvit.training.workers import Workers, choose_device, is_of_another, join_workers

pytestmark = pytest.mark.programs

OPTIONS = ["--preset", "demo", "--image-size", "32", "--epochs", "2", "--unclustered-epochs", "1", "--batch", "8"]
# sacvit-train, which ends itself in front of step KILLED_AT as `kill -9` would.
TRAIN = """
import os, signal, sys
from sacvit.commands.train import main
from sacvit.training import trainer

real = trainer.learning_rate_at

def at(recipe, step, steps):
    if step == int(os.environ.get("KILLED_AT", "-1")):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(recipe, step, steps)

trainer.learning_rate_at = at
sys.exit(main(sys.argv[1:]))
"""


class Run:
    """A running sacvit-train."""

    def __init__(self, python: Path, data: Path, out: Path, *options: str, **variables: str) -> None:
        command = [python, "-c", TRAIN, "--data", data, "--out", out, *OPTIONS, *options]
        pipes: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        self._process = subprocess.Popen(list(map(str, command)), env=os.environ | variables, text=True, **pipes)

    def finished(self) -> int:
        """Its exit code. Raises AssertionError for another than 0 and a kill."""
        code, message = self.ended()
        assert code in (0, -signal.SIGKILL), message
        return code

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it wrote on standard error."""
        message = self._process.communicate()[1]
        return self._process.returncode, message


@pytest.fixture(scope="module")
def warm_python(warm_bin: Path) -> Path:
    """Starts within 0.2 s: it is forked from a process that has torch. A real process, which a signal really kills."""
    return warm_bin / "python"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("train", "val"):
        (folder / name).mkdir()
        labels = np.arange(32) % 2
        np.save(
            folder / name / "images.npy",
            (labels[:, None, None, None] * 120 + rng.integers(0, 90, (32, 32, 32, 3))).astype(np.uint8),
        )
        np.save(folder / name / "labels.npy", labels)
    return folder


def losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines]


def weights(out: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(out / "model.pth", weights_only=True)["model"]
    return content


def furthest(one: Path, other: Path) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(weights(one).values(), weights(other).values(), strict=True))


@pytest.fixture(scope="module")
def alone(warm_python: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    assert Run(warm_python, data, out).finished() == 0
    return out


def two(warm_python: Path, data: Path, out: Path, *options: str, **killed: str) -> list[Run]:
    """As `torchrun --nproc-per-node 2` starts them. killed: KILLED_AT for the second."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        Run(
            warm_python, data, out, *options, RANK=str(rank), LOCAL_RANK=str(rank), **shared, **(killed if rank else {})
        )
        for rank in range(2)
    ]


def test_two_processes_train_what_one_does(warm_python: Path, data: Path, alone: Path, tmp_path: Path) -> None:
    """To FP32's rounding, which AdamW's first steps make larger: a sum of eight is another than two sums of four."""
    assert [process.finished() for process in two(warm_python, data, tmp_path / "run")] == [0, 0]
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), abs=2e-3)
    assert furthest(tmp_path / "run", alone) < 5e-3


def test_a_killed_process_is_told_by_the_other_and_the_run_goes_on(
    warm_python: Path, data: Path, alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first, second = two(warm_python, data, out, "--save-steps", "2", KILLED_AT="5")
    code, message = first.ended()
    assert (code, second.ended()[0]) == (1, -signal.SIGKILL)
    assert message.splitlines()[-1].startswith("sacvit-train: process 0 of 2 lost another one: ")
    assert "the same command with --resume goes on from the last save" in message and "Traceback" not in message
    assert [process.finished() for process in two(warm_python, data, out, "--save-steps", "2", "--resume")] == [0, 0]
    assert losses(out) == pytest.approx(losses(alone), abs=2e-3)


def test_passes_of_a_step_add_up_to_it(warm_python: Path, data: Path, alone: Path, tmp_path: Path) -> None:
    assert Run(warm_python, data, tmp_path / "run", "--accumulate", "4").finished() == 0
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), abs=2e-3)
    assert furthest(tmp_path / "run", alone) < 5e-3


def test_kills_at_any_step_leave_the_losses_and_weights_as_they_were(
    warm_python: Path, data: Path, alone: Path, tmp_path: Path
) -> None:
    """In the first epoch, at an epoch's first step, and in the second; the state is saved after every second step."""
    out, options = tmp_path / "run", ["--save-steps", "2"]
    for number, step in enumerate((3, 4, 7)):
        resumed = ["--resume"] if number else []
        assert Run(warm_python, data, out, *options, *resumed, KILLED_AT=str(step)).finished() == -signal.SIGKILL
    assert Run(warm_python, data, out, *options, "--resume").finished() == 0
    assert losses(out) == losses(alone) and furthest(out, alone) == 0.0


def test_the_parts_of_a_batch_make_the_whole(data: Path) -> None:
    batches = Batches(open_split(data / "train", Preprocessing(32)), 8)
    images, labels = batches.read(3)
    parts = [batches.read(3, Workers(rank, 4).part(8)) for rank in range(4)]
    assert (np.concatenate([part[0] for part in parts]) == images).all()
    assert (np.concatenate([part[1] for part in parts]) == labels).all()


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(ConfigError, match="a batch of 8 cannot be shared by 3 processes in 1 passes each"):
        Workers(0, 3).require_shares(8, 1, pairs=False)


def test_an_environment_that_torchrun_did_not_make_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(ConfigError, match="WORLD_SIZE is 2, but RANK, MASTER_ADDR, MASTER_PORT not set"),
        join_workers(),
    ):
        pass


def test_one_process_needs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_workers() as workers:
        assert (workers.count, workers.mean(3.0), workers.is_first) == (1, 3.0, True)
        workers.wait()


def test_pairs_that_would_be_torn_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match="mixup and cutmix take pairs: a batch of 6 gives 3 images to each process"):
        Workers(0, 2).require_shares(6, 1, pairs=True)


def test_a_gpu_that_is_not_there_is_told() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match="--device cuda: torch finds no GPU here"):
        choose_device("cuda", 0)


def test_more_processes_than_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto", 1) == torch.device("cuda", 1)
    with pytest.raises(DeviceError, match=r"process 2 of this machine has no GPU: 2 are visible. Start with torchrun"):
        choose_device("auto", 2)


def test_another_error_of_torch_is_not_taken_for_a_lost_process() -> None:
    assert not is_of_another(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_meeting_place_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for name, value in {"WORLD_SIZE": 2, "RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, str(value))
        wanted = f"process 0 of 2 cannot meet the others at 127.0.0.1:{port}: "
        with pytest.raises(SacvitError, match=wanted), join_workers("cpu"):
            pass


def test_a_gpu_s_full_memory_is_told_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(SacvitError, match=r"CUDA out of memory. --accumulate splits"), join_workers("cpu"):
        raise torch.OutOfMemoryError("CUDA out of memory.\nAnd more")


def test_machines_with_other_data_are_told() -> None:
    class Two(Workers):
        def gather(self, value: Any) -> list[Any]:
            return [value, value | {"data": "23 images"}]

    with pytest.raises(ConfigError, match=r"processes 0 and 1 differ in data: 24 images, and 23 images. Every machine"):
        Two(0, 2).require_same({"plain": False, "data": "24 images"})
