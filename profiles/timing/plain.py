"""The plain ViT as a chain of one stage: an image in, logits out, on any backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...bundle.errors import EngineError
from ...bundle.preprocess import ImageU8
from ...runtime.engines.backends import load_stage
from ...runtime.engines.buffers import Array, TensorSpec
from ...runtime.engines.given_paths import no_engine, no_plain
from ...runtime.engines.options import EngineOptions, Provider
from ...runtime.engines.stage import Binding, Stage


def require_plain(path: Path) -> None:
    """Raises EngineError where there is no such file."""
    if not path.is_file():
        raise EngineError(no_plain(path) if path.is_dir() else no_engine(path))


class Plain:
    """The engine of a plain ViT with buffers for `capacity` images; the other batch sizes are views of them.

    Raises EngineError for an engine of another stage, or one that does not take `batch` images.
    """

    def __init__(self, path: Path, batch: int, provider: Provider = "auto") -> None:
        require_plain(path)
        self.stage: Stage = load_stage(path, EngineOptions(provider))
        if self.stage.record.stage != "plain":
            raise EngineError(
                f"{path} is the {self.stage.record.stage} stage; --plain wants a plain ViT. {no_plain(path)}"
            )
        if self.stage.batches is not None and batch not in self.stage.batches:
            raise EngineError(f"{path} takes {self.stage.batches} images per pass, found --batch {batch}")
        device, size = self.stage.device, self.stage.record.preprocessing.image_size
        capacity = self.stage.capacity or batch
        logits = TensorSpec(np.float32, (capacity, *self.stage.outputs["logits"].shape))
        self.buffers = {
            **device.allocate({"image": TensorSpec(np.uint8, (capacity, size, size, 3))}, "upload"),
            **device.allocate({"logits": logits}, "download"),
        }
        (self.lane,) = device.lanes([self.stage.scratch_bytes])
        self.images: ImageU8 = _seen(self.buffers["image"].host)
        self.logits: Array = _seen(self.buffers["logits"].host)
        self._bindings: dict[int, Binding] = {}
        self.binding(batch)

    def binding(self, count: int) -> Binding:
        """The engine over the first `count` images; made when the count is first seen."""
        if count not in self._bindings:
            views = {name: buffer.first(count) for name, buffer in self.buffers.items()}
            self._bindings[count] = self.stage.bind(views, self.lane, ("image",))
        return self._bindings[count]

    def run(self, count: int) -> list[int]:
        """The classes of the images that lie in `images`."""
        binding = self.binding(count)
        binding.start()
        binding.wait()
        return [int(logits.argmax()) for logits in self.logits[:count]]


def _seen(array: Array | None) -> Array:
    assert array is not None
    return array
