"""Tests of USB cameras with vivid, the kernel's test camera: make test-v4l2. Elsewhere nothing here is collected."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

NODE = Path("/dev/video0")
NAME = Path("/sys/class/video4linux/video0/name")

collect_ignore_glob = [] if NAME.is_file() and NAME.read_text().startswith("vivid") else ["test_*.py"]


@pytest.fixture
def control():
    """Sets controls of vivid, such as disconnect=1; those that stay are reset at the end."""
    changed = {}

    def set_control(name: str, value: int, after: int | None = None) -> None:
        subprocess.run(["v4l2-ctl", "-d", str(NODE), "-c", f"{name}={value}"], check=True)
        if after is not None:
            changed[name] = after

    yield set_control
    for name, value in changed.items():
        set_control(name, value)
