"""PyCUDA beside the engines on a real GPU. Skipped without it; pip install 'sacvit[pycuda]' needs the CUDA toolkit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorrt", reason="no TensorRT here")
pytest.importorskip("pycuda", reason="no PyCUDA here")

from sacvit.export.plans.build import build
from sacvit.export.plans.request import BuildRequest

pytestmark = pytest.mark.gpu
BUNDLE = Path(__file__).parents[1] / "runtime" / "bundles" / "typed"
# In a process of its own: PyCUDA keeps its context until the end.
CLASSIFY = """
import os
import sys
from pathlib import Path
import numpy as np
import pycuda.{context}
import pycuda.driver
from pycuda import gpuarray
array, bare = gpuarray.to_gpu(np.zeros((32, 32, 3), np.uint8)), pycuda.driver.mem_alloc(3072)
from sacvit import Pipeline
from sacvit.bundle.goldens import read_goldens
image = read_goldens(Path({bundle!r})).images[0]
pipeline = Pipeline.load(*sys.argv[1:])
{then}
sys.stdout.flush()
os._exit(0)  # PyCUDA's own end does not expect another context
"""
SAME = """
expected = pipeline(image)
array = gpuarray.to_gpu(image)
found = [pipeline(array), pipeline(gpuarray.GPUArray(array.shape, array.dtype, gpudata=array.gpudata))]
turned = gpuarray.to_gpu(255 - image)
turned = 255 - turned  # a kernel on the default stream
found.append(pipeline(turned.astype(np.uint8)))
print(all((one.index, one.probability) == (expected.index, expected.probability) for one in found))
"""
REFUSED = """
from sacvit.bundle.errors import ImageError
for given in (array, bare):
    try:
        print(pipeline(given))
    except ImageError as reason:
        print(reason)
"""


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    plans = build(BUNDLE, tmp_path_factory.mktemp("plans"), BuildRequest(family="fp32", batches=(1,)))
    return [str(plans.ee), str(plans.sac)]


def run(engines: list[str], context: str, then: str) -> str:
    code = CLASSIFY.format(context=context, bundle=str(BUNDLE), then=then)
    done = subprocess.run([sys.executable, "-c", code, *engines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_arrays_of_pycuda_in_the_primary_context_answer_as_from_the_host(engines):
    assert run(engines, "autoprimaryctx", SAME).strip() == "True"


def test_arrays_of_pycudas_own_context_and_bare_memory_are_refused_with_the_cure(engines):
    said = run(engines, "autoinit", REFUSED)
    assert "import pycuda.autoprimaryctx" in said and "gpuarray.GPUArray(" in said
