"""What the stand-ins for CUDA and TensorRT take for true without a GPU, each with its source and the test that asks a real one.

The stand-ins refer to a belief by its name: `enacts` where they behave as it says, `forbid` where they are stricter than a GPU
and refuse what leads to trouble there. A twin is a test of tests/gpu; make gpu-test runs it on a real GPU, and
tests/bindings/test_dry_run.py runs it here, so that both give the same answer. Planted faults (FAULTS, capture_fails) are no
beliefs: nothing but a test that plants one rests on it.

More than 250 lines: one list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
BINDINGS = "docstring in the Python bindings of TensorRT 10.3: "
TRT_GITHUB = "https://github.com/NVIDIA/TensorRT"
CUDART = "https://docs.nvidia.com/cuda/cuda-runtime-api/"
MEMORY, STREAM, EVENT = (f"{CUDART}group__CUDART__{group}.html: " for group in ("MEMORY", "STREAM", "EVENT"))
ERROR, DEVICE, GRAPH = (f"{CUDART}group__CUDART__{group}.html: " for group in ("ERROR", "DEVICE", "GRAPH"))
GUIDE = "CUDA C++ Programming Guide, https://docs.nvidia.com/cuda/cuda-c-programming-guide/: "
RTX_DOCS = "https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/"
TRT_DOCS = "https://docs.nvidia.com/deeplearning/tensorrt/latest/"


class Forbidden(AssertionError):
    """The stand-in refuses what a GPU may allow and then do badly."""


@dataclass(frozen=True)
class Belief:
    """twin: the test in tests/gpu that asks a real GPU."""

    name: str
    says: str
    source: str
    twin: str


_CUDA = (
    Belief(
        "error first",
        "Every call returns a tuple that begins with its error, and None for each value when it failed. Texts are bytes.",
        "seen in cuda-bindings 12.9 and 13.5 without a driver: cudaMalloc gives (cudaErrorInsufficientDriver, None)",
        "test_a_failed_call_returns_its_error_and_none",
    ),
    Belief(
        "hidden GPU",
        "With CUDA_VISIBLE_DEVICES=-1 no GPU is counted, and the count comes with an error.",
        f"{GUIDE}CUDA Environment Variables",
        "test_a_hidden_gpu_is_no_gpu",
    ),
    Belief(
        "device properties",
        "Name, compute capability, multiprocessors, integrated and memory of the GPU can be read; its name is bytes.",
        f"{DEVICE}cudaGetDeviceProperties; the bindings, in tests/bindings/test_cuda_bindings.py",
        "test_the_properties_of_the_gpu_can_be_read",
    ),
    Belief(
        "driver version",
        "The driver's version is 1000 times the major and 10 times the minor of the newest CUDA that it supports.",
        f"{CUDART}group__CUDART____VERSION.html: cudaDriverGetVersion",
        "test_the_driver_names_the_newest_cuda_as_a_number",
    ),
    Belief(
        "out of memory",
        "An allocation of more than is free fails with cudaErrorMemoryAllocation, and later calls still work.",
        f"{MEMORY}cudaMalloc",
        "test_an_allocation_beyond_the_memory_fails_and_harms_nothing",
    ),
    Belief(
        "last error",
        "A failed call leaves its error for cudaGetLastError, which returns it once. The stand-in's TensorRT does not run"
        " until that was done, as trtexec does it after a failed capture.",
        f"{ERROR}cudaGetLastError; {TRT_GITHUB}/blob/main/samples/common/sampleInference.cpp",
        "test_an_error_stays_until_it_is_asked_for",
    ),
    Belief(
        "uncleared memory",
        "Fresh memory is not cleared.",
        f"{MEMORY}cudaMalloc: 'The memory is not cleared.'",
        "test_fresh_memory_is_not_cleared",
    ),
    Belief(
        "256-byte blocks",
        "Device and pinned blocks begin at a multiple of 256 bytes.",
        f"{GUIDE}Device Memory Accesses, 'aligned to at least 256 bytes'; pinned memory comes in pages",
        "test_blocks_begin_at_256_bytes",
    ),
    Belief(
        "freed memory",
        "Freed memory is nobody's: freeing it again fails, and work over it is undefined, which the stand-in forbids.",
        f"{MEMORY}cudaFree: 'If cudaFree(devPtr) has already been called before, an error is returned.'",
        "test_freed_memory_is_unknown_to_cuda",
    ),
    Belief(
        "mapped pinned memory",
        "Pinned memory that was allocated as mapped has an address for the GPU; other host memory has none.",
        f"{MEMORY}cudaHostAlloc, cudaHostGetDevicePointer",
        "test_only_mapped_pinned_memory_has_an_address_on_the_gpu",
    ),
    Belief(
        "integrated memory",
        "On an integrated GPU pinned memory is taken from the memory that cudaMemGetInfo counts.",
        "CUDA for Tegra, https://docs.nvidia.com/cuda/cuda-for-tegra-appnote/: one memory for processor and GPU",
        "test_pinned_memory_of_an_integrated_gpu_counts",
    ),
    Belief(
        "pinned memory in kernels",
        "A kernel may work on mapped pinned memory. Beside a discrete GPU every access crosses the bus, which the stand-in"
        " forbids.",
        f"{GUIDE}Mapped Memory",
        "test_an_engine_may_write_into_pinned_memory",
    ),
    Belief(
        "unified addressing",
        "A copy of the kind cudaMemcpyDefault sees from the two addresses which way it goes.",
        f"{MEMORY}cudaMemcpyAsync, cudaMemcpyDefault",
        "test_a_copy_finds_its_direction",
    ),
    Belief(
        "pageable copies",
        "A copy from or to host memory that is not pinned may hold up its caller, so that the stand-in forbids it.",
        f"{CUDART}api-sync-behavior.html: Memcpy, Asynchronous",
        "test_a_copy_to_pageable_memory_is_allowed",
    ),
    Belief(
        "illegal address",
        "Work over an address that is no memory ends with cudaErrorIllegalAddress, and so does every later call of the"
        " process.",
        f"{CUDART}group__CUDART__TYPES.html: cudaErrorIllegalAddress",
        "test_an_illegal_address_ends_everything_in_the_process",
    ),
    Belief(
        "asynchronous work",
        "A copy of pinned memory is enqueued: the call returns before it is done, and waiting for the stream ends it.",
        f"{CUDART}api-sync-behavior.html",
        "test_work_is_done_when_its_stream_was_waited_for_and_not_before",
    ),
    Belief(
        "order in a stream",
        "Work on one stream runs in the order in which it was enqueued.",
        f"{GUIDE}Streams",
        "test_work_on_a_stream_runs_in_order",
    ),
    Belief(
        "independent streams",
        "Non-blocking streams do not wait for each other, so that the stand-in forbids unordered work on the same memory.",
        f"{STREAM}cudaStreamCreateWithFlags, cudaStreamNonBlocking",
        "test_streams_do_not_wait_for_each_other",
    ),
    Belief(
        "stream handles",
        "A stream is known by an integer, which other libraries take and give; an unknown one is a defect of the caller.",
        f"{BINDINGS}IExecutionContext.execute_async_v3 takes stream_handle: int",
        "test_a_stream_is_known_by_its_integer",
    ),
    Belief(
        "destroyed streams",
        "Work that is pending on a stream when it is destroyed is still done.",
        f"{STREAM}cudaStreamDestroy",
        "test_work_of_a_destroyed_stream_is_done",
    ),
    Belief(
        "events",
        "Waiting for an event ends all work that was on its stream when it was recorded; between two of them there is a time.",
        f"{EVENT}cudaEventSynchronize, cudaEventElapsedTime",
        "test_an_event_ends_what_came_before_it",
    ),
    Belief(
        "waiting for an event",
        "A stream can be made to wait for an event of another one; its later work comes after that, and the host goes on.",
        f"{STREAM}cudaStreamWaitEvent",
        "test_a_stream_waits_for_an_event_of_another",
    ),
    Belief(
        "default stream",
        "A non-blocking stream does not wait for the default stream, whose handle is 1, unless by an event.",
        f"{CUDART}stream-sync-behavior.html; {STREAM}cudaStreamNonBlocking; cudaStreamLegacy in the bindings",
        "test_a_non_blocking_stream_does_not_wait_for_the_default_one",
    ),
    Belief(
        "context of memory",
        "CUDA names the context that memory was allocated in: the primary one for the runtime's memory. Others have address"
        " spaces of their own, so that the stand-in forbids to mix them.",
        "https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__UNIFIED.html: cuPointerGetAttribute;"
        f" {GUIDE}Driver API, Context",
        "test_memory_names_its_context",
    ),
    Belief(
        "events of a context",
        "An event cannot be recorded on a stream of another context, so that work there cannot be waited for.",
        f"{EVENT}cudaEventRecord: 'event and stream must be on the same CUDA context'",
        "test_an_event_is_not_recorded_in_another_context",
    ),
    Belief(
        "capture",
        "Work that is captured does not run; each launch of its graph runs it once, in order with the stream's other work.",
        f"{STREAM}cudaStreamBeginCapture",
        "test_captured_work_runs_when_its_graph_is_launched",
    ),
    Belief(
        "memory in a capture",
        "Allocating or freeing memory in the thread that captures fails and spoils the capture.",
        f"{STREAM}cudaThreadExchangeStreamCaptureMode: potentially unsafe calls, such as cudaMalloc",
        "test_a_capture_survives_no_allocation",
    ),
    Belief(
        "waiting in a capture",
        "Waiting for a stream that captures fails and spoils the capture.",
        f"{GUIDE}CUDA Graphs, Prohibited and Unhandled Operations",
        "test_a_capture_survives_no_wait",
    ),
    Belief(
        "spoilt captures",
        "The end of a spoilt capture is an error and no graph; the stream can be used afterwards.",
        f"{GUIDE}CUDA Graphs, Invalidation; {STREAM}cudaStreamEndCapture",
        "test_a_spoilt_capture_gives_no_graph_and_leaves_the_stream_usable",
    ),
    Belief(
        "instantiated graphs",
        "An instantiated graph does not need the graph that it was made from.",
        f"{GRAPH}cudaGraphInstantiate, cudaGraphDestroy",
        "test_an_instantiated_graph_needs_no_template",
    ),
)

_BUILDING = (
    Belief(
        "API of a version",
        "A version has the classes, attributes, enum members and signatures that its Python bindings show.",
        "the bindings of 8.6, 10.3, 10.16 and 11.4: tests/fake_gpu/tensorrt/api, tests/bindings/test_bindings.py",
        "test_this_tensorrt_has_the_stored_names",
    ),
    Belief(
        "enum members",
        "An enum member has a name, is turned into a number by int(), equals no number and cannot be shifted by.",
        "seen in the bindings of 10.3 and 11.4",
        "test_enum_members_are_no_numbers",
    ),
    Belief(
        "dims",
        "A shape equals a tuple and can be gone through; it has no hash, and comparing two of them is a TypeError.",
        "seen in the bindings of 10.3 and 11.4",
        "test_a_shape_equals_a_tuple_only",
    ),
    Belief(
        "logger",
        "What goes wrong is written into the logger before None or False comes back.",
        f"{BINDINGS}ILogger, Runtime.deserialize_cuda_engine",
        "test_a_refusal_is_written_into_the_logger",
    ),
    Belief(
        "host memory",
        "A built plan and a serialized cache offer their bytes through the buffer protocol.",
        f"{BINDINGS}IHostMemory",
        "test_a_plan_offers_its_bytes",
    ),
    Belief(
        "explicit batch",
        "8.6 parses ONNX only into a network with the flag EXPLICIT_BATCH; from 10 on every network has it.",
        f"{BINDINGS}NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
        "test_only_8_asks_for_explicit_batch",
    ),
    Belief(
        "parser errors",
        "A file that the parser does not take gives False and at least one error with a description.",
        f"{BINDINGS}OnnxParser.parse, OnnxParser.get_error",
        "test_the_parser_describes_what_it_does_not_take",
    ),
    Belief(
        "open sides",
        "A symbolic side of an input is -1 after parsing, and its shape can be set to a fixed one.",
        f"{BINDINGS}IOptimizationProfile; ITensor.shape",
        "test_an_open_side_is_minus_one_and_can_be_fixed",
    ),
    Belief(
        "layer names",
        "Layers carry the names of their ONNX nodes, and a softmax or a matrix product has the type of that name.",
        "onnx/onnx-tensorrt, https://github.com/onnx/onnx-tensorrt: registerLayer names a layer by its node",
        "test_attention_is_found_by_the_names_of_its_nodes",
    ),
    Belief(
        "layer inputs",
        "A layer gives each of its inputs as a tensor, or None.",
        f"{BINDINGS}ILayer.get_input",
        "test_every_input_of_a_layer_is_a_tensor_or_none",
    ),
    Belief(
        "network edits",
        "After parsing, layers can be added and inputs of others turned to them.",
        f"{BINDINGS}INetworkDefinition.add_activation, ILayer.set_input",
        "test_edited_attention_answers_as_before",
    ),
    Belief(
        "unfused attention",
        "With a ReLU behind each softmax the inspector shows no fused attention.",
        "reasoned from the shape of the fusion, https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/"
        "transformers-fused-attention.html",
        "test_a_relu_behind_each_softmax_stops_the_fusion",
    ),
    Belief(
        "layer types",
        "Where a version has the flag FP16, a layer's precision and output type can be set.",
        f"{BINDINGS}ILayer.precision, ILayer.set_output_type",
        "test_a_layer_can_be_kept_in_fp32_by_flags",
    ),
    Belief(
        "strong typing",
        "Precision flags and strong typing exclude each other: such a build gives None.",
        f"{BINDINGS}NetworkDefinitionCreationFlag.STRONGLY_TYPED; {TRT_GITHUB}, .agents/skills/trt-strong-typing-migration",
        "test_a_strongly_typed_network_takes_no_precision_flag",
    ),
    Belief(
        "profiles are needed",
        "A network with open sides is not built without an optimization profile.",
        f"{BINDINGS}IOptimizationProfile: 'users need to specify at least one optimization profile'",
        "test_open_sides_are_not_built_without_a_profile",
    ),
    Belief(
        "workspace",
        "Without a limit the workspace may take all device memory, so that the stand-in forbids to build without one.",
        f"{BINDINGS}MemoryPoolType.WORKSPACE: 'This defaults to max device memory.'",
        "test_the_workspace_is_the_whole_memory_unless_it_is_limited",
    ),
    Belief(
        "builder defaults",
        "TF32 is on, the optimization level is 3 and timings are averaged over 1 iteration unless something else is set.",
        f"{BINDINGS}BuilderFlag.TF32, IBuilderConfig",
        "test_the_builder_starts_with_the_documented_settings",
    ),
    Belief(
        "progress",
        "A progress monitor hears of phases and steps; a build ends with None when it answers a step with False.",
        f"{BINDINGS}IProgressMonitor",
        "test_a_monitor_hears_of_every_phase_and_can_stop_the_build",
    ),
    Belief(
        "timing cache",
        "A cache that a build filled is taken again; bytes that are none are refused.",
        f"{BINDINGS}IBuilderConfig.create_timing_cache, IBuilderConfig.set_timing_cache",
        "test_a_timing_cache_is_taken_again_and_garbage_is_not",
    ),
    Belief(
        "all graphs",
        "Every graph of a bundle is parsed and built in its precision.",
        "onnx/onnx-tensorrt, docs/operators.md; export/plans/tensorrt_support.json",
        "test_the_first_rung_of_the_ladder_holds",
    ),
)

_RUNNING = (
    Belief(
        "foreign plans",
        "A plan begins with the tag ftrt and holds its version at byte 24; of another version, or without the tag, it is not"
        " loaded and None comes back.",
        f"{TRT_GITHUB}/blob/main/samples/common/sampleEngines.cpp: the version in a plan",
        "test_a_plan_of_another_version_is_not_loaded",
    ),
    Belief(
        "boundary",
        "An engine has the inputs and outputs of its graph with their names, modes and types.",
        f"{BINDINGS}ICudaEngine",
        "test_an_engine_has_the_boundary_of_its_graph",
    ),
    Belief(
        "open engines",
        "An engine with profiles shows -1 for the sides that they leave open, and each profile's shapes.",
        f"{BINDINGS}ICudaEngine.get_tensor_profile_shape",
        "test_an_engine_with_profiles_shows_their_shapes",
    ),
    Belief(
        "one profile at least",
        "An engine with fixed shapes has one optimization profile.",
        f"{BINDINGS}IOptimizationProfile: 'the default optimization profile will be generated automatically'",
        "test_an_engine_of_fixed_shapes_has_one_profile",
    ),
    Belief(
        "scratch size",
        "An engine names the scratch memory of its largest profile.",
        f"{BINDINGS}ICudaEngine.get_device_memory_size_for_profile_v2",
        "test_the_scratch_size_covers_every_profile",
    ),
    Belief(
        "scratch of the caller",
        "A context that was made without memory does not run before it was given some.",
        f"{BINDINGS}ExecutionContextAllocationStrategy.USER_MANAGED",
        "test_a_context_without_scratch_does_not_run",
    ),
    Belief(
        "scratch block",
        "Scratch memory of the named size at any multiple of 256 bytes will do; less, or askew, is forbidden here.",
        f"{BINDINGS}IExecutionContext.set_device_memory: '256-byte aligned device memory'",
        "test_a_context_runs_in_scratch_of_the_named_size_at_256_bytes",
    ),
    Belief(
        "shared scratch",
        "Contexts of several engines may use one block in turns; at once it is undefined, which the stand-in forbids.",
        f"{TRT_GITHUB}/issues/3276; {BINDINGS}IExecutionContext.device_memory",
        "test_two_engines_work_in_one_block_in_turns",
    ),
    Belief(
        "frozen contexts",
        "A captured graph keeps the addresses of its capture: changing the context afterwards does not reach it, which the"
        " stand-in forbids.",
        f"{GUIDE}CUDA Graphs: a node keeps its parameters until the graph is updated",
        "test_a_captured_graph_does_not_follow_its_context",
    ),
    Belief(
        "profile switch",
        "A profile is chosen by its index; an index beyond them raises RuntimeError.",
        f"{TRT_GITHUB}/blob/main/python/src/infer/pyCore.cpp: context_set_optimization_profile_async",
        "test_a_profile_is_chosen_by_its_index",
    ),
    Belief(
        "first profile",
        "The first context starts with profile 0. Later ones differ between versions, so that the stand-in forbids to run"
        " before one was chosen.",
        f"{BINDINGS}IExecutionContext.active_optimization_profile: 'Profile 0 is selected by default.'",
        "test_the_first_context_starts_with_profile_0",
    ),
    Belief(
        "shared profiles",
        "Two contexts of an engine may use the same profile.",
        f"{BINDINGS}PreviewFeature.PROFILE_SHARING_0806",
        "test_two_contexts_share_a_profile",
    ),
    Belief(
        "shapes of a profile",
        "A shape outside the profile is answered with False.",
        f"{BINDINGS}IExecutionContext.set_input_shape, IOptimizationProfile",
        "test_a_shape_outside_the_profile_is_refused",
    ),
    Belief(
        "tensor names",
        "An address for a name that the engine does not have is answered with False.",
        f"{BINDINGS}IExecutionContext.set_tensor_address",
        "test_an_address_for_an_unknown_name_is_refused",
    ),
    Belief(
        "complete bindings",
        "A pass with a tensor that has no address is answered with False.",
        f"{TRT_DOCS}_static/python-api/infer/Core/ExecutionContext.html",
        "test_a_pass_without_all_addresses_is_refused",
    ),
    Belief(
        "default stream in TensorRT",
        "On the default stream a pass runs, with waits for the whole GPU, which the stand-in forbids.",
        f"{BINDINGS}IExecutionContext.execute_async_v3",
        "test_a_pass_on_the_default_stream_runs",
    ),
    Belief(
        "first pass",
        "After one pass a context can be captured. The first pass initialises, so that the stand-in forbids to capture it.",
        f"{TRT_GITHUB}/blob/main/samples/common/sampleInference.cpp: one enqueue before the capture",
        "test_a_pass_can_be_captured_after_the_first_one",
    ),
    Belief(
        "profiler",
        "With a profiler, a pass that is enqueued reports the time of every layer by the time it was waited for.",
        f"{BINDINGS}IProfiler, IExecutionContext.enqueue_emits_profile",
        "test_a_profiler_hears_of_every_layer",
    ),
    Belief(
        "inspector",
        "The inspector's JSON lists the layers, each as an object or as a name.",
        f"{BINDINGS}EngineInspector, LayerInformationFormat",
        "test_the_inspector_lists_the_layers",
    ),
    Belief(
        "answers",
        "An FP32 plan answers as ONNX Runtime does, for every batch size of its profiles.",
        "docs/tensorrt.md, Checks and fallbacks: checked at every build on the device",
        "test_logits_are_those_of_onnx_runtime",
    ),
)

_RTX = (
    Belief(
        "targets",
        "TensorRT for RTX builds one engine for several GPUs that are named, on a machine with none of them.",
        "docs/tensorrt.md, TensorRT for RTX: built without a GPU, by 1.6 and 1.7",
        "test_an_engine_for_several_gpus_is_built_and_runs_on_this_one",
    ),
    Belief(
        "engine validity",
        "Before it is loaded an engine is valid, suboptimal or invalid here; flags, combined as bits, say why it is invalid.",
        f"{RTX_DOCS}inference-library/engine-compatibility.html; seen without a driver: (INVALID, 32) for bytes of no engine",
        "test_the_library_says_of_a_file_whether_it_fits",
    ),
    Belief(
        "compiled at run time",
        "A context that a runtime configuration made runs in scratch memory of the caller, and can be captured after a pass.",
        f"{RTX_DOCS}inference-library/work-with-cuda-graphs.html",
        "test_a_pass_is_captured_and_answers_as_onnx_runtime",
    ),
    Belief(
        "kernel cache",
        "The kernels that contexts compiled are in the cache of their configuration, which another process takes again on"
        " the same GPU and version; of anything else it takes nothing and says so.",
        f"{RTX_DOCS}inference-library/work-with-runtime-cache.html; docstring of IRuntimeCache.deserialize in 1.7",
        "test_kernels_are_kept_and_taken_by_the_next_start",
    ),
    Belief(
        "times of RTX",
        "A timing cache asks for a GPU and changes no engine, so that the stand-in forbids it.",
        f"{RTX_DOCS}inference-library/timing-cache-migration.html",
        "test_a_timing_cache_is_taken_and_has_no_use",
    ),
    Belief(
        "lazy kernels",
        "With open shapes, kernels of any shape run until those of the shape are compiled. A graph that is captured meanwhile"
        " keeps the slower ones, which the stand-in forbids.",
        f"{RTX_DOCS}inference-library/work-with-cuda-graphs.html: fallback and shape-specialized kernels",
        "test_a_pass_captured_with_the_kernels_of_any_shape_answers",
    ),
    Belief(
        "graph inside a graph",
        "TensorRT for RTX can capture its pass itself. The stand-in forbids it inside a capture of ours.",
        f"{RTX_DOCS}inference-library/work-with-cuda-graphs.html: CudaGraphStrategy",
        "test_a_pass_that_makes_its_own_graph_is_captured_in_ours",
    ),
)

BELIEFS = {belief.name: belief for belief in (*_CUDA, *_BUILDING, *_RUNNING, *_RTX)}


def enacts(*names: str) -> Callable[[T], T]:
    """Marks a class or function that behaves as these beliefs say."""
    for name in names:
        BELIEFS[name]  # fails for an unknown one

    def unchanged(target: T) -> T:
        return target

    return unchanged


def forbid(broken: bool, name: str) -> None:
    """Raises Forbidden, with the belief and its source, where it is broken."""
    belief = BELIEFS[name]
    if broken:
        raise Forbidden(f"{name}: {belief.says} Source: {belief.source}")
