"""The plain single-stage ViT as an ONNX file that the runtime's stage can load: the baseline of benchmarks and figures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx

from ..bundle.files import written_whole
from ..bundle.manifest import DEFAULT_THRESHOLD, StageRecord
from ..bundle.preprocess import Preprocessing
from ..model.network import PlainViT
from .graphs import build_plain
from .lint import require_clean


def export_plain(model: PlainViT, preprocessing: Preprocessing, path: Path) -> None:
    """Writes the network with a symbolic batch. Its record names no partner: it belongs to no pair."""
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    graph = build_plain(model.config, weights, preprocessing, None)
    require_clean(path.name, graph)
    own = hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()
    record = StageRecord(
        "plain", model.config.to_dict(), preprocessing, None, own, own, "", DEFAULT_THRESHOLD, "default"
    )
    onnx.helper.set_model_props(graph, record.to_metadata())
    with written_whole(path) as partial:
        partial.write_bytes(graph.SerializeToString())
