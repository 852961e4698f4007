"""Versions for bug reports: right, and without importing what they name."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata

import pytest

from sacvit.machine.packages import PARTS, describe_environment, versions


def test_versions_name_the_running_python() -> None:
    assert versions()["python"] == platform.python_version()


def test_versions_name_numpy_as_installed() -> None:
    assert versions()["numpy"] == metadata.version("numpy")


def test_versions_leave_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    assert versions() == {"python": platform.python_version()}


def test_versions_ask_for_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: f"{name}-1")
    assert versions() == {"python": platform.python_version()} | {name: f"{name}-1" for name in PARTS}


def test_the_environment_is_one_line_that_begins_with_our_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", {"sacvit": "0.1.0", "numpy": "2.0"}.get)
    monkeypatch.setattr("sacvit.machine.packages.PARTS", ("numpy",))
    wanted = f"0.1.0 on {platform.system()} {platform.machine()} (python {platform.python_version()}, numpy 2.0)"
    assert describe_environment() == wanted


def test_versions_import_none_of_the_parts() -> None:
    code = (
        "import sys; from sacvit.machine.packages import versions; versions();"
        "sys.exit(' '.join({'numpy', 'cv2', 'torch', 'onnx', 'onnxruntime'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
