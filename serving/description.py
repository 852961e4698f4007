"""The description of a model repository. It is stored in the gate's config, where the server and its clients read it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Annotated, Literal

import msgspec
import numpy as np

from ..bundle.errors import ConfigError, EngineError
from ..bundle.preprocess import Preprocessing
from ..bundle.stage_record import StageRecord
from ..runtime.engines.buffers import TensorSpec
from ..runtime.engines.stage import Stage

KEY = "sacvit"  # of the config's parameter
EE_MODEL, SAC_MODEL, GATE_MODEL = "sacvit_ee", "sacvit_sac", "sacvit"
STAGE_NUMBERS = {"EE": 1, "SAC": 2}  # in the output `stage`
MAX_JSON_BYTES = 64 << 20  # of a config: 100 000 labels have 5 MB
MAX_LABEL_BYTES = 1000  # in UTF-8: each answer is as wide as the longest label
MAX_REQUEST_BYTES = 1 << 30  # the pixels of --max-batch images
# The gate's outputs, one row per image. None has the type BYTES: when a client asks for the classification of an output, Triton
# 2.51 divides by its element size, so a request of a few bytes would end the whole server (SIGFPE).
OUTPUTS: dict[str, type[np.generic]] = {
    "label": np.uint8,  # UTF-8, with zeros behind it
    "index": np.int32,
    "probability": np.float32,
    "stage": np.uint8,
    "confidence": np.float32,
    "target_map": np.int32,
    "ee_ms": np.float32,
    "sac_ms": np.float32,
}
Count = Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]


class StageAbout(msgspec.Struct, frozen=True):
    """A stage that is another model of the server: its tensors, and the images per pass.

    record: without the labels, which `About` has. tensors: type and shape of each output.
    """

    record: StageRecord
    tensors: dict[str, tuple[Literal["uint8", "int32", "float32"], tuple[Count, ...]]]
    capacity: Count | None
    batches: tuple[Count, ...] | None

    @classmethod
    def of(cls, stage: Stage) -> StageAbout:
        tensors = {name: (np.dtype(spec.kind).name, spec.shape) for name, spec in stage.outputs.items()}
        return cls(replace(stage.record, labels=None), tensors, stage.capacity, stage.batches)  # type: ignore[arg-type]

    @property
    def outputs(self) -> dict[str, TensorSpec]:
        return {name: TensorSpec(np.dtype(kind).type, shape) for name, (kind, shape) in self.tensors.items()}


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """The gate's defaults, the preprocessing of images, and the stages. Raises ValueError for values that cannot be served."""

    format: Literal[2] = 2
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)]
    temperature: Annotated[float, msgspec.Meta(gt=0)]
    preprocessing: Preprocessing
    classes: Count
    labels: list[str] | None
    grid: Count  # coarse blocks along a side
    max_batch: Count  # images in a pass, and in a request
    max_queue: Count  # images that wait at each instance
    stages: tuple[StageAbout, ...]  # EE and SAC; empty where the gate runs them itself

    def __post_init__(self) -> None:
        if len(self.stages) not in (0, 2):
            raise ValueError(f"{len(self.stages)} stages, expected EE and SAC")
        size = self.preprocessing.image_size
        if self.max_batch * size * size * 3 > MAX_REQUEST_BYTES:
            raise ValueError(
                f"{self.max_batch} images of {size} x {size} pixels per request; the limit is {MAX_REQUEST_BYTES >> 20} MiB"
            )
        if self.grid > size:
            raise ValueError(f"{self.grid} blocks along {size} pixels")
        if self.labels is not None and len(self.labels) != self.classes:
            raise ValueError(f"{len(self.labels)} labels for {self.classes} classes")
        for number, label in enumerate(self.labels or ()):
            if (found := len(label.encode("utf-8", "surrogatepass"))) > MAX_LABEL_BYTES:
                raise ValueError(f"label {number} has {found} bytes; the limit is {MAX_LABEL_BYTES}")
            if any("\ud800" <= letter <= "\udfff" for letter in label):
                raise ValueError(f"label {number} holds half of a surrogate pair, which is no character")

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each output for one image. `label` is as long as the longest one in UTF-8."""
        longest = max(len(label.encode()) for label in self.labels or [str(self.classes - 1)])
        wide = {"label": (max(1, longest),), "target_map": (self.grid, self.grid)}
        return {name: wide.get(name, (1,)) for name in OUTPUTS}

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_config(cls, config: bytes | str, whose: str) -> About:
        """From a model's config in JSON, as Triton reports it. whose: the beginning of the error's message.

        Raises EngineError where the config is not ours, or damaged.
        """
        try:
            parameters = msgspec.json.decode(config, type=_Config).parameters
            if KEY not in parameters:
                raise ValueError(f"it has no parameter {KEY}")
            return msgspec.json.decode(parameters[KEY].string_value, type=cls)
        except (ValueError, RecursionError, ConfigError) as reason:
            raise EngineError(f"{whose} ({reason}). Write it again: sacvit-serve") from None


class _Parameter(msgspec.Struct):
    string_value: str = ""


class _Config(msgspec.Struct):
    parameters: dict[str, _Parameter] = {}
