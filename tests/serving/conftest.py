"""A real Triton for the tests: the environment that `make test` sets up beside the tests' own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import DeviceError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.serving.description import About
from sacvit.serving.local import LocalServer, site_of
from sacvit.serving.options import ServeOptions
from sacvit.serving.repository import write_repository

ROOT = Path(__file__).parents[2]
TRITON = ROOT / ".venv-triton"
BACKENDS = Path(__file__).parent / "backends"
BUNDLE = ROOT / "tests" / "runtime" / "bundles" / "bundle"


@pytest.fixture(scope="session")
def triton() -> Path:
    """Triton's environment, where it is of this Python: its backend loads packages of no other."""
    try:
        site_of(TRITON)
    except DeviceError as reason:
        pytest.skip(f"{reason}; make .venv-triton/installed brings it for the Python of make test")
    return TRITON


@pytest.fixture(scope="session")
def engines() -> tuple[str, str]:
    return str(BUNDLE / "ee.onnx"), str(BUNDLE / "sac.onnx")


@pytest.fixture(scope="session")
def pipeline(engines: tuple[str, str]) -> Pipeline:
    return Pipeline.load(*engines, provider="cpu")


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """(24, 32, 32, 3) uint8 RGB: smooth colour fields with noise; at the stored threshold of 0.5, 17 exit."""
    rng = np.random.default_rng(7)
    fields = [cv2.resize(rng.uniform(0, 255, (5, 5, 3)).astype(np.float32), (32, 32)) for _ in range(24)]
    return np.clip(np.stack(fields) + rng.normal(0, 10, (24, 32, 32, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def python_repository(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("python") / "models"
    write_repository(pipeline, out, ServeOptions(python_only=True))
    return out


@pytest.fixture(scope="session")
def stages_repository(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stages") / "models"
    write_repository(pipeline, out, ServeOptions())
    return out


@pytest.fixture(scope="module")
def python_server(triton: Path, python_repository: Path) -> Iterator[LocalServer]:
    with LocalServer(python_repository, triton) as server:
        yield server


@pytest.fixture(scope="module")
def stages_server(triton: Path, stages_repository: Path) -> Iterator[LocalServer]:
    with LocalServer(stages_repository, triton, backends=BACKENDS) as server:
        yield server


@pytest.fixture(params=["python_server", "stages_server"])
def server(request: pytest.FixtureRequest) -> LocalServer:
    """The gate with the engines inside it, and the gate in front of two models."""
    found: LocalServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def about() -> About:
    """Of a server that somebody else runs: images of 8 x 8, 2 x 2 blocks, three classes."""
    return About(
        threshold=0.5,
        temperature=1.0,
        preprocessing=Preprocessing(8),
        classes=3,
        labels=["ant", "bee", "cat"],
        grid=2,
        max_batch=4,
        max_queue=8,
        stages=(),
    )


@pytest.fixture
def columns() -> dict[str, np.ndarray]:
    """A right answer for two images: an exit, and a survivor."""
    return {
        "index": np.array([[1], [2]], np.int32),
        "probability": np.array([[0.9], [0.6]], np.float32),
        "stage": np.array([[1], [2]], np.uint8),
        "confidence": np.array([[0.9], [0.25]], np.float32),
        "target_map": np.array([[[0, 1], [2, 0]], [[2, 0], [0, 1]]], np.int32),
        "ee_ms": np.array([[1.5], [1.5]], np.float32),
        "sac_ms": np.array([[0.0], [2.5]], np.float32),
    }


@pytest.fixture
def answer_of() -> Callable[..., tuple[bytes, str]]:
    """A function that gives an answer's content and the length of its header. headers: changes to outputs' entries."""

    def make(columns: dict[str, np.ndarray], headers: dict[str, dict[str, object]] | None = None) -> tuple[bytes, str]:
        names = {"uint8": "UINT8", "int32": "INT32", "float32": "FP32", "int64": "INT64", "object": "BYTES"}
        outputs = [
            {"name": name, "datatype": names[column.dtype.name], "shape": list(column.shape)}
            | {"parameters": {"binary_data_size": column.nbytes}}
            | (headers or {}).get(name, {})
            for name, column in columns.items()
        ]
        header = json.dumps({"model_name": "sacvit", "model_version": "1", "outputs": outputs}).encode()
        return header + b"".join(column.tobytes() for column in columns.values()), str(len(header))

    return make
