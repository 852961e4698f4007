"""Questions about CUDA's streams, events and captures: the beliefs of tests/fake_gpu/gpu_beliefs.py, asked of a real GPU."""

from __future__ import annotations

import pytest

pytest.importorskip("tensorrt", reason="no TensorRT here")

from gpu_pass import capture, checked, copy, open_stream, pinned

pytestmark = pytest.mark.gpu


@pytest.fixture
def block(rt):
    block = int(checked(rt.cudaMalloc(256)))
    yield block
    checked(rt.cudaFree(block))


def is_done(rt, stream) -> bool:
    (error,) = rt.cudaStreamQuery(stream)
    assert error in (rt.cudaError_t.cudaSuccess, rt.cudaError_t.cudaErrorNotReady)
    return error == rt.cudaError_t.cudaSuccess


def test_work_is_done_when_its_stream_was_waited_for_and_not_before(rt, stream, block, keep_busy):
    there = pinned(256)
    copy(block, pinned(256, 7), 256, stream)
    keep_busy(stream)
    copy(there, block, 256, stream)
    assert not is_done(rt, stream) and not there.any()
    checked(rt.cudaStreamSynchronize(stream))
    assert is_done(rt, stream) and (there == 7).all()


def test_work_on_a_stream_runs_in_order(rt, stream, block):
    there = pinned(256)
    for value in range(1, 9):
        copy(block, pinned(256, value), 256, stream)
    copy(there, block, 256, stream)
    checked(rt.cudaStreamSynchronize(stream))
    assert (there == 8).all()


def test_streams_do_not_wait_for_each_other(rt, stream, block, keep_busy):
    other, there = open_stream(), pinned(256)
    keep_busy(stream)
    copy(block, pinned(256, 7), 256, other)
    copy(there, block, 256, other)
    checked(rt.cudaStreamSynchronize(other))
    assert not is_done(rt, stream) and (there == 7).all()


def test_a_stream_is_known_by_its_integer(rt, stream, block, keep_busy):
    keep_busy(int(stream))
    checked(rt.cudaStreamSynchronize(int(stream)))
    assert int(stream) > 2 and is_done(rt, stream)  # 0 to 2 are CUDA's own


def finished(rt, stream):
    event = checked(rt.cudaEventCreateWithFlags(rt.cudaEventDefault))
    checked(rt.cudaEventRecord(event, stream))
    return event


def test_work_of_a_destroyed_stream_is_done(rt, block, keep_busy):
    stream, there = open_stream(), pinned(256)
    copy(block, pinned(256, 7), 256, stream)
    keep_busy(stream)
    copy(there, block, 256, stream)
    event = finished(rt, stream)
    checked(rt.cudaStreamDestroy(stream))
    checked(rt.cudaEventSynchronize(event))
    assert (there == 7).all()


def test_an_event_ends_what_came_before_it(rt, stream, block, keep_busy):
    there, began = pinned(256), finished(rt, stream)
    copy(block, pinned(256, 7), 256, stream)
    keep_busy(stream)
    copy(there, block, 256, stream)
    ended = finished(rt, stream)
    checked(rt.cudaEventSynchronize(ended))
    assert (there == 7).all() and checked(rt.cudaEventElapsedTime(began, ended)) > 0


def test_a_stream_waits_for_an_event_of_another(rt, stream, block, keep_busy):
    other, there = open_stream(), pinned(256)
    keep_busy(stream)
    copy(block, pinned(256, 7), 256, stream)
    event = finished(rt, stream)
    checked(rt.cudaStreamWaitEvent(other, event, 0))
    checked(rt.cudaEventDestroy(event))  # its work is still waited for
    copy(there, block, 256, other)
    assert not is_done(rt, stream)
    checked(rt.cudaStreamSynchronize(other))
    assert is_done(rt, stream) and (there == 7).all()


def test_a_non_blocking_stream_does_not_wait_for_the_default_one(rt, stream, block, keep_busy):
    there = pinned(256)
    keep_busy(rt.cudaStreamLegacy)
    copy(block, pinned(256, 7), 256, stream)
    copy(there, block, 256, stream)
    checked(rt.cudaStreamSynchronize(stream))
    seen = is_done(rt, rt.cudaStreamLegacy), int(there[0])
    event = finished(rt, rt.cudaStreamLegacy)
    checked(rt.cudaStreamWaitEvent(stream, event, 0))
    checked(rt.cudaStreamSynchronize(stream))
    assert seen == (False, 7) and is_done(rt, rt.cudaStreamLegacy)


