"""Writes a Triton model repository: `sacvit`, the gate, and where the server runs the stages, `sacvit_ee` and `sacvit_sac`."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.errors import SacvitError, UsageError
from ..bundle.files import sync
from ..bundle.folders import LEAST_ROOM_BYTES, WORK_PREFIX, locked_folder
from ..bundle.plan_record import sidecar
from ..runtime.chain.pipeline import Pipeline
from ..runtime.engines.buffers import TensorSpec
from ..runtime.engines.stage import Stage, boundary_of
from .description import EE_MODEL, GATE_MODEL, KEY, OUTPUTS, SAC_MODEL, About, StageAbout
from .options import ServeOptions
from .protobuf_text import Word, text_of

USUAL_BATCH = 16
MODELS = (EE_MODEL, SAC_MODEL, GATE_MODEL)  # in the order of placing
VERSION = "1"
TRITON_BACKENDS = {".onnx": "onnxruntime", ".plan": "tensorrt"}  # of Triton, by the suffix of an engine
HANDED_OVER = 16  # queues that Triton may hand over at once; the gate refuses requests beyond one queue
# The limit on images per hand-over. Triton 2.51 fails all requests of a hand-over that exceeds it, so there is none:
# preferred_batch_size bounds hand-overs, and `batcher` requests.
NO_LIMIT = 2**31 - 1
TYPES: dict[type[np.generic], str] = {np.uint8: "TYPE_UINT8", np.int32: "TYPE_INT32", np.float32: "TYPE_FP32"}
MODEL_PY = '''"""Written by sacvit-serve."""

try:
    from sacvit.serving.model import TritonPythonModel
except ModuleNotFoundError as missing:
    cure = f"{missing}. The Python of this server needs it: pip install 'sacvit[cpu]'"
    raise ModuleNotFoundError(cure) from None

__all__ = ["TritonPythonModel"]
'''


def write_repository(pipeline: Pipeline, out: Path, options: ServeOptions) -> list[Path]:
    """Writes the models of a loaded pair into `out`; returns their folders. Whole or not at all.

    Raises UsageError where `out` holds one of them already, and for options that the engines cannot follow; SacvitError where
    it cannot be written.
    """
    serving = _settled(options, pipeline)
    about = about_of(pipeline, serving)
    engines_bytes = sum(stage.path.stat().st_size for stage in (pipeline.ee, pipeline.sac))
    with locked_folder(out, room_bytes=engines_bytes + LEAST_ROOM_BYTES):
        require_free(out)
        try:
            with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=out) as work:  # inside: `out` may be a mount point
                _write_gate(Path(work) / GATE_MODEL, pipeline, about, serving)
                if not serving.python_only:
                    for name, stage in zip(MODELS, (pipeline.ee, pipeline.sac), strict=False):
                        _write_stage(Path(work) / name, name, stage, pipeline.ee.outputs, serving)
                return _place(Path(work), out, MODELS[2:] if serving.python_only else MODELS)
        except OSError as reason:
            raise SacvitError(f"--out {out} cannot be written: {reason}") from None


def _settled(options: ServeOptions, pipeline: Pipeline) -> ServeOptions:
    """The options, completed by the engines' values where the user gave none."""
    on_gpu, most, suffix = pipeline.ee.on_gpu, pipeline.ee.capacity, pipeline.ee.path.suffix
    if not options.python_only and suffix not in TRITON_BACKENDS:
        raise UsageError(
            f"Triton has no backend for {suffix} engines. Run them inside the gate: sacvit-serve --python-only"
        )
    max_batch = options.max_batch or min(USUAL_BATCH, most or USUAL_BATCH)
    if most is not None and max_batch > most:
        raise UsageError(f"--max-batch {max_batch}: these engines take at most {most} images")
    return replace(options, device=options.device or ("gpu" if on_gpu else "cpu"), max_batch=max_batch)


def require_free(out: Path) -> None:
    """Raises UsageError where a model of ours is there. The gate is placed last: without it, the others were left by a killed
    command."""
    there = [name for name in MODELS if (out / name).exists()]
    if GATE_MODEL in there:
        raise UsageError(
            f"{out / GATE_MODEL} exists: a server may be reading it. Give another --out, or remove it first"
        )
    if there:
        raise UsageError(
            f"{out} holds {' and '.join(there)} without {GATE_MODEL}: a sacvit-serve that was killed did not finish it."
            f" Remove what it left: rm -r {' '.join(shlex.quote(str(out / name)) for name in there)}"
        )


def _place(work: Path, out: Path, names: Sequence[str]) -> list[Path]:
    placed: list[Path] = []
    for path in work.rglob("*"):
        sync(path)
    try:
        for name in names:
            os.replace(work / name, out / name)  # fails where another program has put a model meanwhile
            placed.append(out / name)
        sync(out)
    except BaseException:  # Ctrl-C too
        for folder in placed:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return placed


def about_of(pipeline: Pipeline, serving: ServeOptions) -> About:
    """The description of a repository. Raises UsageError for what cannot be served."""
    try:
        return About(
            threshold=pipeline.threshold,
            temperature=pipeline.temperature,
            preprocessing=pipeline.preprocessing,
            classes=pipeline.ee.outputs["logits"].shape[0],
            labels=pipeline.labels,
            grid=pipeline.grid,
            max_batch=serving.max_batch or USUAL_BATCH,
            max_queue=serving.max_queue,
            stages=() if serving.python_only else (StageAbout.of(pipeline.ee), StageAbout.of(pipeline.sac)),
        )
    except ValueError as reason:
        raise UsageError(f"{pipeline.ee.path} cannot be served: {reason}") from None


