"""A stand-in for TensorRT that computes with ONNX Runtime, over the stand-in for CUDA beside it.

It has the shape of one version, by the environment's FAKE_TENSORRT (8.6, 10.3, 10.16, 11.4; rtx-1.4 or rtx-1.7 of TensorRT for
RTX) or by `become`: what that version's bindings lack (api/*.json) is absent here. Everything that is called or read is noted
in CALLS, which the contract tests hold against the real bindings. A plan is a header and an ONNX file. FAULTS plants what real
versions do wrong. What it takes for true of TensorRT stands in ../gpu_beliefs.py, by name.

More than 250 lines: one module of TensorRT, whose classes know each other.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from cuda.bindings import runtime as fake_cuda
from gpu_beliefs import enacts, forbid

API = Path(__file__).with_name("api")
KINDS = {"tensor(uint8)": "UINT8", "tensor(int32)": "INT32", "tensor(float)": "FLOAT"}
NUMPY = {"UINT8": np.uint8, "INT32": np.int32, "FLOAT": np.float32}
SCRATCH_BYTES = 4096  # for each image of a batch
TAG = b"ftrt"

# class, name, arguments without self (None: no call), names of keyword arguments
Call = tuple[str, str, "int | None", tuple[str, ...]]
CALLS: set[Call] = set()
COMPILED: list[str] = []  # by TensorRT for RTX, in this process
FAULTS: set[str] = set(filter(None, os.environ.get("FAKE_TENSORRT_FAULTS", "").split(",")))
VERSION: dict[str, Any] = {}


def is_rtx() -> bool:
    return "IRuntimeConfig" in VERSION["classes"] and "ComputeCapability" in VERSION["enums"]


def has_fault(name: str, stage: str = "") -> bool:
    return name in FAULTS or f"{name}:{stage}" in FAULTS


@enacts("API of a version")
class Noted:
    """An object of TensorRT: only what this version's class has can be read, called or set, and is noted."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        kind = type(self)._api()
        attributes = VERSION["classes"].get(kind, {})
        if name not in attributes:
            raise AttributeError(f"'{kind}' object of TensorRT {VERSION['version']} has no attribute '{name}'")
        value = object.__getattribute__(self, name)
        if not callable(value):
            CALLS.add((kind, name, None, ()))
            return value

        def noted(*arguments: Any, **named: Any) -> Any:
            CALLS.add((kind, name, len(arguments), tuple(sorted(named))))
            return value(*arguments, **named)

        return noted

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            kind = type(self)._api()
            if name not in VERSION["classes"].get(kind, {}):
                raise AttributeError(f"'{kind}' object of TensorRT {VERSION['version']} has no attribute '{name}'")
            CALLS.add((kind, name, None, ()))
        object.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        return list(VERSION["classes"].get(type(self)._api(), ()))

    @classmethod
    def _api(cls) -> str:
        """The name of the TensorRT class that this is, or that a subclass of the project's derives from."""
        return next(base.__name__ for base in cls.__mro__ if base.__module__ == __name__)


class Members(type):
    """An enum whose members can be looked for with hasattr, and whose numbers are of no version."""

    def __getattr__(cls, name: str) -> Any:
        members = VERSION["enums"].get(cls.__name__, [])
        if name not in members:
            raise AttributeError(f"{cls.__name__} of TensorRT {VERSION['version']} has no member {name}")
        CALLS.add((cls.__name__, name, None, ()))
        return member(cls.__name__, name)

    def __dir__(cls) -> list[str]:
        return list(VERSION["enums"].get(cls.__name__, ()))


@enacts("enum members")
class Member:
    """As pybind11 has them: a name, and a number for who asks with int(); it equals no number and cannot be shifted by."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self._number = name, number

    def __int__(self) -> int:
        return self._number


@enacts("dims")
class Dims:
    """A shape: can be gone through and equals a tuple, but has no hash and equals no other Dims."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, sides: Any) -> None:
        self._sides = tuple(sides)

    def __len__(self) -> int:
        return len(self._sides)

    def __getitem__(self, place: int) -> int:
        return self._sides[place]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dims):
            raise TypeError("Dims equal tuples, not Dims")
        return self._sides == other


