"""A machine that is made up, and folders as the commands write them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from sacvit.model.config import ModelConfig
from sacvit.profiles.power.sampler import Sampler
from sacvit.profiles.power.source import PERIOD_S, PowerSource, Reading, Sensor
from sacvit.profiles.results.result import summarise
from sacvit.profiles.results.result_files import PROFILE_NAME, write_result
from sacvit.profiles.timing import pass_parts
from sacvit.profiles.timing.contenders import ALWAYS, NEVER, PLAIN
from sacvit.profiles.timing.schedule import Schedule, missing_windows
from sacvit.profiles.timing.session import Session, Surroundings
from sacvit.profiles.timing.store import open_store


class World(PowerSource):
    """A clock that moves when somebody works or pauses, and a sensor that is read on its way: a module of two rails.

    1 W idle, 3 W under load.
    """

    name, kind, scope, default_filter_s = "a pretended sensor", "power", "all of it", 0.4
    total_rails = ("A", "B")

    def __init__(self) -> None:
        self.now, self.due, self.is_busy = 100.0, 100.0, False
        self.sensors = {rail: Sensor(2.0, 0.4) for rail in ("A", "B")}
        self.fault: Exception | None = None
        self.sampler: Sampler | None = None

    def advance(self, seconds: float, *, is_busy: bool) -> None:
        end, self.is_busy = self.now + seconds, is_busy
        while self.due <= end:
            self.now = max(self.now, self.due)
            if self.sampler is not None:
                self.sampler.take()
            self.due += PERIOD_S
        self.now = end

    def pause(self, seconds: float) -> None:
        self.advance(seconds, is_busy=False)

    def read(self) -> list[Reading]:
        if self.fault is not None:
            raise self.fault
        power = 3000.0 if self.is_busy else 1000.0
        return [Reading(self.now, {"A": power / 4, "B": power * 3 / 4})]

    def close(self) -> None:
        pass


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """The time of this test is the world's: nothing is waited for."""
    return _enter_world(monkeypatch)


def _enter_world(monkeypatch: pytest.MonkeyPatch) -> World:
    here = World()

    class Stepped(Sampler):
        def __enter__(self) -> Sampler:
            here.sampler = self
            return self

        def __exit__(self, *_: object) -> None:
            here.sampler = None

    monkeypatch.setattr("sacvit.profiles.timing.session.Sampler", Stepped)
    monkeypatch.setattr(time, "perf_counter", lambda: here.now)
    return here


@pytest.fixture(scope="session", autouse=True)
def few_passes_apart() -> Iterator[None]:
    """How many there are is test_pass_parts.py's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pass_parts, "MOST_PASSES", 20)
        yield


@pytest.fixture(scope="session")
def report_packages() -> None:
    """A test that writes a page is skipped where [report] is missing, as on a device."""
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")


# Folders

BUNDLE = Path(__file__).parents[1] / "runtime" / "bundles" / "typed"
LONG = Schedule(window_s=10.0, passes=None, rounds=3, warmup_s=0.2, lead_s=2.0, idle_s=10.0, needed_s=10.0)
HEADER = {
    "engines": {
        name: {"file": f"{name.lower()}.plan", "precision": "fp16", "sha256": "0" * 64}
        for name in ("EE", "SAC", "plain")
    },
    "backend": "TensorRT 10.3.0",
    "stored_threshold": 0.5,
    "model": vars(ModelConfig()),
    "images": "500 pictures",
    "batch": 1,
    "scenario": None,
    "survivors_share": False,
    "machine": {"board": "NVIDIA Jetson Orin Nano", "processor": None, "cores": 6},
    "versions": {"python": "3.10.12", "tensorrt": "10.3.0"},
}


class Load:
    """A contender whose passes take `pass_s` of the world's time, and `more_s` for an image that goes on."""

    batch = 1

    def __init__(self, world, name, exit_rate, pass_s, more_s, threshold=None):
        self.world, self.name, self.exit_rate, self.pass_s, self.more_s = world, name, exit_rate, pass_s, more_s
        self.threshold, self.random = threshold, np.random.default_rng(0)

    def run_pass(self, record):
        goes_on = int(self.random.random() >= self.exit_rate)
        noise = float(self.random.gamma(2.0, 0.02))
        took_s = (self.pass_s + self.more_s * goes_on) * (1 + noise)
        record.begin_s.append(self.world.now)
        self.world.advance(took_s, is_busy=True)
        ms = 1e3 * took_s
        record.stages_ms.append((0.1, ms - 0.2 - 0.6 * ms * goes_on, 0.02, 0.6 * ms * goes_on, 0.08))
        record.survivors.append(goes_on)
        record.confidence.append(0.5)


@pytest.fixture(scope="session")
def powered_once(tmp_path_factory):
    """A folder of sacvit-profile --out with power: three thresholds, both ends and the plain ViT."""
    folder = tmp_path_factory.mktemp("powered") / "out"
    store = open_store(folder, HEADER)
    store.add("command", {"command": "sacvit-profile --out powered", "date": "2026-11-26T00:00:00+0000"})
    with pytest.MonkeyPatch.context() as patch:
        world = _enter_world(patch)
        chains = [Load(world, f"eta {eta}", 1 - eta, 0.004, 0.009, threshold=eta) for eta in (0.3, 0.5, 0.7)]
        loads = [Load(world, ALWAYS, 1.0, 0.004, 0.009), *chains, Load(world, NEVER, 0.0, 0.004, 0.009)]
        loads.append(Load(world, PLAIN, 1.0, 0.01, 0.0))
        order = missing_windows(store, loads, None, LONG.rounds)
        around = Surroundings(world, lambda *_: None, pause=world.pause, read_load=lambda: None)
        Session(store, LONG, around, mode=None).run(loads, order)
    store.add("state", {"session": 0, "after": {}, "rows_after": [], "changes": []})
    write_result({**summarise(store), "host": "bench", "top1": None}, folder / PROFILE_NAME)
    return folder


@pytest.fixture
def powered(powered_once, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(powered_once, tmp_path / "powered")


@pytest.fixture(scope="session")
def tuned_once(tmp_path_factory):
    """A folder of sacvit-tune --out: 60 pictures, of which the pair gets many wrong."""
    from sacvit.commands.tune import main
    from sacvit.profiles.tuning import resampling

    home = tmp_path_factory.mktemp("tuned")
    shutil.copytree(BUNDLE, home / "bundle")
    for index in range(60):
        field = np.random.default_rng(index).uniform(0, 255, (5, 5, 3)).astype(np.float32)
        folder = home / "photos" / ["ant", "bee", "cat", "dog", "emu"][index % 5]
        folder.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(
            str(folder / f"{index:02}.png"), np.clip(cv2.resize(field, (32, 32)), 0, 255).astype(np.uint8)
        )
    engines = [str(home / "bundle" / name) for name in ("ee.onnx", "sac.onnx")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "RESAMPLES", 20)
        patch.setattr(resampling, "SPLITS", 5)
        options = [
            "--data",
            str(home / "photos"),
            "--out",
            str(home / "out"),
            "--exit-rate",
            "0.5",
            "--provider",
            "cpu",
        ]
        assert main(["--engine", *engines, *options]) == 0
    return home / "out"


@pytest.fixture
def tuned(tuned_once, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(tuned_once, tmp_path / "tuned")
