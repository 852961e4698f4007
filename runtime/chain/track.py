"""One set of buffers with both stages bound to it: takes a batch from its images to its logits."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ...bundle.preprocess import ImageU8
from ..engines.buffers import Array, Buffer, Lane, TensorSpec
from ..engines.stage import Binding, Stage
from .device_arrays import DeviceImage
from .gate import Gate

SEEN = ("confidence", "logits", "target_index")  # the outputs of EE that the host reads; they lie side by side


class Track:
    """The buffers of `capacity` images, allocated once. EE's outputs *are* SAC's inputs: the hand-off copies nothing.

    also: outputs of EE that SAC reads beside the hand-off.

    `start`, `gate` and `finish` take one batch through, in this order. Until `finish` the images must not change.
    """

    def __init__(self, ee: Stage, sac: Stage, capacity: int, lanes: list[Lane], also: Sequence[str] = ()) -> None:
        self._ee, self._sac = ee, sac
        self.ee_lane, self.sac_lane = lanes[0], lanes[-1]
        self.capacity = capacity
        size = ee.record.preprocessing.image_size
        device = ee.device
        specs = {name: TensorSpec(spec.kind, (capacity, *spec.shape)) for name, spec in ee.outputs.items()}
        self.ee: dict[str, Buffer] = {
            **device.allocate({"image": TensorSpec(np.uint8, (capacity, size, size, 3))}, "upload"),
            **device.allocate({name: specs[name] for name in SEEN}, "download"),
            **device.allocate({name: spec for name, spec in specs.items() if name not in SEEN}, "internal"),
        }
        self.sac: dict[str, Buffer] = {
            **{name: self.ee[name] for name in ("image", *also, *ee.record.hand_off)},
            **device.allocate({"row": TensorSpec(np.int32, (capacity,))}, "upload"),
            **device.allocate({"logits": TensorSpec(np.float32, (capacity, *sac.outputs["logits"].shape))}, "download"),
        }
        self.images: ImageU8 = _seen(self.ee["image"])
        self.confidence, self.logits, self.target_index = (_seen(self.ee[name]) for name in SEEN)
        self.row, self.sac_logits = _seen(self.sac["row"]), _seen(self.sac["logits"])
        self._ee_bindings: dict[tuple[int, bool], Binding] = {}
        self._sac_bindings: dict[int, Binding] = {}
        self.count = self.survivors = 0
        self.ee_ms, self.sac_ms = 0.0, 0.0

    def bind_all(self) -> Track:
        """Binds every size that the engines take, so that no frame is delayed by a first pass or a capture.

        Engines that take any number are bound when a number is first seen.
        """
        for places in self._ee.batches or ():
            self.ee_binding(places)
        for places in self._sac.batches or ():
            self.sac_binding(places)
        return self

    def start(self, count: int, on_device: bool = False) -> None:
        """EE over the first `count` images. on_device: they have been copied to the engine's side already."""
        self.count = count
        binding = self.ee_binding(places_for(count, self._ee.batches), on_device)
        self._began = time.perf_counter()
        binding.start()
        self._running = binding

    def gate(self, gate: Gate) -> None:
        """Waits for EE, and starts SAC over the images that the gate lets go on."""
        self.decide(gate)
        self.go_on()

    def decide(self, gate: Gate) -> None:
        """Waits for EE, and lets the gate decide which images go on. The answers of exits are final from here on."""
        self._running.wait()
        self.ee_ms = 1e3 * (time.perf_counter() - self._began)
        confidence = self.confidence[: self.count]
        gate.calibrate(self.logits[: self.count], confidence)
        self.survivors = gate.survivors(confidence, self.row)

    def go_on(self) -> None:
        """Starts SAC over the survivors, where there are any."""
        if self.survivors:
            places = places_for(self.survivors, self._sac.batches)
            # Places behind the survivors hold images of earlier passes: they are computed, and their answers are ignored.
            binding = self.sac_binding(places)
            self._began = time.perf_counter()
            binding.start()
            self._running = binding

    def finish(self) -> None:
        """Waits for SAC, where an image went on."""
        if self.survivors:
            self._running.wait()
            self.sac_ms = 1e3 * (time.perf_counter() - self._began)

    def ee_binding(self, places: int, on_device: bool = False) -> Binding:
        """EE over the first `places` images; made when the size is first seen."""
        key = places, on_device
        if key not in self._ee_bindings:
            uploads = () if on_device else ("image",)
            self._ee_bindings[key] = self._ee.bind(self.ee_buffers(places), self.ee_lane, uploads)
        return self._ee_bindings[key]

    def sac_binding(self, places: int) -> Binding:
        """SAC over the first `places` entries of `row`; made when the number is first seen."""
        if places not in self._sac_bindings:
            self._sac_bindings[places] = self._sac.bind(self.sac_buffers(places), self.sac_lane, ("row",))
        return self._sac_bindings[places]

    def ee_buffers(self, places: int) -> dict[str, Buffer]:
        """EE's buffers for a pass over the first `places` images."""
        return {name: buffer.first(places) for name, buffer in self.ee.items()}

    def sac_buffers(self, places: int) -> dict[str, Buffer]:
        """SAC's buffers for a pass over the first `places` entries of `row`."""
        return self.sac | {name: self.sac[name].first(places) for name in ("row", "logits")}

    def take(self, place: int, image: DeviceImage) -> None:
        """Copies an image that lies on the GPU into its slot there, behind EE's earlier work."""
        slot = self.ee["image"]
        nbytes = slot.spec.nbytes // self.capacity
        self._ee.device.copy(slot.address + place * nbytes, image.address, nbytes, self.ee_lane)


def places_for(count: int, batches: tuple[int, ...] | None) -> int:
    """How many images an engine takes to answer `count` of them."""
    return count if batches is None else next(size for size in batches if size >= count)


def _seen(buffer: Buffer) -> Array:
    assert buffer.host is not None
    return buffer.host
