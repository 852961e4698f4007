"""What a model repository says of itself: in the config of the gate, where its server and its clients read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.errors import EngineError, UsageError
from ..bundle.manifest import StageRecord
from ..bundle.preprocess import Preprocessing
from ..runtime.chain.gate import Gate
from ..runtime.engines.buffers import TensorSpec
from ..runtime.engines.stage import Stage

FORMAT = 1
KEY = "sacvit"  # of the config's parameter
EE_MODEL, SAC_MODEL, GATE_MODEL = "sacvit_ee", "sacvit_sac", "sacvit"
OUTPUTS = {  # of the gate, a row for each image
    "label": "TYPE_STRING",
    "index": "TYPE_INT32",
    "probability": "TYPE_FP32",
    "stage": "TYPE_STRING",
    "confidence": "TYPE_FP32",
    "target_map": "TYPE_INT32",  # (G, G); the others (1,)
    "ee_ms": "TYPE_FP32",
    "sac_ms": "TYPE_FP32",
}


@dataclass(frozen=True)
class StageAbout:
    """A stage as another model of the server: what it takes and gives, and how many images a pass."""

    record: StageRecord
    outputs: dict[str, TensorSpec]
    capacity: int | None
    batches: tuple[int, ...] | None

    @classmethod
    def of(cls, stage: Stage) -> StageAbout:
        return cls(stage.record, dict(stage.outputs), stage.capacity, stage.batches)

    def to_dict(self) -> dict[str, Any]:
        outputs = {name: [np.dtype(spec.kind).name, list(spec.shape)] for name, spec in self.outputs.items()}
        batches = None if self.batches is None else list(self.batches)
        record = {key: value for key, value in self.record.to_metadata().items() if not key.endswith(".labels")}
        return {"record": record, "outputs": outputs, "capacity": self.capacity, "batches": batches}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any], labels: list[str] | None) -> StageAbout:
        metadata = {**entries["record"], "sacvit.labels": json.dumps(labels)}
        outputs = {
            name: TensorSpec(np.dtype(kind).type, tuple(shape)) for name, (kind, shape) in entries["outputs"].items()
        }
        batches = None if entries["batches"] is None else tuple(entries["batches"])
        return cls(StageRecord.from_metadata(Path("config.pbtxt"), metadata), outputs, entries["capacity"], batches)


@dataclass(frozen=True)
class About:
    """The gate's defaults, how an image has to look, and the stages. stages is empty where the gate runs them itself."""

    threshold: float
    temperature: float
    preprocessing: Preprocessing
    labels: list[str] | None
    grid: int  # coarse blocks along a side
    max_batch: int  # images in a pass, and in a request
    max_queue: int  # images that wait at each instance
    stages: tuple[StageAbout, ...]

    def to_json(self) -> str:
        return json.dumps(
            {
                "format": FORMAT,
                "threshold": self.threshold,
                "temperature": self.temperature,
                "preprocessing": self.preprocessing.to_dict(),
                "labels": self.labels,
                "grid": self.grid,
                "max_batch": self.max_batch,
                "max_queue": self.max_queue,
                "stages": [stage.to_dict() for stage in self.stages],
            }
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], whose: str) -> About:
        """From a model's config, as Triton tells it. whose: the model, for a message, and that nobody wrote it.

        Raises EngineError where it is not ours, or damaged.
        """
        try:
            content = json.loads(config["parameters"][KEY]["string_value"])
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}, this sacvit reads {FORMAT}")
            labels = content["labels"]
            return cls(
                threshold=Gate(content["threshold"]).threshold,
                temperature=float(content["temperature"]),
                preprocessing=Preprocessing.from_dict(content["preprocessing"]),
                labels=None if labels is None else [str(name) for name in labels],
                grid=int(content["grid"]),
                max_batch=int(content["max_batch"]),
                max_queue=int(content["max_queue"]),
                stages=tuple(StageAbout.from_dict(entries, labels) for entries in content["stages"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, UsageError) as reason:
            raise EngineError(f"{whose} ({type(reason).__name__}: {reason}). Write it again: sacvit-serve") from None