_members: dict[tuple[str, str], Any] = {}
BITS = ("EngineInvalidityDiagnostics",)  # enums whose numbers are combined


def member(kind: str, name: str) -> Any:
    if (kind, name) not in _members:
        place = len([key for key in _members if key[0] == kind])
        _members[kind, name] = Member(name, 1 << place if kind in BITS else 3 + 2 * place)
    return _members[kind, name]


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


@enacts("logger")
class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        CALLS.add(("ILogger", "__init__", 0, ()))

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def __init__(self) -> None:
        CALLS.add(("IProgressMonitor", "__init__", 0, ()))


class IProfiler:
    def __init__(self) -> None:
        CALLS.add(("IProfiler", "__init__", 0, ()))


@enacts("host memory")
class IHostMemory(bytes):
    nbytes = property(len)


@enacts("open sides")
class Tensor(Noted):
    def __init__(self, name: str, shape: tuple[int, ...] = (), dtype: str = "FLOAT") -> None:
        self._name, self._shape, self._dtype, self._fixed = name, shape, dtype, None

    @classmethod
    def _api(cls) -> str:
        return "ITensor"

    @property
    def name(self) -> str:
        return self._name

    @property
    def shape(self) -> Dims:
        return Dims(self._shape)

    @shape.setter
    def shape(self, value: tuple[int, ...]) -> None:
        self._shape = self._fixed = tuple(value)

    @property
    def dtype(self) -> Any:
        return member("DataType", self._dtype)


@enacts("layer names", "layer inputs", "layer types", "network edits")
class Layer(Noted):
    """A node of the ONNX graph, or one that was added to it: editing edits the graph."""

    def __init__(self, network: Network, node: Any, kind: str) -> None:
        self._network, self._node, self._kind, self._edits = network, node, kind, network._edits
        self._precision: Any = None

    @classmethod
    def _api(cls) -> str:
        return "ILayer"

    name = property(lambda self: self._node.name)
    type = property(lambda self: member("LayerType", self._kind))
    num_inputs = property(lambda self: len(self._node.input))
    num_outputs = property(lambda self: len(self._node.output))

    @property
    def precision(self) -> Any:
        return self._precision

    @precision.setter
    def precision(self, value: Any) -> None:
        self._precision = value
        self._edits.append(f"precision {self._node.name} {value.name}")

    def set_output_type(self, index: int, dtype: Any) -> None:
        self._edits.append(f"output {self._node.name} {dtype.name}")

    def get_input(self, index: int) -> Tensor | None:
        name = self._node.input[index]
        return Tensor(name, dtype=self._network._type_of(name))

    def get_output(self, index: int) -> Tensor:
        name = self._node.output[index]
        return Tensor(name, dtype=self._network._type_of(name))

    def set_input(self, index: int, tensor: Tensor) -> None:
        self._node.input[index] = tensor._name


