"""A real Triton for the tests: the environment that `make test` sets up beside the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.serving.local import LocalServer
from sacvit.serving.repository import Serving, write_repository

ROOT = Path(__file__).parents[2]
TRITON = ROOT / ".venv-triton"
BACKENDS = Path(__file__).parent / "backends"
BUNDLE = ROOT / "tests" / "runtime" / "bundles" / "bundle"


@pytest.fixture(scope="session")
def triton() -> Path:
    if not list(TRITON.glob("lib/python3*/site-packages/pytriton/tritonserver")):
        pytest.skip("no Triton: make .venv-triton/installed")
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
    write_repository(pipeline, out, Serving(python_only=True))
    return out


@pytest.fixture(scope="session")
def stages_repository(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stages") / "models"
    write_repository(pipeline, out, Serving())
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
