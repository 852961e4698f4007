"""The tiny network's graphs, once with a symbolic batch and once fixed to four images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

Models = tuple[onnx.ModelProto, onnx.ModelProto]


@pytest.fixture(scope="session")
def graphs(tiny_checkpoint: Path) -> Models:
    """EE and SAC in FP32. Shared: change copies only."""
    from sacvit.export.write_bundle import build_pair
    from sacvit.model.checkpoint import load_checkpoint

    return build_pair(load_checkpoint(tiny_checkpoint), None)


@pytest.fixture(scope="session")
def fixed_graphs(tiny_checkpoint: Path) -> Models:
    """The same two, for four images a pass."""
    from sacvit.export.write_bundle import build_pair
    from sacvit.model.checkpoint import load_checkpoint

    return build_pair(load_checkpoint(tiny_checkpoint), 4)


@pytest.fixture(scope="session")
def stage_inputs(graphs: Models, images: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """What EE and SAC are given for eight of the images."""
    from sacvit.calibration.onnx_session import Pair

    pair = Pair(*graphs)
    return {"image": images[:8]}, pair.sac_inputs(images[:8], pair.run_ee(images[:8]))


@pytest.fixture(scope="session")
def ranges(graphs: Models, stage_inputs: tuple[dict[str, Any], dict[str, Any]]) -> list[dict[str, float]]:
    """Of EE and SAC: the largest magnitude of each layer's activation on those images."""
    from sacvit.calibration.activations import observe
    from sacvit.calibration.qdq_placement import weighted_layers

    found = []
    for model, inputs in zip(graphs, stage_inputs, strict=True):
        activations = [layer.activation for layer in weighted_layers(model)]
        seen = observe("a.onnx", model, activations, [(len(inputs["image"]), inputs)])
        found.append({name: histogram.range_by("minmax") for name, histogram in seen.histograms.items()})
    return found


@pytest.fixture(scope="session")
def int8_graphs(graphs: Models, ranges: list[dict[str, float]]) -> Models:
    """Both graphs with every weighted layer in INT8. Shared: change copies only."""
    from sacvit.calibration.qdq_placement import insert_qdq

    ee, sac = (insert_qdq(model, found) for model, found in zip(graphs, ranges, strict=True))
    return ee, sac
