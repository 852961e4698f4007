"""The graph writers of each task."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import onnx

from ...bundle.precision import Form, Products
from ...bundle.preprocess import Preprocessing
from ...model.config import ModelConfig, Task
from .dense import build_dense_ee, build_dense_plain, build_dense_sac
from .projections import Weights
from .stages import build_ee, build_plain, build_sac

Writer = Callable[[ModelConfig, Weights, Preprocessing, "int | None", Form], onnx.ModelProto]
SacWriter = Callable[[ModelConfig, Weights, Preprocessing, "int | None", Form, Products], onnx.ModelProto]


class Writers(NamedTuple):
    """What writes the stages of a task, and the plain ViT that they are measured against."""

    ee: Writer
    sac: SacWriter
    plain: Writer


WRITERS: dict[Task, Writers] = {
    "classify": Writers(build_ee, build_sac, build_plain),
    "dense": Writers(build_dense_ee, build_dense_sac, build_dense_plain),
}
