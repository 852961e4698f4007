"""A stage: one engine, which can be bound to buffers. ONNX Runtime and TensorRT offer the same names."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ...bundle.errors import EngineError
from ...bundle.manifest import MANIFEST_NAME, require_exported
from ...bundle.stage_record import StageRecord
from .buffers import Buffer, Device, Lane, TensorSpec
from .given_paths import no_engine
from .options import Provider

logger = logging.getLogger(__name__)
Span = tuple[float, float]


class Binding(Protocol):
    """An engine with every input and output tied to a buffer."""

    def start(self) -> None:
        """Enqueues one pass over the bound buffers, with the uploads before it. Returns at once where the engine can."""

    def wait(self) -> None:
        """Returns when the pass is done and the host sees what it wrote."""

    @property
    def is_captured(self) -> bool | None:
        """Whether the pass is one CUDA graph; None where the backend has none."""

    def timed(self) -> PassTimes:
        """One pass, timed in its parts where the backend tells them apart."""


class PassTimes(NamedTuple):
    """Milliseconds from the call on: begin and end of the host's calls, the uploads, the engine's work, the copies back.

    A backend that returns when the pass is done has one part: the engine's.
    """

    enqueue: Span
    upload: Span
    compute: Span
    download: Span


def timed_whole(binding: Binding) -> PassTimes:
    """One pass of a binding whose `start` returns when the pass is done."""
    began = time.perf_counter()
    binding.start()
    whole = 1e3 * (time.perf_counter() - began)
    return PassTimes((0.0, 0.0), (0.0, 0.0), (0.0, whole), (whole, whole))


class Stage(Protocol):
    """An engine that has been loaded.

    batches: how many images a pass may take, rising, or None for any number; SAC counts its `row`. capacity: how many
    images the buffers of SAC's other inputs hold (of EE: the most a pass takes), or None for any number.
    """

    path: Path
    record: StageRecord
    batches: tuple[int, ...] | None
    capacity: int | None
    outputs: Mapping[str, TensorSpec]
    backend: str  # what runs it, for people
    on_gpu: bool  # the engine's work is done on a GPU
    reports_layers: bool  # `layer_times` has times: ONNX Runtime has none of a GPU
    device: Device
    scratch_bytes: int  # that a pass needs beside the buffers, from its lane

    @property
    def provider(self) -> Provider | None:
        """What it was opened by, never "auto"; None for engine files that there is one way to run."""

    def bind(self, buffers: Mapping[str, Buffer], lane: Lane, uploads: Collection[str] = ()) -> Binding:
        """Ties each input and output to the buffer of its name.

        uploads: inputs whose host mirror is copied to the engine at the start of every pass. Outputs with a mirror are
        copied back at its end.
        """

    def layer_times(self, buffers: Mapping[str, Buffer], lane: Lane, passes: int) -> dict[str, list[float]]:
        """ms of each layer in each of some passes over what the buffers hold, in the order of their run.

        Only where `reports_layers`. The passes are apart from those of `bind`: asking for times costs time.
        """


def require_onnx(path: Path) -> None:
    """Raises EngineError for an .onnx file that is missing or is not the one that its bundle's manifest describes."""
    if not path.is_file():
        raise EngineError(no_engine(path))
    if not require_exported(path):
        logger.info("%s: no %s beside it describes it, so its content cannot be checked", path, MANIFEST_NAME)


def boundary_of(record: StageRecord) -> tuple[set[str], set[str]]:
    """Names of the inputs and of the outputs that an engine of this record has: docs/graphs.md."""
    if record.stage == "SAC":
        return {"image", "row", *record.hand_off}, {"logits"}
    if record.stage == "EE":
        return {"image"}, {"logits", "confidence", "class_attention", *record.hand_off}
    return {"image"}, {"logits"}


def require_boundary(
    path: Path, record: StageRecord, inputs: Collection[str], outputs: Mapping[str, TensorSpec]
) -> None:
    """Raises EngineError unless the engine has the inputs and outputs of its stage, and as many classes as labels."""
    wanted_inputs, wanted_outputs = boundary_of(record)
    if set(inputs) != wanted_inputs or set(outputs) != wanted_outputs:
        raise EngineError(
            f"{path} is no {record.stage} stage: it has inputs {sorted(inputs)} and outputs"
            f" {sorted(outputs)}. Export it again"
        )
    labels, classes = record.labels, outputs["logits"].shape[-1]
    if labels is not None and len(labels) != classes:
        raise EngineError(f"{path} names {len(labels)} labels for {classes} classes. Export it again")


def require_fit(
    path: Path, name: str, spec: TensorSpec, shape: tuple[int | str | None, ...], buffer: Buffer | None
) -> None:
    """Raises EngineError unless a buffer has the tensor's type and shape. shape: what the engine wants, names for any."""
    if buffer is None or buffer.spec.kind is not spec.kind:
        found = "no buffer" if buffer is None else f"{np.dtype(buffer.spec.kind)} {buffer.spec.shape}"
        raise EngineError(f"{path}: {name} wants {np.dtype(spec.kind)} {shape}, found {found}")
    found_shape = buffer.spec.shape
    if len(shape) != len(found_shape) or any(
        isinstance(want, int) and want != have for want, have in zip(shape, found_shape, strict=True)
    ):
        raise EngineError(f"{path}: {name} wants shape {shape}, found {found_shape}")