class Network(Noted):
    @enacts("explicit batch", "strong typing")
    def __init__(self, flags: int) -> None:
        names = VERSION["enums"]["NetworkDefinitionCreationFlag"]
        chosen = {name for name in names if flags & 1 << int(member("NetworkDefinitionCreationFlag", name))}
        self._strong = "STRONGLY_TYPED" in chosen or "FP16" not in VERSION["enums"]["BuilderFlag"]
        self._explicit = "EXPLICIT_BATCH" in chosen or not VERSION["version"].startswith("8")
        self._content, self._model, self._inputs, self._outputs = b"", None, [], []
        self._layers: list[Layer] = []
        self._edits: list[str] = []
        self._types: dict[str, str] = {}

    @classmethod
    def _api(cls) -> str:
        return "INetworkDefinition"

    num_inputs = property(lambda self: len(self._inputs))
    num_layers = property(lambda self: len(self._layers))

    def get_input(self, index: int) -> Tensor:
        return self._inputs[index]

    def get_layer(self, index: int) -> Layer:
        return self._layers[index]

    def add_activation(self, input: Tensor, type: Any) -> Layer:
        return self._add("Relu", input, "ACTIVATION")

    def add_cast(self, input: Tensor, to_type: Any) -> Layer:
        if to_type.name == "BF16":  # ONNX Runtime has no BF16 products: what was rounded to it is multiplied in FP32
            rounded = self._add("Cast", input, "CAST", to=16)
            widened = self._add("Cast", rounded.get_output(0), "CAST", to=1)
            self._types[widened._node.output[0]] = "BF16"
            self._edits[-1] = "Cast BF16"
            return widened
        layer = self._add("Cast", input, "CAST", to={"FLOAT": 1, "HALF": 10}[to_type.name])
        self._edits[-1] = f"Cast {to_type.name}"
        return layer

    def _add(self, operator: str, tensor: Tensor, kind: str, **attributes: Any) -> Layer:
        import onnx

        name = f"added.{len(self._edits)}"
        node = onnx.helper.make_node(operator, [tensor._name], [name], name=name, **attributes)
        nodes = self._model.graph.node
        nodes.append(node)
        self._edits.append(operator)
        self._types[name] = {1: "FLOAT", 10: "HALF", 16: "BF16"}.get(attributes.get("to"), self._type_of(tensor._name))
        return Layer(self, nodes[-1], kind)

    def _type_of(self, name: str) -> str:
        return self._types.get(name, "FLOAT")

    def _read(self, content: bytes) -> None:
        session = open_session(content, runs=False)
        self._content = content
        self._inputs = [
            Tensor(value.name, tuple(side if isinstance(side, int) else -1 for side in value.shape), KINDS[value.type])
            for value in session.get_inputs()
        ]
        try:
            import onnx
        except ModuleNotFoundError:  # a device without onnx: its layers cannot be edited
            return
        kinds = {"Softmax": "SOFTMAX", "MatMul": "MATRIX_MULTIPLY", "Cast": "CAST"}
        self._model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
        names = {1: "FLOAT", 10: "HALF", 6: "INT32", 2: "UINT8"}
        for tensor in self._model.graph.initializer:
            self._types[tensor.name] = names.get(tensor.data_type, "FLOAT")
        for value in self._model.graph.value_info:
            self._types[value.name] = names.get(value.type.tensor_type.elem_type, "FLOAT")
        self._layers = [Layer(self, node, kinds.get(node.op_type, "ELEMENTWISE")) for node in self._model.graph.node]

    def _count(self, part: str, kind: str) -> int:
        """Nodes of the blocks of that kind, and with that in their name."""
        named = [layer for layer in self._layers if layer._node.name.startswith("blocks.") and part in layer._node.name]
        return sum(layer._kind == kind for layer in named)

    def _written(self) -> bytes:
        if self._model is None or not any(edit.split()[0] in ("Relu", "Cast") for edit in self._edits):
            return self._content

        sort_nodes(self._model.graph)
        del self._model.graph.value_info[:]  # the types that the edits changed
        return bytes(self._model.SerializeToString())


def sort_nodes(graph: Any) -> None:
    """ONNX wants every node behind those whose outputs it reads."""
    known = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input} | {""}
    waiting, done = list(graph.node), []
    while waiting:
        later = []
        for node in waiting:
            if known.issuperset(node.input):
                done.append(node)
                known.update(node.output)
            else:
                later.append(node)
        assert len(later) < len(waiting), "the edits made a loop"
        waiting = later
    del graph.node[:]
    graph.node.extend(done)


class Profile(Noted):
    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    @classmethod
    def _api(cls) -> str:
        return "IOptimizationProfile"

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:
        self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]


@enacts("timing cache")
class TimingCache(Noted):
    def __init__(self, content: bytes) -> None:
        self._content = content

    @classmethod
    def _api(cls) -> str:
        return "ITimingCache"

    def serialize(self) -> IHostMemory:
        return IHostMemory(f"timings of {VERSION['version']}".encode())


