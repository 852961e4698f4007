"""What the tests for a real GPU share. Each asks it one question; the stand-in's belief of that name gives the same answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On the stand-in, a test with the mark `forbidden` must be stopped by it."""
    try:
        from gpu_beliefs import Forbidden
    except ModuleNotFoundError:
        return
    for item in items:
        if item.get_closest_marker("forbidden"):
            item.add_marker(pytest.mark.xfail(raises=Forbidden, strict=True))


@pytest.fixture
def rt() -> Iterator[Any]:
    """CUDA's calls; what failed in a test leaves no error to the next."""
    from cuda.bindings import runtime
    from gpu_pass import open_cuda

    open_cuda()
    yield runtime
    runtime.cudaGetLastError()


@pytest.fixture
def keep_busy(rt: Any) -> Iterator[Callable[[Any], None]]:
    """A function: gives a stream copies that take some 10 ms or more."""
    from gpu_pass import checked, copy

    nbytes = checked(rt.cudaMemGetInfo())[1] // 512
    blocks = [int(checked(rt.cudaMalloc(nbytes))) for _ in range(2)]

    def start(stream: Any) -> None:
        for _ in range(100):
            copy(*blocks, nbytes, stream)

    yield start
    for block in blocks:
        checked(rt.cudaFree(block))


@pytest.fixture
def stream(rt: Any, keep_busy: Any) -> Iterator[Any]:
    """A stream that waits for no other. It is waited for before the blocks of `keep_busy` go."""
    from gpu_pass import checked, open_stream

    stream = open_stream()
    yield stream
    checked(rt.cudaStreamSynchronize(stream))
    rt.cudaStreamDestroy(stream)


@pytest.fixture(scope="session")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for plans, each built once."""
    return tmp_path_factory.mktemp("plans")


@pytest.fixture
def loaded(plans: Path) -> Any:
    """EE for one image, its shapes in the network."""
    from gpu_pass import Loaded, build

    return Loaded(build(plans, (1,)))


@pytest.fixture
def loaded_open(plans: Path) -> Any:
    """EE with a profile of one image and one of four."""
    from gpu_pass import Loaded, build

    return Loaded(build(plans, (1, 4)))
