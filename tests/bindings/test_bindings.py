"""Every class, attribute, enum member and number of arguments that the project uses of TensorRT, against the real bindings.

What it uses is noted by the stand-in while whole builds and runs go through it, so that no list can go stale. The bindings of
10.3, 10.16 and 11.4 are the real wheels, which make test puts beside the environment; 8.6's API is the one read off its wheel.
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
WHEELS = {"10.3": "10.3.0", "10.16": "10.16.1.11", "11.4": "11.4.0.106"}
VERSIONS = ("8.6", *WHEELS)
LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Libraries that let the bindings be imported where TensorRT is not."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the stub libraries")
    folder = tmp_path_factory.mktemp("stubs")
    for name in LIBRARIES:
        for major in (10, 11):
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
        wheel = Path(sys.prefix) / "tensorrt" / WHEELS[version]
        if not wheel.is_dir():
            pytest.skip(f"the bindings of TensorRT {WHEELS[version]} are not here; make .venv/installed brings them")
        if version not in known:
            environment = os.environ | {"LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": str(wheel)}
            done = subprocess.run(
                [sys.executable, HERE / "read_api.py", names],
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
    """A function: everything that the project calls of a version while it builds every rung, checks, loads and runs."""
    from sacvit.export.plans import build as module
    from sacvit.runtime.chain.overlap import Overlap
    from sacvit.runtime.chain.pipeline import Pipeline
    from sacvit.runtime.engines.tensorrt import TensorrtStage

    def collect(version: str) -> set[Call]:
        if version not in call_store:
            fake_gpu.work_here()
            calls: set[Call] = set()
            for batches in ((1,), (1, 4)):
                fake_gpu.become(version, "always")  # no plan passes its check: every rung is built
                fake_gpu.reset()
                with pytest.raises(GuardError):
                    module.build(BUNDLE, tmp_path / "none", BuildRequest(family="int8", batches=batches))
                calls |= fake_gpu.tensorrt.CALLS
                fake_gpu.become(version)
                plans = module.build(BUNDLE, tmp_path / f"{len(batches)}", BuildRequest(family="fp16", batches=batches))
                pipeline = Pipeline.load(plans.ee, plans.sac)
                pipeline.image_slots(1)[:] = 0
                pipeline.run(1)
                calm = Pipeline(*(TensorrtStage(path, use_graphs=False) for path in (plans.ee, plans.sac)), 0.5)
                calm.track(1).ee_binding(1).layer_times(1)
                overlap = Overlap(pipeline)
                overlap.submit(1)
                overlap.flush()
                calls |= fake_gpu.tensorrt.CALLS
            call_store[version] = calls
        return call_store[version]

    return collect


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_that_is_used_exists_and_is_called_as_documented(used, version):
    assert faults(used(version), json.loads((API / f"{version}.json").read_text())) == []


@pytest.mark.parametrize("version", WHEELS)
def test_everything_that_is_used_exists_in_the_real_bindings(used, real_api, version):
    assert faults(used(version), real_api(version)) == []


@pytest.mark.parametrize("version", WHEELS)
def test_the_stand_in_has_the_shape_of_the_real_bindings(real_api, version):
    stored, real = json.loads((API / f"{version}.json").read_text()), real_api(version)
    assert stored["classes"] == real["classes"]
    assert stored["enums"] == real["enums"]


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
    ],
    ids=str,
)
def test_what_is_noted_reaches_into_every_corner(used, version, call):
    assert call in used(version)


@pytest.mark.parametrize("version", VERSIONS)
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
    found = faults((calls - {before}) | {after}, json.loads((API / f"{version}.json").read_text()))
    assert len(found) == 1 and after[1] in found[0]