class Config(Noted):
    @enacts("builder defaults")
    def __init__(self) -> None:
        self._flags: set[str] = {"TF32"}
        self._profiles: list[Profile] = []
        self._cache: TimingCache | None = None
        self._workspace = 0
        self._targets: list[str] = []
        for name, value in (
            ("max_aux_streams", -1), ("builder_optimization_level", 3), ("profiling_verbosity", None),
            ("progress_monitor", None), ("avg_timing_iterations", 1), ("num_compute_capabilities", 1),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @classmethod
    def _api(cls) -> str:
        return "IBuilderConfig"

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag.name)

    def get_flag(self, flag: Any) -> bool:
        return flag.name in self._flags

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        self._targets[index:] = [compute_capability.name]
        return index < self.num_compute_capabilities

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._workspace = pool_size

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self._workspace or fake_cuda.DEVICE.total_bytes

    def add_optimization_profile(self, profile: Profile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        pass

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
        return TimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        fits = cache._content in (b"", f"timings of {VERSION['version']}".encode())
        if fits:
            self._cache = cache
        return fits

    def get_timing_cache(self) -> TimingCache | None:
        return self._cache


class Builder(Noted):
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    @enacts("strong typing", "profiles are needed", "progress", "all graphs", "foreign plans", "targets")
    def build_serialized_network(self, network: Network, config: Config) -> IHostMemory | None:
        def refuse(reason: str) -> None:
            self._logger.log(Severity.ERROR, reason)

        stage = "SAC" if any(tensor._name == "row" for tensor in network._inputs) else "EE"
        reduced = config._flags & {"FP16", "INT8"}
        if network._strong and reduced:
            return refuse(f"Error Code 3: {sorted(reduced)} cannot be set in a strongly typed network")
        if any(-1 in tensor._shape for tensor in network._inputs) and not config._profiles:
            return refuse("Error Code 4: network has dynamic inputs, but no optimization profile has been defined")
        if is_rtx():
            forbid(config._cache is not None, "times of RTX")
            if len(config._targets) != config.num_compute_capabilities:
                return refuse("Error Code 3: not all compute capabilities are set")
        else:
            forbid(not config._workspace, "workspace")
        if has_fault("build", stage) or has_fault("build strong" if network._strong else "build weak", stage):
            return refuse("Error Code 10: Could not find any implementation for node {ForeignNode[blocks.0]}")
        if has_fault("die", stage):
            os.kill(os.getpid(), 9)
        if has_fault("lose fused", stage) and not network._edits and (reduced or is_half(network._content)):
            network._edits.append("loses the GPU when it runs")
        if config.progress_monitor is not None if "progress_monitor" in VERSION["classes"]["IBuilderConfig"] else False:
            monitor = config.progress_monitor
            monitor.phase_start("Building Engine", None, 2)
            goes_on = all(monitor.step_complete("Building Engine", step) for step in range(2))
            monitor.phase_finish("Building Engine")
            if not goes_on:
                return refuse("Error Code 10: the build was stopped by its progress monitor")
        self._logger.log(Severity.WARNING, "a warning of the stand-in")
        content = network._written()
        header = {
            "version": VERSION["version"],
            "stage": stage,
            "targets": config._targets,
            "strong": network._strong,
            "flags": sorted(config._flags),
            "edits": network._edits,
            "unfused": network._edits.count("Relu") == network._count(".attn.softmax", "SOFTMAX"),
            "fixed": {tensor._name: list(tensor._shape) for tensor in network._inputs},
            "profiles": [profile._shapes for profile in config._profiles],
            "reduced": bool(reduced) or (b"\x10" in content and is_half(content)),
        }
        return IHostMemory(head_of(VERSION["version"]) + json.dumps(header).encode() + b"\n" + content)


def head_of(version: str) -> bytes:
    """The first 28 bytes of a plan: tag, format 0, and the version from byte 24 on."""
    return TAG + bytes(20) + bytes([*map(int, version.split(".")), 0, 0][:4])


def is_half(content: bytes) -> bool:
    """Whether the graph computes in FP16: our typed files name their casts so."""
    return b".fp16" in content


class ParserError(Noted):
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser(Noted):
    def __init__(self, network: Network, logger: ILogger) -> None:
        self._network, self._errors = network, []

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index: int) -> ParserError:
        return ParserError(self._errors[index])

    @enacts("explicit batch", "parser errors", "layer names")
    def parse(self, model: bytes, path: str | None = None) -> bool:
        if not self._network._explicit:
            self._errors.append("the network must be created with the explicit batch flag")
            return False
        try:
            self._network._read(bytes(model))
        except Exception as reason:  # ONNX Runtime's exceptions share no base class
            self._errors.append(f"Assertion failed: {str(reason).splitlines()[0][:80]}")
            return False
        return True


