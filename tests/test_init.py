"""What the import of the package does besides naming its contents."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_onnx_runtime_writes_nothing_when_it_is_imported_after_sacvit(tmp_path: Path) -> None:
    """Its telemetry would leave a device's number in the cache, and a file among the temporary ones."""
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    places = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    code = "import sacvit, onnxruntime"
    subprocess.run([sys.executable, "-c", code], env=environment | places, check=True)
    assert list(tmp_path.iterdir()) == []
