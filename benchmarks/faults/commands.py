"""Commands that are killed: their inputs, how they are called, and what their output means."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .bundle_kinds import copy_bundle, make_pth, pipeline_answers, read_checkpoint, read_goldens
from .image_kinds import make_lists
from .kind import BUNDLES, ROOT, colours

FAKE_GPU = ROOT / "tests" / "fake_gpu"


@dataclass(frozen=True)
class Command:
    """A command that writes `out` in a home folder.

    prepare: its inputs, and in `before` the call that leaves the output of before; None where there is none. arguments: of
    the call that is killed. meaning: what our readers find in the home, in parts: each is as before, or as after a whole
    run. again: what the same command is called with after a kill.
    modules: what it takes time to import.
    """

    name: str
    prepare: Callable[[Path], None]
    arguments: Callable[[Path], list[str]]
    meaning: Callable[[Path], list[Any]]
    before: Callable[[Path], list[str]] | None = None
    again: Callable[[Path], list[str]] | None = None
    modules: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def call_again(self, home: Path) -> list[str]:
        return (self.again or self.arguments)(home)


def _export(threshold: str) -> Callable[[Path], list[str]]:
    return lambda home: [
        *("--ckpt", str(home / "model.pth"), "--out", str(home / "out"), "--plain", "--no-build"),
        *("--threshold", threshold),
    ]


def _exported(home: Path) -> list[Any]:
    from sacvit.bundle.manifest import read_manifest, require_exported

    out = home / "out"
    manifest = read_manifest(out)
    for name in manifest.files:
        require_exported(out / name)
    return [(pipeline_answers(out, out), read_goldens(out, out), sorted(manifest.files), manifest.threshold.value)]


def _prepare_build(home: Path) -> None:
    shutil.copytree(BUNDLES / "typed", home / "out", ignore=shutil.ignore_patterns("*.plan*"))


def _build(*precision: str) -> Callable[[Path], list[str]]:
    return lambda home: [str(home / "out"), "--precision", *precision]


def _built(home: Path) -> list[Any]:
    from sacvit.bundle.folders import require_placed
    from sacvit.bundle.plan_record import read_plan_record, require_whole
    from sacvit.bundle.stage_record import require_pair

    found = []
    require_placed(home / "out")  # as the pipeline does
    paths = home / "out" / "ee.plan", home / "out" / "sac.plan"
    records = [read_plan_record(path) for path in paths]
    for path, record in zip(paths, records, strict=True):
        require_whole(path, record, path.read_bytes())
        found.append((record.record.precision, record.batches, record.onnx_sha256))
    require_pair(paths[0], records[0].record, paths[1], records[1].record)
    return [found]


def _prepare_engines(home: Path) -> None:
    (home / "bundle").mkdir()
    copy_bundle(home / "bundle")
    make_lists(home)


def _engines(home: Path) -> list[str]:
    return ["--engine", str(home / "bundle" / "ee.onnx"), str(home / "bundle" / "sac.onnx"), "--provider", "cpu"]


def _tune(home: Path) -> list[str]:
    return [*_engines(home), "--data", str(home / "a.csv"), "--exit-rate", "0.5", "--out", str(home / "out")]


def _tuned(home: Path) -> list[Any]:
    from sacvit.bundle.manifest import read_manifest
    from sacvit.profiles.results.result_files import read_thumbnails, read_tune

    tuned = {name: gate.threshold for name, gate in read_manifest(home / "bundle").tuned.items()}
    is_there = (home / "out" / "tune.json").exists()
    points = {name: point["eta"] for name, point in read_tune(home / "out")["points"].items()} if is_there else None
    return [tuned, points, sorted(read_thumbnails(home / "out")) or None]


def _profile(home: Path) -> list[str]:
    short = ["--power", "none", "--iterations", "3", "--warmup-ms", "1", "--threshold", "0.5"]
    return [*_engines(home), *short, "--out", str(home / "out")]


def _profiled(home: Path) -> list[Any]:
    from sacvit.profiles.results.result_files import read_profile, read_samples
    from sacvit.profiles.timing.store import read_store

    samples = read_samples(home / "out")
    for line in samples.of("window") if samples is not None else ():
        samples.arrays(line)  # those that a line names are there and whole
    if (home / "out").exists():
        read_store(home / "out")
    is_there = (home / "out" / "profile.json").exists()
    return [sorted(read_profile(home / "out")["modes"][0]["contenders"]) if is_there else None]


def _prepare_train(home: Path) -> None:
    for name in ("train", "val"):
        (home / "data" / name).mkdir(parents=True)
        np.save(home / "data" / name / "images.npy", colours(12, 32))
        np.save(home / "data" / name / "labels.npy", np.arange(12) % 3)


def _train(home: Path) -> list[str]:
    geometry = ["--preset", "demo", "--image-size", "32", "--batch", "4", "--epochs", "2", "--save-steps", "1"]
    return ["--data", str(home / "data"), *geometry, "--device", "cpu", "--out", str(home / "out")]


def _train_again(home: Path) -> list[str]:
    return [*_train(home), *(["--resume"] if (home / "out" / "last.pth").exists() else [])]


def _trained(home: Path) -> list[Any]:
    from sacvit.export.precision.calibration_images import find_images
    from sacvit.model.checkpoint import load_checkpoint
    from sacvit.model.read_checkpoint import read_state_dict

    out = home / "out"
    if (out / "last.pth").exists():
        read_state_dict(out / "last.pth", "raw")
    if not (out / "model.pth").exists():
        return [None]
    find_images(load_checkpoint(out / "model.pth"))
    return [read_checkpoint(out, out)]


COMMANDS = (
    Command(
        "export",
        make_pth,
        _export("0.6"),
        _exported,
        before=_export("0.4"),
        modules=("sacvit.export.write_bundle", "cv2", "onnxruntime"),
    ),
    Command(
        "build",
        _prepare_build,
        _build("fp16"),
        _built,
        before=_build("fp32"),
        environment={"PYTHONPATH": str(FAKE_GPU)},
    ),
    Command("tune", _prepare_engines, _tune, _tuned, modules=("sacvit.profiles.tuning.tune", "cv2", "onnxruntime")),
    Command(
        "profile", _prepare_engines, _profile, _profiled, modules=("sacvit.profiles.profile", "cv2", "onnxruntime")
    ),
    Command(
        "train",
        _prepare_train,
        _train,
        _trained,
        again=_train_again,
        modules=("sacvit.training.train", "cv2", "torch._dynamo"),
    ),
)


def environment_of(command: Command, home: Path) -> dict[str, str]:
    paths = [*command.environment.get("PYTHONPATH", "").split(os.pathsep), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        **command.environment,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TMPDIR": str(home / "tmp"),
    }