@functools.cache  # a pair is loaded again for every plan that is checked behind it
def open_session(content: bytes, *, runs: bool = True) -> Any:
    """runs: whether more than its inputs and outputs is wanted, and it is worth optimising."""
    import onnxruntime as ort

    from sacvit.machine.cpu import cpu_settings

    options = ort.SessionOptions()
    if not runs:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    for key, value in cpu_settings().items():  # without VNNI, INT8 would saturate: a GPU does not
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class Runtime(Noted):
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    @enacts("engine validity")
    def get_engine_validity(self, buffer: bytes) -> tuple[Any, int]:
        planted = [name for name in VERSION["enums"]["EngineInvalidityDiagnostics"] if has_fault(f"invalid {name}")]
        head = head_of(VERSION["version"])
        if not buffer.startswith(TAG):
            planted.append("MALFORMED_ENGINE")
        elif not buffer.startswith(head):
            planted.append("VERSION_MISMATCH")
        else:
            capability = f"SM{fake_cuda.DEVICE.compute[0]}{fake_cuda.DEVICE.compute[1]}"
            if capability not in json.loads(buffer[len(head) :].partition(b"\n")[0])["targets"]:
                planted.append("UNSUPPORTED_CC")
        what = "INVALID" if planted or has_fault("invalid") else "SUBOPTIMAL" if has_fault("suboptimal") else "VALID"
        flags = sum(int(member("EngineInvalidityDiagnostics", name)) for name in planted)
        return member("EngineValidity", what), flags

    @enacts("foreign plans", "logger")
    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
        head = head_of(VERSION["version"])
        if serialized_engine[: len(head)] != head:
            what = "version" if serialized_engine.startswith(TAG) else "magicTag"
            self._logger.log(Severity.ERROR, f"Error Code 1: Serialization ({what} mismatch)")
            return None
        header, _, content = serialized_engine[len(head) :].partition(b"\n")
        return Engine(json.loads(header), content, self._logger)


