"""Committed bundles: these tests run where torch and onnx are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

BUNDLES = Path(__file__).parent / "bundles"


@pytest.fixture(scope="session")
def bundles() -> Path:
    return BUNDLES


@pytest.fixture(scope="session")
def engines() -> tuple[str, str]:
    return str(BUNDLES / "bundle" / "ee.onnx"), str(BUNDLES / "bundle" / "sac.onnx")


@pytest.fixture(scope="session")
def int8_engines() -> tuple[str, str]:
    """The INT8 pair of the same export; its threshold is 0.502 where FP32's is 0.5."""
    return str(BUNDLES / "typed" / "ee.int8.onnx"), str(BUNDLES / "typed" / "sac.int8.onnx")


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """(24, 32, 32, 3) uint8 RGB: smooth colour fields with noise; at the stored threshold of 0.5, 17 exit."""
    rng = np.random.default_rng(7)
    fields = [cv2.resize(rng.uniform(0, 255, (5, 5, 3)).astype(np.float32), (32, 32)) for _ in range(24)]
    return np.clip(np.stack(fields) + rng.normal(0, 10, (24, 32, 32, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def picture_folder(tmp_path: Path, pictures: np.ndarray) -> Path:
    """Six PNG pictures, 00.png to 05.png."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, picture in enumerate(pictures[:6]):
        assert cv2.imwrite(str(folder / f"{index:02}.png"), picture[:, :, ::-1])
    return folder


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory, pictures: np.ndarray) -> Path:
    """A video of 20 frames, 96 x 64."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    assert writer.isOpened()
    for picture in pictures[:20]:
        writer.write(cv2.resize(picture, (96, 64)))
    writer.release()
    return path
