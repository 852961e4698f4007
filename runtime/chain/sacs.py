"""Several SACs behind one EE: each image goes to the one that its confidence chooses, so that hard images get more targets.

They are one stage to the rest of the chain. All read the same hand-off, in place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...bundle.errors import EngineError
from ...bundle.manifest import Tuned
from ...bundle.precision import further_name
from ...bundle.stage_record import require_pair
from ..engines.backends import load_stage
from ..engines.buffers import Array, Buffer, Device, Lane
from ..engines.options import EngineOptions, Provider
from ..engines.stage import Binding, PassTimes, Stage, timed_whole
from .track import places_for


@dataclass(frozen=True)
class Sac:
    """A SAC, and the confidence below which an image is its."""

    stage: Stage
    below: float
    targets: int


def load_sacs(path: Path, ee: Stage, sac: Stage, tuned: Tuned | None, options: EngineOptions) -> Sacs | None:
    """The SACs that the tuned gate sends images to; None where they are the one of `path`, which is loaded.

    Raises EngineError where one of them is missing, or is of another export.
    """
    if tuned is None or not tuned.sacs or sac.record.config.get("alpha") != ee.record.config.get("alpha"):
        return None  # a file of another alpha was asked for by its name
    found = []
    for use in tuned.sacs:
        file = path if use.alpha is None else path.with_name(further_name(path.name, use.alpha))
        if not file.is_file():
            raise EngineError(
                f"{file} is missing: the gate that sacvit-tune stored sends images to it. Export again with --sac-alpha, or"
                f" tune these engines again without --alpha"
            )
        stage = sac if use.alpha is None else load_stage(file, options)
        require_pair(ee.path, ee.record, file, stage.record)
        found.append(Sac(stage, use.below, stage.record.targets or ee.outputs["target_index"].shape[0]))
    return Sacs(sac, found)


class Sacs:
    """See `Stage`. `below` rises from one SAC to the next, and the last one takes all images that are left."""

    reports_layers = False

    def __init__(self, own: Stage, sacs: Sequence[Sac]) -> None:
        if any(first.below >= second.below for first, second in pairwise(sacs)):
            raise EngineError("the confidences below which the tuned gate chooses its SACs do not rise. Tune again")
        self._sacs, self._bounds = list(sacs), np.array([one.below for one in sacs[:-1]], np.float32)
        self.path, self.record, self.outputs, self.backend = own.path, own.record, own.outputs, own.backend
        self.batches, self.capacity = own.batches, own.capacity
        self.on_gpu, self.provider = own.on_gpu, own.provider
        self.device: Device = own.device
        self.scratch_bytes = max(one.stage.scratch_bytes for one in sacs)

    provider: Provider | None

    def targets_at(self, confidence: float) -> int:
        """How many target blocks an image of this confidence gets."""
        return self._sacs[int(self._choose(np.array([confidence], np.float32))[0])].targets

    def bind(self, buffers: Mapping[str, Buffer], lane: Lane, uploads: Collection[str] = ()) -> SacsBinding:
        """See `Stage`. buffers: also EE's `confidence`, as the gate saw it."""
        return SacsBinding(self, buffers, lane, uploads)

    def layer_times(self, buffers: Mapping[str, Buffer], lane: Lane, passes: int) -> dict[str, list[float]]:
        raise NotImplementedError

    def _choose(self, confidence: Array) -> Array:
        """The place among the SACs, of each confidence."""
        return np.searchsorted(self._bounds, confidence, side="right")


class SacsBinding:
    """See `Binding`. Each SAC has a `row` and `logits` of its own; everything else is shared."""

    is_captured = None

    def __init__(self, stage: Sacs, buffers: Mapping[str, Buffer], lane: Lane, uploads: Collection[str]) -> None:
        self._stage, self._buffers, self._lane, self._uploads = stage, dict(buffers), lane, uploads
        device = stage.device
        self._own = [
            {
                **device.allocate({"row": buffers["row"].spec}, "upload"),
                **device.allocate({"logits": buffers["logits"].spec}, "download"),
            }
            for _ in stage._sacs
        ]
        self._bindings: dict[tuple[int, int], Binding] = {}
        self._running: list[tuple[Binding, int, Array]] = []

    def start(self) -> None:
        """See `Binding`."""
        rows = _seen(self._buffers["row"])
        chosen = self._stage._choose(_seen(self._buffers["confidence"])[rows])
        self._running = []
        for place, sac in enumerate(self._stage._sacs):
            members = np.flatnonzero(chosen == place)
            if not len(members):
                continue
            _seen(self._own[place]["row"])[: len(members)] = rows[members]
            binding = self._bound(place, places_for(len(members), sac.stage.batches))
            binding.start()
            self._running.append((binding, place, members))

    def wait(self) -> None:
        """See `Binding`."""
        logits = _seen(self._buffers["logits"])
        for binding, place, members in self._running:
            binding.wait()
            logits[members] = _seen(self._own[place]["logits"])[: len(members)]

    def timed(self) -> PassTimes:
        """See `Binding`."""
        return timed_whole(self)

    def _bound(self, place: int, count: int) -> Binding:
        key = place, count
        if key not in self._bindings:
            own = {name: buffer.first(count) for name, buffer in self._own[place].items()}
            self._bindings[key] = self._stage._sacs[place].stage.bind(self._buffers | own, self._lane, self._uploads)
        return self._bindings[key]


def _seen(buffer: Buffer) -> Array:
    assert buffer.host is not None
    return buffer.host