@enacts("boundary", "open engines", "one profile at least")
class Engine(Noted):
    def __init__(self, header: dict[str, Any], content: bytes, logger: ILogger) -> None:
        self._header, self._session, self._logger = header, open_session(content), logger
        self._inputs = {value.name: value for value in self._session.get_inputs()}
        self._values = self._inputs | {value.name: value for value in self._session.get_outputs()}

    @classmethod
    def _api(cls) -> str:
        return "ICudaEngine"

    num_io_tensors = property(lambda self: len(self._values))
    num_optimization_profiles = property(lambda self: max(1, len(self._header["profiles"])))
    device_memory_size = property(lambda self: self._memory())
    device_memory_size_v2 = property(lambda self: self._memory())

    @enacts("scratch size")
    def _memory(self) -> int:
        return max(self._memory_of(profile) for profile in self._header["profiles"] or [{}])

    def _memory_of(self, profile: dict[str, Any]) -> int:
        images = profile["image"][2][0] if profile else 1
        return SCRATCH_BYTES * (2 if self._header["stage"] == "SAC" else 1) * images

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        return self._memory_of((self._header["profiles"] or [{}])[profile_index])

    def get_tensor_name(self, index: int) -> str:
        return list(self._values)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return member("TensorIOMode", "INPUT" if name in self._inputs else "OUTPUT")

    def get_tensor_dtype(self, name: str) -> Any:
        return member("DataType", KINDS[self._values[name].type])

    def get_tensor_shape(self, name: str) -> Dims:
        if name in self._inputs:
            return Dims(self._header["fixed"][name])
        sides = self._values[name].shape
        counted = "row" if self._header["stage"] == "SAC" else "image"
        first = self._header["fixed"][counted][0]
        return Dims((first, *sides[1:]))

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        return [Dims(shape) for shape in self._header["profiles"][profile_index][name]]

    def create_engine_inspector(self) -> Inspector:
        return Inspector(self)

    def create_execution_context(self, strategy: Any = None) -> Context:
        if isinstance(strategy, RuntimeConfig):
            return Context(self, own_memory=strategy._strategy != "USER_MANAGED", config=strategy)
        return Context(self, own_memory=strategy is None or strategy.name != "USER_MANAGED")

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self._header)

    def create_execution_context_without_device_memory(self) -> Context:
        return Context(self, own_memory=False)


class RuntimeConfig(Noted):
    @enacts("compiled at run time")
    def __init__(self, header: dict[str, Any]) -> None:
        self._header, self._strategy, self._cache = header, "STATIC", None
        object.__setattr__(self, "cuda_graph_strategy", None)
        object.__setattr__(self, "dynamic_shapes_kernel_specialization_strategy", None)

    @classmethod
    def _api(cls) -> str:
        return "IRuntimeConfig"

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy.name

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self._cache = cache
        return not has_fault("cache")


@enacts("kernel cache")
class RuntimeCache(Noted):
    """Kernels by name. One that is not in it is compiled when a context first runs: COMPILED counts them."""

    def __init__(self) -> None:
        self._kernels: set[str] = set()

    @classmethod
    def _api(cls) -> str:
        return "IRuntimeCache"

    def _where(self) -> str:
        return f"{VERSION['version']} on {fake_cuda.DEVICE.name}"

    def serialize(self) -> IHostMemory:
        return IHostMemory(json.dumps([self._where(), *sorted(self._kernels)]).encode())

    def deserialize(self, blob: bytes) -> bool:
        try:
            where, *kernels = json.loads(bytes(blob))
        except ValueError:
            return False
        if where == self._where():
            self._kernels |= set(kernels)
        return bool(where == self._where())


class Inspector(Noted):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def _api(cls) -> str:
        return "EngineInspector"

    @enacts("inspector", "unfused attention")
    def get_engine_information(self, format: Any) -> str:
        header = self._engine._header
        is_fused = header["reduced"] and not {*header["edits"]} - {"Cast", "Cast BF16", "Cast HALF"}
        return json.dumps(
            {"Layers": [{"Name": "_gemm_mha_v2_myl0_3"}, "a plain name"] if is_fused else ["a plain name"]}
        )