def _write_gate(folder: Path, pipeline: Pipeline, about: About, serving: ServeOptions) -> None:
    version = folder / VERSION
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL_PY, "utf-8")
    if serving.python_only:
        for stage, name in ((pipeline.ee, "ee"), (pipeline.sac, "sac")):
            _copy_engine(stage.path, version / f"{name}{stage.path.suffix}")
    fields: dict[str, Any] = {
        "name": GATE_MODEL,
        "backend": "python",
        "max_batch_size": NO_LIMIT,
        # An input of numbers whose shape claims more elements than fit into memory ends the stub for good (2.51), which makes
        # an array of that shape before our code runs. For BYTES, Triton itself counts and measures the elements.
        "input": [{"name": "image", "data_type": Word("TYPE_STRING"), "dims": [1]}],
        "output": [
            {"name": name, "data_type": Word(TYPES[OUTPUTS[name]]), "dims": list(shape)}
            for name, shape in about.shapes.items()
        ],
        # No queue policy: see `batcher`.
        "dynamic_batching": {"preferred_batch_size": [HANDED_OVER * max(about.max_queue, about.max_batch)]},
        "instance_group": [_instances(serving, serving.python_only) | _first_gpu(serving)],
        "version_policy": {"latest": {"num_versions": 1}},
        "parameters": [{"key": KEY, "value": {"string_value": about.to_json()}}],
    }
    (folder / "config.pbtxt").write_text(text_of(fields), "utf-8")


def _write_stage(
    folder: Path, name: str, stage: Stage, ee_outputs: Mapping[str, TensorSpec], serving: ServeOptions
) -> None:
    version = folder / VERSION
    version.mkdir(parents=True)
    suffix = stage.path.suffix
    _copy_engine(stage.path, version / f"model{suffix}")
    record = stage.record
    side, counts = record.preprocessing.image_size, stage.batches
    # The number of images, or for SAC of survivors, as in the engine: open, or the only number that it takes.
    counted = counts[0] if counts is not None and len(counts) == 1 else -1
    batch = counted if record.stage == "EE" else stage.capacity or -1
    shapes: dict[str, tuple[type[np.generic], list[int]]] = {"image": (np.uint8, [batch, side, side, 3])}
    if record.stage == "SAC":
        shapes["row"] = (np.int32, [counted])
        shapes |= {key: (ee_outputs[key].kind, [batch, *ee_outputs[key].shape]) for key in record.hand_off}
    outputs = []
    for key, spec in stage.outputs.items():
        entry: dict[str, Any] = {"name": key, "data_type": Word(TYPES[spec.kind]), "dims": [counted, *spec.shape]}
        if key == "logits" and record.labels is not None:
            entry["label_filename"] = "labels.txt"
        outputs.append(entry)
    assert set(shapes) == boundary_of(record)[0]
    fields = {
        "name": name,
        "backend": TRITON_BACKENDS[suffix],
        "max_batch_size": 0,  # `row` points into its own request's batch: the gate batches, and the server must not
        "input": [{"name": k, "data_type": Word(TYPES[kind]), "dims": dims} for k, (kind, dims) in shapes.items()],
        "output": outputs,
        "instance_group": [_instances(serving, True) | _profiles(counts if stage.on_gpu else None)],
        "version_policy": {"latest": {"num_versions": 1}},
        "model_warmup": [
            _warm_up(
                {key: (kind, [count if side == -1 else side for side in dims]) for key, (kind, dims) in shapes.items()},
                count,
            )
            for count in counts or (1,)
        ],
    }
    if record.labels is not None:
        (folder / "labels.txt").write_text("".join(f"{_one_line(label)}\n" for label in record.labels), "utf-8")
    (folder / "config.pbtxt").write_text(text_of(fields), "utf-8")


def _instances(serving: ServeOptions, holds_engines: bool) -> dict[str, Any]:
    on_gpu = serving.device == "gpu" and holds_engines
    return {"count": serving.instances, "kind": Word("KIND_GPU" if on_gpu else "KIND_CPU")}


def _first_gpu(serving: ServeOptions) -> dict[str, Any]:
    """The first GPU, where the gate itself runs engines on one: sacvit.runtime takes the first, whichever Triton names."""
    return {"gpus": [0]} if serving.python_only and serving.device == "gpu" else {}


def _profiles(counts: tuple[int, ...] | None) -> dict[str, Any]:
    """All of a plan's profiles, one for each number of images: by default a server takes the first one only."""
    return {} if counts is None or len(counts) == 1 else {"profile": [str(index) for index in range(len(counts))]}


def _warm_up(inputs: Mapping[str, tuple[type[np.generic], Sequence[int]]], count: int) -> dict[str, Any]:
    entries = [
        {"key": name, "value": {"data_type": Word(TYPES[kind]), "dims": list(dims), "zero_data": True}}
        for name, (kind, dims) in inputs.items()
    ]
    return {"name": f"zeros for {count}", "batch_size": 1, "inputs": entries}


def _copy_engine(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    if sidecar(source).is_file():  # what the runtime knows of an engine that was built stands beside it
        shutil.copyfile(sidecar(source), sidecar(target))


def _one_line(label: str) -> str:
    return " ".join(label.split())
