"""Cameras through the system's OpenCV, which has GStreamer: make test-cameras. Elsewhere nothing here is collected."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from camera_process import CameraProcess

from sacvit.runtime.sources.capture import opencv_has
from sacvit.runtime.sources.frame import Frame, OpenOptions
from sacvit.runtime.sources.opening import open_source

collect_ignore_glob = [] if opencv_has("GStreamer") else ["test_*.py"]


@pytest.fixture
def start_camera() -> Iterator[type[CameraProcess]]:
    """CameraProcess, whose processes end with the test."""
    started: list[CameraProcess] = []

    def start(*how: object, **more: object) -> CameraProcess:
        started.append(CameraProcess(*how, **more))  # type: ignore[arg-type]
        return started[-1]

    yield start  # type: ignore[misc]
    for camera in started:
        camera.kill()


@pytest.fixture
def take():
    """Takes frames of a source, which is closed then: the source, and its frames."""

    def frames_of(spec: str, count: int, options: OpenOptions | None = None) -> tuple[object, list[Frame]]:
        source = open_source(spec, options)
        try:
            return source, list(itertools.islice(source, count))
        finally:
            source.close()

    return frames_of