@enacts("shared profiles")
class Context(Noted):
    def __init__(self, engine: Engine, own_memory: bool, config: RuntimeConfig | None = None) -> None:
        self._engine, self._own_memory, self._config = engine, own_memory, config
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._profile = None if len(engine._header["profiles"]) > 1 else 0
        self._scratch: tuple[int, int] | None = None
        self._frozen = self._warm = False
        self._profiler: Any = None

    @classmethod
    def _api(cls) -> str:
        return "IExecutionContext"

    @property
    def profiler(self) -> Any:
        return self._profiler

    @profiler.setter
    def profiler(self, value: Any) -> None:
        self._thaw()
        self._profiler = value

    @property
    def device_memory(self) -> int:
        return self._scratch[0] if self._scratch else 0

    @device_memory.setter
    def device_memory(self, address: int) -> None:
        self._set_scratch(address, self._engine._memory())

    def set_device_memory(self, memory: int, size: int) -> None:
        forbid(size < self._engine._memory(), "scratch block")
        self._set_scratch(memory, self._engine._memory())

    def _set_scratch(self, address: int, size: int) -> None:
        self._thaw()
        is_block = address % 256 == 0 and fake_cuda.DEVICE.kind_of((address, size)) == "device"
        forbid(not is_block, "scratch block")
        self._scratch = address, size

    @property
    def active_optimization_profile(self) -> int:
        return self._profile or 0

    @enacts("profile switch")
    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._thaw()
        fake_cuda.DEVICE.stream(stream_handle)
        if profile_index >= max(1, len(self._engine._header["profiles"])):
            raise RuntimeError("Error in set optimization profile async.")
        self._profile = profile_index
        return True

    @enacts("shapes of a profile")
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._thaw()
        allowed = self._engine._header["profiles"][self._profile][name]
        self._shapes[name] = tuple(shape)
        return all(low <= side <= high for low, side, high in zip(allowed[0], shape, allowed[2], strict=True))

    @enacts("tensor names")
    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._thaw()
        if name in self._engine._values:
            self._addresses[name] = memory
        return name in self._engine._values

    def _thaw(self) -> None:
        forbid(self._frozen, "frozen contexts")

    @enacts("answers", "complete bindings", "profiler", "scratch of the caller", "last error")
    def execute_async_v3(self, stream_handle: int) -> bool:
        engine, header = self._engine, self._engine._header
        forbid(not stream_handle, "default stream in TensorRT")
        forbid(self._profile is None, "first profile")
        device = fake_cuda.DEVICE
        if not self._own_memory and self._scratch is None:
            self._log("Error Code 3: the context has no device memory")
            return False
        if device.last_error != fake_cuda.OK:
            self._log("Error Code 1: Cuda Runtime (operation failed due to a previous error during capture)")
            return False
        if self._config is not None:
            self._compile(device.is_capturing(stream_handle))
        if device.is_capturing(stream_handle):
            if has_fault("capture", header["stage"]):
                self._log("Error Code 1: CUDA graph capture is not allowed here")
                return False
            forbid(not self._warm, "first pass")
            self._frozen = True
        self._warm = True
        shapes = {name: self._shapes.get(name, tuple(header["fixed"][name])) for name in engine._inputs}
        if any(-1 in shape for shape in shapes.values()) or set(self._addresses) != set(engine._values):
            self._log("Error Code 3: not all shapes and addresses are set")
            return False
        count = shapes["row" if header["stage"] == "SAC" else "image"][0]
        outputs = {
            name: (count, *value.shape[1:]) for name, value in engine._values.items() if name not in engine._inputs
        }
        addresses = dict(self._addresses)

        def spans(of: dict[str, tuple[int, ...]]) -> tuple[tuple[int, int], ...]:
            return tuple((addresses[name], nbytes(engine._values[name], shape)) for name, shape in of.items())

        def run() -> None:
            feeds = {name: view(addresses[name], engine._values[name], shape).copy() for name, shape in shapes.items()}
            for name, value in zip(outputs, engine._session.run(list(outputs), feeds), strict=True):
                view(addresses[name], engine._values[name], outputs[name])[...] = spoiled(header, name, value)
            if self._profiler is not None:
                for layer in ("attention", "mlp", "head"):
                    self._profiler.report_layer_time(layer, 0.25)

        if "loses the GPU when it runs" in header["edits"]:
            device.lost = True
        work = fake_cuda.Work(run, spans(shapes), spans(outputs), self._scratch)
        if device.enqueue(stream_handle, work) != 0:
            self._log("Error Code 1: Cuda Runtime (an illegal memory access was encountered)")
            return False
        return True

    def _compile(self, is_capturing: bool) -> None:
        """What TensorRT for RTX does at a context's first pass."""
        config, header = self._config, self._engine._header
        strategy = config.dynamic_shapes_kernel_specialization_strategy
        forbid(is_capturing and header["profiles"] != [] and strategy.name != "EAGER", "lazy kernels")
        forbid(is_capturing and config.cuda_graph_strategy.name != "DISABLED", "graph inside a graph")
        kernel = f"{header['stage']} {self._profile} {sorted(self._shapes.items())}"
        if config._cache is not None and kernel not in config._cache._kernels:
            config._cache._kernels.add(kernel)
            COMPILED.append(kernel)

    def _log(self, text: str) -> None:
        self._engine._logger.log(Severity.ERROR, text)


