"""Questions about TensorRT's parser, network and builder: the beliefs of tests/fake_gpu/gpu_beliefs.py, asked of a real one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("tensorrt", reason="no TensorRT here")

import tensorrt as trt
from gpu_pass import BUNDLE, FP32, Loaded, Pass, build, open_cuda

from sacvit.bundle.manifest import read_manifest
from sacvit.export.plans.ladder import Rung, features_of, ladder
from sacvit.export.plans.trt_builder import network_flags
from sacvit.runtime.engines.tensorrt import FUSED
from sacvit.runtime.engines.tensorrt_log import open_journal

pytestmark = pytest.mark.gpu
API = Path(__file__).parents[1] / "fake_gpu" / "tensorrt" / "api"
EE = (BUNDLE / "ee.onnx").read_bytes()


class Bench:
    """A builder with the network of EE, not yet built."""

    def __init__(self, flags: int | None = None, content: bytes = EE) -> None:
        open_cuda()
        self.journal = open_journal(trt)
        self.builder = trt.Builder(self.journal)
        self.network = self.builder.create_network(network_flags(trt, FP32) if flags is None else flags)
        self.parser = trt.OnnxParser(self.network, self.journal)
        self.parsed = self.parser.parse(content)
        self.config = self.builder.create_builder_config()

    def layers(self) -> list:
        return [self.network.get_layer(index) for index in range(self.network.num_layers)]

    def build(self, *, fixed: bool = True):
        if fixed:
            image = self.network.get_input(0)
            image.shape = (1, *tuple(image.shape)[1:])
        self.config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 256 << 20)
        return self.builder.build_serialized_network(self.network, self.config)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_this_tensorrt_has_the_stored_names(bench, loaded):
    stored = {path.stem: json.loads(path.read_text()) for path in API.glob("*.json")}
    version = ".".join(trt.__version__.split(".")[:2])
    if version not in stored:
        pytest.skip(f"the names of TensorRT {version} are not stored")
    classes, enums = stored[version]["classes"], stored[version]["enums"]
    context = loaded.engine.create_execution_context()
    live = {
        "Builder": bench.builder, "INetworkDefinition": bench.network, "OnnxParser": bench.parser,
        "IBuilderConfig": bench.config, "ILayer": bench.network.get_layer(0), "ITensor": bench.network.get_input(0),
        "ITimingCache": bench.config.create_timing_cache(b""), "Runtime": loaded.runtime, "ICudaEngine": loaded.engine,
        "IExecutionContext": context, "EngineInspector": loaded.engine.create_engine_inspector(),
    }  # fmt: skip
    missing = {name: set(classes[name]) - set(dir(one)) for name, one in live.items()}
    missing |= {name: set(members) - set(dir(getattr(trt, name))) for name, members in enums.items()}
    assert {name: lacks for name, lacks in missing.items() if lacks} == {}


def test_enum_members_are_no_numbers():
    flag = trt.BuilderFlag.TF32
    assert flag.name == "TF32" and int(flag) >= 0 and flag != int(flag)
    with pytest.raises(TypeError):
        1 << flag


def test_a_shape_equals_a_tuple_only(bench):
    shape = bench.network.get_input(0).shape
    assert shape == tuple(shape) and len(shape) == 4
    with pytest.raises(TypeError):
        hash(shape)
    with pytest.raises(TypeError):
        shape == bench.network.get_input(0).shape  # noqa: B015


def test_a_refusal_is_written_into_the_logger():
    open_cuda()
    journal = open_journal(trt)
    runtime = trt.Runtime(journal)
    assert runtime.deserialize_cuda_engine(b"no plan" * 100) is None and journal.errors()


def test_a_plan_offers_its_bytes(bench):
    plan = bench.build()
    assert memoryview(plan).nbytes == plan.nbytes == len(bytes(plan)) > 0


def test_only_8_asks_for_explicit_batch():
    assert Bench(flags=0).parsed == (not trt.__version__.startswith("8."))


def test_the_parser_describes_what_it_does_not_take():
    bench = Bench(content=b"no graph")
    assert not bench.parsed and bench.parser.num_errors >= 1 and bench.parser.get_error(0).desc()


def test_an_open_side_is_minus_one_and_can_be_fixed(bench):
    image = bench.network.get_input(0)
    open_shape = tuple(image.shape)
    image.shape = (3, *open_shape[1:])
    assert open_shape == (-1, 32, 32, 3) and tuple(bench.network.get_input(0).shape) == (3, 32, 32, 3)


@pytest.mark.parametrize(
    ("kind", "names"),
    [("SOFTMAX", r"blocks\.\d+\.attn\.softmax.*"), ("MATRIX_MULTIPLY", r"blocks\.\d+\.attn\.(scores|mixed).*")],
)
def test_attention_is_found_by_the_names_of_its_nodes(bench, kind, names):
    found = [layer for layer in bench.layers() if re.fullmatch(names, layer.name)]
    of_kind = [layer for layer in found if layer.type == getattr(trt.LayerType, kind)]
    assert len(of_kind) == read_manifest(BUNDLE).model["depth"] * (1 if kind == "SOFTMAX" else 2)


def test_every_input_of_a_layer_is_a_tensor_or_none(bench):
    inputs = [layer.get_input(place) for layer in bench.layers() for place in range(layer.num_inputs)]
    assert inputs and all(tensor is None or tensor.name for tensor in inputs)


def edited() -> list:
    manifest = read_manifest(BUNDLE)
    return [rung for rung in ladder("fp16", features_of(trt), manifest.precisions()) if rung.attention != "as it comes"]


@pytest.mark.parametrize("attention", ["unfused", "fp32"])
def test_edited_attention_answers_as_before(plans, attention):
    (rung,) = (rung for rung in edited() if rung.attention == attention)
    one = Pass(Loaded(build(plans, (1,), rung)))
    assert one.enqueue()
    one.answers()
    assert abs(one.buffers["logits"].host - one.goldens.ee_logits[:1]).mean() < 1e-2  # FP16's, as in test_plans.py


def test_a_relu_behind_each_softmax_stops_the_fusion(plans):
    (rung,) = (rung for rung in edited() if rung.attention == "unfused")
    inspector = Loaded(build(plans, (1,), rung)).engine.create_engine_inspector()
    assert not FUSED.search(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def test_a_layer_can_be_kept_in_fp32_by_flags():
    bench = Bench(flags=network_flags(trt, Rung("by flags", "fp32", "weak")))
    softmax = next(layer for layer in bench.layers() if layer.type == trt.LayerType.SOFTMAX)
    assert hasattr(softmax, "precision") == features_of(trt).flags
    if features_of(trt).flags:
        softmax.precision = trt.DataType.FLOAT
        softmax.set_output_type(0, trt.DataType.FLOAT)
        assert softmax.precision == trt.DataType.FLOAT


def test_a_strongly_typed_network_takes_no_precision_flag(bench):
    if not (features_of(trt).strong and features_of(trt).flags):
        pytest.skip("this TensorRT has either flags or strong typing")
    bench.config.set_flag(trt.BuilderFlag.FP16)
    assert bench.build() is None and bench.journal.errors()


def test_open_sides_are_not_built_without_a_profile(bench):
    assert bench.build(fixed=False) is None and bench.journal.errors()


def test_the_workspace_is_the_whole_memory_unless_it_is_limited(bench):
    total = open_cuda().memory_bytes()[1]
    assert bench.config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) > total // 2


def test_the_builder_starts_with_the_documented_settings(bench):
    config = bench.config
    assert config.get_flag(trt.BuilderFlag.TF32)
    assert (config.builder_optimization_level, config.avg_timing_iterations) == (3, 1)


def test_a_monitor_hears_of_every_phase_and_can_stop_the_build():
    if not hasattr(trt, "IProgressMonitor"):
        pytest.skip("this TensorRT reports no progress")

    class Monitor(trt.IProgressMonitor):
        def __init__(self, goes_on: bool) -> None:
            trt.IProgressMonitor.__init__(self)
            self.goes_on, self.started, self.finished = goes_on, [], []

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.started.append(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return self.goes_on

        def phase_finish(self, phase_name: str) -> None:
            self.finished.append(phase_name)

    built = []
    for goes_on in (True, False):
        bench = Bench()
        monitor = bench.config.progress_monitor = Monitor(goes_on)
        built.append(bench.build() is not None)
        assert monitor.started and sorted(monitor.started) == sorted(monitor.finished)
    assert built == [True, False]


def test_a_timing_cache_is_taken_again_and_garbage_is_not():
    first, second = Bench(), Bench()
    assert first.config.set_timing_cache(first.config.create_timing_cache(b""), False)
    assert first.build() is not None
    filled = bytes(first.config.get_timing_cache().serialize())
    assert second.config.set_timing_cache(second.config.create_timing_cache(filled), False)
    garbage = second.config.create_timing_cache(b"no cache" * 100)
    assert garbage is None or not second.config.set_timing_cache(garbage, False)
