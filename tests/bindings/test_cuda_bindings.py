"""The stand-in for cuda-python against the real one: the same calls with the same parameters, the same numbers."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
MAJORS = ("12.9", "13")  # of JetPack 6, of JetPack 7


def offered() -> dict[str, Any]:
    """Everything of CUDA that the stand-in has, as read_cuda.py describes it."""
    from cuda.bindings import driver, runtime

    found: dict[str, Any] = {}
    for name, value in (vars(runtime) | vars(driver)).items():
        # cuCtxCreate has other parameters from 13 on.
        if not name.startswith(("cu", "CU")) or name in ("CUDA_VERSION", "cuCtxCreate"):
            continue
        if name == "cudaDeviceProp":
            found[name] = sorted(value.__dataclass_fields__)
        elif isinstance(value, int):
            found[name] = value
        elif hasattr(value, "__members__"):
            found[name] = {key: int(member) for key, member in value.__members__.items()}
        else:
            found[name] = list(inspect.signature(value).parameters)
    return found


@pytest.fixture
def real(fake_gpu, monkeypatch) -> Any:
    """A function: what cuda-python of a CUDA offers under the stand-in's names, and what our layer makes of it."""
    names = json.dumps(list(offered()))

    def read(major: str) -> dict[str, Any]:
        wheel = Path(sys.prefix) / "cuda" / major
        if not wheel.is_dir():
            pytest.skip(f"cuda-bindings {major} is not here; make .venv/installed brings it")
        ours = [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path and "fake_gpu" not in path]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(wheel), *ours])}
        done = subprocess.run(
            [sys.executable, HERE / "read_cuda.py"],
            input=names,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    return read


@pytest.mark.parametrize("major", MAJORS)
def test_every_call_of_the_stand_in_has_the_real_parameters(fake_gpu, real, major):
    found = real(major)["names"]
    for name, mine in offered().items():
        if isinstance(mine, dict):  # an enum: the stand-in has some of its members, with their numbers
            assert mine.items() <= found[name].items(), name
        elif name == "cudaDeviceProp":
            assert set(mine) <= set(found[name])
        else:
            assert mine == found[name], name


@pytest.mark.parametrize("major", MAJORS)
def test_a_machine_without_a_gpu_is_told_with_cudas_own_reason(real, major):
    found = real(major)
    if not found["count"]:
        pytest.skip("this machine has a GPU")
    assert found["ours"].startswith("DeviceError: no GPU that CUDA can use: ") and "cudaError" in found["ours"]


def test_our_layer_makes_no_call_that_the_stand_in_lacks(fake_gpu):
    source = (HERE.parent.parent / "runtime" / "engines" / "cuda.py").read_text()
    words = set(re.findall(r"\b(?:cuda|cu)[A-Z]\w+|\bCU\w+[a-z]\w+|\bCU_\w+", source))
    assert len(words) > 20 and {word for word in words if word not in str(offered())} == set()