def nbytes(value: Any, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) * np.dtype(NUMPY[KINDS[value.type]]).itemsize


def view(address: int, value: Any, shape: tuple[int, ...]) -> Any:
    import ctypes

    raw = (ctypes.c_uint8 * nbytes(value, shape)).from_address(address)
    return np.frombuffer(raw, NUMPY[KINDS[value.type]]).reshape(shape)


def spoiled(header: dict[str, Any], name: str, value: Any) -> Any:
    """What a plan with a planted fault computes: other logits, or none."""
    stage = header["stage"]
    edits = header["edits"]
    is_wrong = (
        (has_fault("strong", stage) and header["strong"] and header["reduced"])
        or (has_fault("weak", stage) and not header["strong"] and header["reduced"])
        or (has_fault("fused", stage) and header["reduced"] and not header["unfused"])
        or (has_fault("attention", stage) and header["reduced"] and "Cast FLOAT" not in edits
            and not any(edit.startswith("precision") for edit in edits))
        or (has_fault("overflow", stage) and header["reduced"] and not edits)
        or (has_fault("reduced", stage) and header["reduced"])
        or has_fault("always", stage)
        or (has_fault("single", stage) and value.shape[0] == 1 and header["reduced"])
    )  # fmt: skip
    if has_fault("nan", stage) and name in ("logits", "confidence"):
        return np.full_like(value, np.nan)
    if is_wrong and name == "logits":
        return value + 3 * np.sin(np.arange(value.size, dtype=np.float32)).reshape(value.shape)
    return value


_PUBLIC = {
    name: value
    for name, value in list(globals().items())
    if name in ("Builder", "OnnxParser", "Runtime", "ILogger", "IProgressMonitor", "IProfiler")
}
_ENUMS = (
    "ActivationType", "BuilderFlag", "ComputeCapability", "CudaGraphStrategy", "DataType",
    "DynamicShapesKernelSpecializationStrategy", "EngineInvalidityDiagnostics", "EngineValidity",
    "ExecutionContextAllocationStrategy", "LayerInformationFormat", "LayerType", "MemoryPoolType",
    "NetworkDefinitionCreationFlag", "PreviewFeature", "ProfilingVerbosity", "TensorIOMode",
)  # fmt: skip
__version__ = ""


def become(version: str, *faults: str) -> None:
    """Takes the shape of another version, with these faults; forgets what was noted."""
    global __version__
    VERSION.clear()
    VERSION.update(json.loads((API / f"{version}.json").read_text()))
    FAULTS.clear()
    FAULTS.update(faults)
    CALLS.clear()
    here = globals()
    __version__ = VERSION["version"]
    for name in (*_PUBLIC, *_ENUMS):
        here.pop(name, None)
    for name, value in _PUBLIC.items():
        if name in VERSION["classes"]:
            here[name] = value
    for name in _ENUMS:
        if name in VERSION["enums"]:
            here[name] = Members(name, (), {})


def keep_notes(path: str) -> None:
    """Writes what this process called and read, when it ends: for the contract of a test that starts another process."""
    Path(path).write_text(json.dumps(sorted(CALLS, key=str)))


if "FAKE_TENSORRT_NOTES" in os.environ:
    atexit.register(keep_notes, os.environ["FAKE_TENSORRT_NOTES"])
_planted = tuple(FAULTS)
become(os.environ.get("FAKE_TENSORRT", "10.3"), *_planted)
