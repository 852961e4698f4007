"""Questions about TensorRT's engines and contexts: the beliefs of tests/fake_gpu/gpu_beliefs.py, asked of a real one."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("tensorrt", reason="no TensorRT here")

import tensorrt as trt
from gpu_pass import Pass, capture, checked

from sacvit.runtime.engines.buffers import TensorSpec
from sacvit.runtime.engines.cuda import open_cuda
from sacvit.runtime.engines.tensorrt_log import open_journal, open_layer_times

pytestmark = pytest.mark.gpu
TYPES = {
    "image": "UINT8", "logits": "FLOAT", "confidence": "FLOAT", "class_attention": "FLOAT", "target_index": "INT32",
    "target_context": "FLOAT", "non_target": "FLOAT",
}  # fmt: skip


@pytest.mark.parametrize("place", [0, 24, 25], ids=["tag", "major", "minor"])
def test_a_plan_of_another_version_is_not_loaded(rt, loaded, place):
    content = bytearray(loaded.content)
    assert content[:4] == b"ftrt" and content[24] == int(trt.__version__.split(".")[0])
    content[place] += 1
    journal = open_journal(trt)
    assert trt.Runtime(journal).deserialize_cuda_engine(bytes(content)) is None and journal.errors()


def test_an_engine_has_the_boundary_of_its_graph(rt, loaded):
    engine, names = loaded.engine, [loaded.engine.get_tensor_name(index) for index in range(len(TYPES))]
    assert engine.num_io_tensors == len(TYPES)
    assert {name: engine.get_tensor_dtype(name).name for name in names} == TYPES
    assert [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT] == ["image"]


def test_an_engine_with_profiles_shows_their_shapes(rt, loaded_open):
    engine = loaded_open.engine
    assert engine.num_optimization_profiles == 2
    assert [tuple(engine.get_tensor_shape(name)) for name in ("image", "logits")] == [(-1, 32, 32, 3), (-1, 5)]
    found = [[tuple(shape) for shape in engine.get_tensor_profile_shape("image", index)] for index in (0, 1)]
    assert found == [[(count, 32, 32, 3)] * 3 for count in (1, 4)]


def test_an_engine_of_fixed_shapes_has_one_profile(rt, loaded):
    assert loaded.engine.num_optimization_profiles == 1
    assert tuple(loaded.engine.get_tensor_shape("image")) == (1, 32, 32, 3)


def test_the_scratch_size_covers_every_profile(rt, loaded_open):
    engine = loaded_open.engine
    if not hasattr(engine, "get_device_memory_size_for_profile_v2"):
        pytest.skip("this TensorRT names no size per profile")
    sizes = [engine.get_device_memory_size_for_profile_v2(index) for index in range(2)]
    assert loaded_open.scratch_bytes >= max(sizes)


def scratch(*sizes: int):
    """The last of some buffers in one block, each of which begins at a multiple of 256 bytes."""
    specs = {str(place): TensorSpec(np.uint8, (max(size, 1),)) for place, size in enumerate(sizes)}
    return open_cuda().allocate(specs, "internal")[str(len(sizes) - 1)]


def test_a_context_runs_in_scratch_of_the_named_size_at_256_bytes(rt, loaded):
    block = scratch(256, loaded.scratch_bytes)
    one = Pass(loaded, context=loaded.context_without_memory())
    one.give_scratch(block.address, loaded.scratch_bytes)
    assert one.runs()


def test_two_engines_work_in_one_block_in_turns(rt, loaded, loaded_open):
    nbytes = max(loaded.scratch_bytes, loaded_open.scratch_bytes)
    block = scratch(nbytes)
    first = Pass(loaded, context=loaded.context_without_memory())
    second = Pass(loaded_open, 4, profile=1, context=loaded_open.context_without_memory())
    for one in (first, second):
        one.give_scratch(block.address, nbytes)
    assert [one.runs() for one in (first, second, first, second)] == [True] * 4


@pytest.mark.forbidden
def test_a_captured_graph_does_not_follow_its_context(rt, loaded):
    one = Pass(loaded)
    assert one.runs()
    graph = capture(one.lane.stream, one.enqueue)
    other = one.cuda.allocate({"logits": one.buffers["logits"].spec}, "download")["logits"]
    one.context.set_tensor_address("logits", other.address)
    one.buffers["logits"].host[:] = 0
    checked(rt.cudaGraphLaunch(graph, one.lane.stream))
    assert one.answers()


def test_a_profile_is_chosen_by_its_index(rt, loaded_open):
    one = Pass(loaded_open, 4, profile=1)
    assert one.context.active_optimization_profile == 1 and one.runs()
    with pytest.raises(RuntimeError):
        one.context.set_optimization_profile_async(99, one.lane.handle)


def test_the_first_context_starts_with_profile_0(rt, loaded_open):
    assert loaded_open.engine.create_execution_context().active_optimization_profile == 0


def test_two_contexts_share_a_profile(rt, loaded_open):
    first, second = (Pass(loaded_open, 4, profile=1) for _ in range(2))
    assert first.enqueue() and second.enqueue()
    assert first.answers() and second.answers()


def test_a_shape_outside_the_profile_is_refused(rt, loaded_open):
    one = Pass(loaded_open, 1, profile=0)
    assert not one.context.set_input_shape("image", (3, 32, 32, 3))


def test_an_address_for_an_unknown_name_is_refused(rt, loaded):
    one = Pass(loaded)
    assert not one.context.set_tensor_address("picture", one.buffers["image"].address)


def test_a_pass_without_all_addresses_is_refused(rt, loaded):
    context, one = loaded.engine.create_execution_context(), Pass(loaded)
    for name in [name for name in one.names if name != "logits"]:
        assert context.set_tensor_address(name, one.buffers[name].address)
    assert not context.execute_async_v3(one.lane.handle) and loaded.journal.errors()


@pytest.mark.forbidden
def test_a_pass_on_the_default_stream_runs(rt, loaded):
    one = Pass(loaded)
    assert one.context.execute_async_v3(0)
    checked(rt.cudaStreamSynchronize(0))
    assert one.answers()


def test_a_pass_can_be_captured_after_the_first_one(rt, loaded):
    one = Pass(loaded)
    assert one.runs()
    graph = capture(one.lane.stream, one.enqueue)
    one.buffers["logits"].host[:] = 0
    checked(rt.cudaGraphLaunch(graph, one.lane.stream))
    assert one.answers()


def test_a_profiler_hears_of_every_layer(rt, loaded):
    one = Pass(loaded)
    times = one.context.profiler = open_layer_times(trt)
    assert one.runs() and times.layers
    assert all(ms >= 0 for passes in times.layers.values() for ms in passes)


def test_the_inspector_lists_the_layers(rt, loaded):
    inspector = loaded.engine.create_engine_inspector()
    layers = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))["Layers"]
    assert layers and all(isinstance(layer, dict | str) for layer in layers)
