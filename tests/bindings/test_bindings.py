"""Every class, attribute, enum member and number of arguments that the project uses of TensorRT, against the real bindings.

What it uses is noted by the stand-in while whole builds and runs go through it, so that no list can go stale. The bindings of
10.3, 10.16 and 11.4, and those of TensorRT for RTX from 1.4 to 1.7, are the real wheels, which make test puts beside the
environment; 8.6's API is the one read off its wheel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trt_api import Call, faults

from sacvit.bundle.errors import GuardError
from sacvit.export.plans.request import BuildRequest

HERE = Path(__file__).parent
API = HERE.parent / "fake_gpu" / "tensorrt" / "api"
ROOT = HERE.parent.parent
BUNDLE = HERE.parent / "runtime" / "bundles" / "typed"
RTX = {f"rtx-{version[:3]}": version for version in ("1.4.0.76", "1.5.0.114", "1.6.1.120", "1.7.1.116")}
WHEELS = {"10.3": "10.3.0", "10.16": "10.16.1.11", "11.4": "11.4.0.106"} | RTX
LIBRARIES = {
    "libnvinfer": (10, 11),
    "libnvonnxparser": (10, 11),
    "libnvinfer_plugin": (10, 11),
    "libtensorrt_rtx": (1,),
    "libtensorrt_onnxparser_rtx": (1,),
}


def stored(version: str) -> Path:
    return API / f"{version}.json"


STORED = ("8.6", *(version for version in WHEELS if stored(version).is_file()))


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Libraries that let the bindings be imported where TensorRT is not."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the stub libraries")
    folder = tmp_path_factory.mktemp("stubs")
    for name, majors in LIBRARIES.items():
        for major in majors:
            target = folder / f"{name}.so.{major}"
            subprocess.run([compiler, "-shared", "-fPIC", "-o", target, HERE / "stub.c"], check=True)
    return folder


@pytest.fixture(scope="session")
def real_api(stubs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function: the API that the real bindings of a version show."""
    known: dict[str, dict[str, Any]] = {}
    names = tmp_path_factory.mktemp("names") / "names.json"
    sys.path.insert(0, str(API.parent.parent))
    try:
        import trim_api
    finally:
        sys.path.pop(0)
    names.write_text(json.dumps({"classes": trim_api.CLASSES, "enums": trim_api.ENUMS}))

    def read(version: str) -> dict[str, Any]:
        kind = "tensorrt-rtx" if version in RTX else "tensorrt"
        wheel = Path(sys.prefix) / kind / WHEELS[version]
        if not wheel.is_dir():
            pytest.skip(f"the bindings of {kind} {WHEELS[version]} are not here; make .venv/installed brings them")
        if version not in known:
            environment = os.environ | {"LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": str(wheel)}
            done = subprocess.run(
                [sys.executable, HERE / "read_api.py", names, f"{kind.replace('-', '_')}_bindings"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            known[version] = json.loads(done.stdout)
        return known[version]

    return read


@pytest.fixture(scope="session")
def call_store() -> dict[str, set[Call]]:
    return {}


@pytest.fixture
def used(fake_gpu, tmp_path, call_store) -> Any:
    """A function: everything that the project calls of a version while it builds every rung, checks, loads and runs.

    Of TensorRT for RTX versions differ in nothing that the stand-in has: it takes the shape of the nearest one stored.
    """
    from sacvit.export.plans import build as module
    from sacvit.runtime.chain.overlap import Overlap
    from sacvit.runtime.chain.pipeline import Pipeline
    from sacvit.runtime.engines.tensorrt import TensorrtStage
    from sacvit.runtime.engines.tensorrt_rtx import TensorrtRtxStage

    def collect(version: str) -> set[Call]:
        if version in RTX and version not in STORED:
            version = "rtx-1.7"
        kind: Any = {"library": "rtx"} if version in RTX else {}
        stage = TensorrtRtxStage if version in RTX else TensorrtStage
        if version not in call_store:
            fake_gpu.work_here()
            calls: set[Call] = set()
            fake_gpu.become(version, "always")  # no plan passes its check: every rung is built
            fake_gpu.reset(compute=(8, 9))
            with pytest.raises(GuardError):
                module.build(BUNDLE, tmp_path / "none", BuildRequest("int8", (1, 4), **kind))
            calls |= fake_gpu.tensorrt.CALLS
            for batches in ((1,), (1, 4)):
                fake_gpu.become(version)
                fake_gpu.reset(compute=(8, 9))
                plans = module.build(BUNDLE, tmp_path / f"{len(batches)}", BuildRequest("fp16", batches, **kind))
                pipeline = Pipeline.load(plans.ee, plans.sac)
                pipeline.image_slots(1)[:] = 0
                pipeline.run(1)
                calm = Pipeline(*(stage(path, use_graphs=False) for path in (plans.ee, plans.sac)), 0.5)
                calm.track(1).ee_binding(1).layer_times(1)
                overlap = Overlap(pipeline)
                overlap.submit(1)
                overlap.flush()
                calls |= fake_gpu.tensorrt.CALLS
            call_store[version] = calls
        return call_store[version]

    return collect


@pytest.mark.programs
@pytest.mark.parametrize("version", STORED)
def test_everything_that_is_used_exists_and_is_called_as_documented(used, version):
    assert faults(used(version), json.loads(stored(version).read_text())) == []


@pytest.mark.parametrize("version", WHEELS)
def test_everything_that_is_used_exists_in_the_real_bindings(used, real_api, version):
    assert faults(used(version), real_api(version)) == []


@pytest.mark.parametrize("version", STORED[1:])
def test_the_stand_in_has_the_shape_of_the_real_bindings(real_api, version):
    kept, real = json.loads(stored(version).read_text()), real_api(version)
    assert kept["classes"] == real["classes"]
    assert kept["enums"] == real["enums"]


@pytest.mark.parametrize("version", WHEELS)
def test_our_logger_monitor_and_profiler_are_made_on_the_real_classes(real_api, version):
    assert real_api(version)["ours"] == {"reason": "a reason", "goes_on": True, "layers": {"head": [0.5]}}


@pytest.mark.parametrize(
    ("version", "call"),
    [
        ("8.6", ("IExecutionContext", "device_memory", None, ())),
        ("8.6", ("ICudaEngine", "create_execution_context_without_device_memory", 0, ())),
        ("10.3", ("IExecutionContext", "set_device_memory", 2, ())),
        ("10.3", ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED", None, ())),
        ("8.6", ("BuilderFlag", "OBEY_PRECISION_CONSTRAINTS", None, ())),
        ("11.4", ("IExecutionContext", "execute_async_v3", 1, ())),
        ("11.4", ("INetworkDefinition", "add_cast", 2, ())),
        ("10.16", ("IExecutionContext", "profiler", None, ())),
        ("rtx-1.4", ("IBuilderConfig", "set_compute_capability", 2, ())),
        ("rtx-1.7", ("IRuntimeConfig", "set_runtime_cache", 1, ())),
        ("rtx-1.7", ("Runtime", "get_engine_validity", 1, ())),
    ],
    ids=str,
)
def test_what_is_noted_reaches_into_every_corner(used, version, call):
    assert call in used(version)


@pytest.mark.parametrize("version", ("8.6", "10.3", "11.4"))
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("IExecutionContext", "execute_async_v3", 1, ()), ("IExecutionContext", "execute_async_v4", 1, ())),
        (("IExecutionContext", "execute_async_v3", 1, ()), ("IExecutionContext", "execute_async_v3", 2, ())),
        (("Builder", "build_serialized_network", 2, ()), ("Builder", "build_plan", 2, ())),
        (("TensorIOMode", "INPUT", None, ()), ("TensorIOMode", "IN", None, ())),
        (("IBuilderConfig", "set_memory_pool_limit", 2, ()), ("IBuilderConfig", "set_memory_pool_limit", 1, ())),
    ],
    ids=str,
)
def test_one_broken_name_is_found(used, version, before, after):
    calls = used(version)
    assert before in calls
    found = faults((calls - {before}) | {after}, json.loads(stored(version).read_text()))
    assert len(found) == 1 and after[1] in found[0]