@pytest.fixture
def another_context(rt):
    """Memory and a stream in a context beside the primary one, which is current again."""
    from cuda.bindings import driver

    context = checked(driver.cuCtxCreate(*(() if driver.CUDA_VERSION < 13000 else (None,)), 0, 0))
    block, stream = int(checked(driver.cuMemAlloc(256))), checked(driver.cuStreamCreate(rt.cudaStreamNonBlocking))
    checked(driver.cuCtxPopCurrent())
    yield int(context), block, stream
    checked(driver.cuCtxDestroy(context))


def test_memory_names_its_context(rt, block, another_context):
    from cuda.bindings import driver

    attribute = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT
    primary, (context, theirs, _) = int(checked(driver.cuDevicePrimaryCtxRetain(0))), another_context
    here = [block, int(pinned(256).ctypes.data)]
    assert [int(checked(driver.cuPointerGetAttribute(attribute, place))) for place in here] == [primary, primary]
    assert int(checked(driver.cuPointerGetAttribute(attribute, theirs))) == context != primary
    assert int(driver.cuPointerGetAttribute(attribute, 4096)[0]) != 0  # no memory


def test_an_event_is_not_recorded_in_another_context(rt, another_context):
    event = checked(rt.cudaEventCreateWithFlags(rt.cudaEventDefault))
    assert int(rt.cudaEventRecord(event, int(another_context[2]))[0]) != 0
    checked(rt.cudaEventDestroy(event))


def test_captured_work_runs_when_its_graph_is_launched(rt, stream, block):
    here, there = pinned(256, 7), pinned(256)

    def enqueue() -> None:
        copy(block, here, 256, stream)
        copy(there, block, 256, stream)

    graph = capture(stream, enqueue)
    checked(rt.cudaStreamSynchronize(stream))
    seen = [int(there[0])]
    for value in (7, 8):
        here[:] = value
        checked(rt.cudaGraphLaunch(graph, stream))
        checked(rt.cudaStreamSynchronize(stream))
        seen.append(int(there[0]))
    assert seen == [0, 7, 8]


def begin(rt, stream) -> None:
    checked(rt.cudaStreamBeginCapture(stream, rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))


@pytest.mark.parametrize("name", ["cudaMalloc", "cudaFree"])
def test_a_capture_survives_no_allocation(rt, stream, name):
    argument = 256 if name == "cudaMalloc" else checked(rt.cudaMalloc(256))
    begin(rt, stream)
    error = getattr(rt, name)(argument)[0]
    assert int(error) != 0 and int(rt.cudaStreamEndCapture(stream)[0]) != 0


def test_a_capture_survives_no_wait(rt, stream):
    begin(rt, stream)
    (error,) = rt.cudaStreamSynchronize(stream)
    assert int(error) != 0 and int(rt.cudaStreamEndCapture(stream)[0]) != 0


def test_a_spoilt_capture_gives_no_graph_and_leaves_the_stream_usable(rt, stream, block):
    begin(rt, stream)
    rt.cudaStreamSynchronize(stream)
    error, graph = rt.cudaStreamEndCapture(stream)
    assert error == rt.cudaError_t.cudaErrorStreamCaptureInvalidated and not (graph and int(graph))
    rt.cudaGetLastError()
    there = pinned(256)
    copy(block, pinned(256, 7), 256, stream)
    copy(there, block, 256, stream)
    checked(rt.cudaStreamSynchronize(stream))
    assert (there == 7).all()


def test_an_instantiated_graph_needs_no_template(rt, stream, block):
    there = pinned(256)
    copy(block, pinned(256, 7), 256, stream)
    begin(rt, stream)
    copy(there, block, 256, stream)
    template = checked(rt.cudaStreamEndCapture(stream))
    graph = checked(rt.cudaGraphInstantiate(template, 0))
    checked(rt.cudaGraphDestroy(template))
    checked(rt.cudaGraphLaunch(graph, stream))
    checked(rt.cudaStreamSynchronize(stream))
    assert (there == 7).all()
