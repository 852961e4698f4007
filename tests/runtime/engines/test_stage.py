from __future__ import annotations

import shutil

import numpy as np
import pytest

from sacvit.bundle.errors import EngineError
from sacvit.bundle.folders import NOTE_NAME
from sacvit.runtime.engines.backends import load_stage
from sacvit.runtime.engines.buffers import HostLane, wrap
from sacvit.runtime.engines.onnx import OnnxStage
from sacvit.runtime.engines.options import EngineOptions


@pytest.fixture
def ee(bundles) -> OnnxStage:
    return OnnxStage(bundles / "bundle" / "ee.onnx")


def buffers_for(stage: OnnxStage, batch: int) -> dict[str, np.ndarray]:
    arrays = {name: np.zeros((batch, *spec.shape), spec.kind) for name, spec in stage.outputs.items()}
    return arrays | {"image": np.zeros((batch, 32, 32, 3), np.uint8)}


def test_outputs_tell_type_and_shape_per_image(ee):
    assert ee.outputs["target_context"].shape == (8, 16)
    assert ee.outputs["target_index"].kind is np.int32
    assert ee.outputs["confidence"].shape == ()


def test_a_symbolic_batch_takes_any_number_and_a_fixed_one_its_own(bundles, ee):
    assert ee.batches is None and ee.capacity is None
    fixed = OnnxStage(bundles / "fixed" / "ee.onnx")
    assert fixed.batches == (4,) and fixed.capacity == 4


def test_a_pass_writes_into_the_bound_arrays(ee, pictures):
    buffers = buffers_for(ee, 2)
    buffers["image"][:] = pictures[:2]
    ee.bind(wrap(buffers), HostLane()).start()
    assert 0 < buffers["confidence"].min() <= buffers["confidence"].max() <= 1


def test_a_second_pass_overwrites_the_same_arrays(ee, pictures):
    buffers = buffers_for(ee, 1)
    binding = ee.bind(wrap(buffers), HostLane())
    seen = []
    for picture in pictures[:2]:
        buffers["image"][:] = picture
        binding.start()
        seen.append(buffers["logits"].copy())
    assert not np.array_equal(*seen)


def test_a_missing_buffer_is_named(ee):
    buffers = buffers_for(ee, 1)
    del buffers["non_target"]
    with pytest.raises(EngineError, match=r"non_target wants .* found no buffer"):
        ee.bind(wrap(buffers), HostLane())


@pytest.mark.parametrize(
    "wrong", [np.zeros((1, 8), np.int64), np.zeros((1, 8, 1), np.int32), np.zeros((1, 9), np.int32)], ids=str
)
def test_a_buffer_that_does_not_fit_is_refused(ee, wrong):
    with pytest.raises(EngineError, match="target_index wants"):
        ee.bind(wrap(buffers_for(ee, 1) | {"target_index": wrong}), HostLane())


def test_a_missing_file_is_told_with_the_next_command(tmp_path):
    with pytest.raises(EngineError, match=r"ee\.onnx does not exist\. Make it: sacvit-export"):
        load_stage(tmp_path / "ee.onnx")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused_with_its_size(bundles, tmp_path, share):
    content = (bundles / "bundle" / "ee.onnx").read_bytes()
    path = tmp_path / "ee.onnx"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(EngineError, match=r"ee\.onnx .*(cut short|no sacvit record)"):
        load_stage(path)


def with_metadata(path, **changes: str) -> bytes:
    """The file with some of its record's entries replaced by ones of the same length: no onnx is needed for that."""
    content = path.read_bytes()
    for old, new in changes.items():
        assert content.count(old.encode()) >= 1 and len(old) == len(new)
        content = content.replace(old.encode(), new.encode())
    return content


def test_a_graph_of_another_stage_than_its_record_says_is_refused(bundles, tmp_path):
    path = tmp_path / "ee.onnx"
    path.write_bytes(with_metadata(bundles / "bundle" / "ee.onnx", confidence="c0nfidence"))
    with pytest.raises(EngineError, match=r"is no EE stage: it has inputs \['image'\] and outputs \['c0nfidence'"):
        load_stage(path)


def test_fewer_labels_than_classes_are_refused(bundles, tmp_path):
    path = tmp_path / "ee.onnx"
    path.write_bytes(with_metadata(bundles / "bundle" / "ee.onnx", **{'"dog","emu"]': '"dog,  emu"]'}))
    with pytest.raises(EngineError, match="names 4 labels for 5 classes"):
        load_stage(path)


def test_a_file_with_names_that_are_no_text_is_refused(bundles, tmp_path):
    path = tmp_path / "ee.onnx"
    content = (bundles / "bundle" / "ee.onnx").read_bytes()
    path.write_bytes(content.replace(b"sacvit.labels", b"sacvit.l\xffbels"))
    with pytest.raises(EngineError, match=r"ee\.onnx is damaged: it holds names that are no text"):
        load_stage(path)


def test_a_pass_that_fails_is_reported_with_the_file_and_the_reason(bundles, ee):
    sac, arrays = OnnxStage(bundles / "bundle" / "sac.onnx"), buffers_for(ee, 1)
    given = {name: arrays[name] for name in ("image", "target_index", "target_context", "non_target")}
    row = np.array([99], np.int32)  # of a batch of one
    logits = np.zeros((1, *sac.outputs["logits"].shape), np.float32)
    binding = sac.bind(wrap(given | {"row": row, "logits": logits}), HostLane())
    with pytest.raises(EngineError, match=r"sac\.onnx: the pass failed in ONNX Runtime: .*out of data bounds"):
        binding.start()


def test_an_engine_in_a_folder_whose_files_are_not_all_in_place_is_refused(bundles, tmp_path):
    folder = shutil.copytree(bundles / "bundle", tmp_path / "bundle")
    load_stage(folder / "ee.onnx")
    (folder / NOTE_NAME).write_text("{}")
    with pytest.raises(EngineError, match="holds files of two runs"):
        load_stage(folder / "ee.onnx")


def test_the_backend_is_named(ee):
    assert ee.backend.startswith("ONNX Runtime ") and ee.backend.endswith((" on CPU", " on CUDA"))


def test_a_foreign_suffix_is_refused(bundles, tmp_path):
    shutil.copy(bundles / "bundle" / "ee.onnx", tmp_path / "ee.pth")
    with pytest.raises(
        EngineError, match=r"is a checkpoint.*sacvit-export.*\.onnx \(ONNX Runtime or OpenVINO\), \.plan \(TensorRT\)"
    ):
        load_stage(tmp_path / "ee.pth")


def test_a_provider_that_this_onnx_runtime_was_built_without_is_told(bundles):
    import onnxruntime as ort

    if "TensorrtExecutionProvider" in ort.get_available_providers():
        pytest.skip("this is the GPU build of ONNX Runtime")
    with pytest.raises(EngineError, match=r"--provider tensorrt: this ONNX Runtime was built without it; it has cpu"):
        OnnxStage(bundles / "bundle" / "ee.onnx", "tensorrt")


class FakeSession:
    """A session of a GPU build: the providers that it really went on with, and whether its first pass works."""

    def __init__(self, providers: list[str], fault: str | None) -> None:
        self.providers, self.fault = providers, fault

    def get_providers(self) -> list[str]:
        return self.providers

    def get_inputs(self) -> list[object]:
        return []

    def run(self, *_: object) -> None:
        if self.fault:
            raise RuntimeError(self.fault)


@pytest.fixture
def gpu_build(monkeypatch):
    """ONNX Runtime as its GPU build: lists CUDA, and gives sessions with it as told."""
    import onnxruntime as ort

    from sacvit.runtime.engines import onnx as onnx_stage

    made: list[str] = []
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"

    def become(works: bool, fault: str | None = None) -> list[str]:
        def make(path, provider, threads=0):
            made.append(provider)
            return FakeSession(
                [cuda, cpu] if provider == "cuda" and works else [cpu], fault if provider == "cuda" else None
            )

        monkeypatch.setattr(ort, "get_available_providers", lambda: [cuda, cpu])
        monkeypatch.setattr(onnx_stage, "make_session", make)
        return made

    return become


def opened(provider: str) -> str:
    from pathlib import Path

    from sacvit.runtime.engines.onnx import open_session

    return open_session(Path("ee.onnx"), provider)[1]  # type: ignore[arg-type]


def test_auto_takes_cuda_where_a_pass_works_there(gpu_build):
    gpu_build(works=True)
    assert opened("auto") == "cuda"


@pytest.mark.parametrize(("works", "fault"), [(False, None), (True, "no kernel image")])
def test_auto_goes_on_with_the_cpu_where_cuda_is_only_listed(gpu_build, works, fault):
    made = gpu_build(works, fault)
    assert opened("auto") == "cpu" and made == ["cuda", "cpu"]


def test_cuda_that_was_asked_for_and_does_not_come_up_is_told(gpu_build):
    gpu_build(works=False)
    with pytest.raises(EngineError, match="--provider cuda does not work here: ONNX Runtime went on with CPU"):
        opened("cuda")


def test_cuda_that_fails_its_first_pass_is_told_with_the_reason(gpu_build):
    gpu_build(works=True, fault="no kernel image is available")
    with pytest.raises(EngineError, match="until its first pass failed: no kernel image is available"):
        opened("cuda")


def test_the_cpu_that_was_asked_for_is_taken_beside_a_working_gpu(gpu_build):
    made = gpu_build(works=True)
    assert opened("cpu") == "cpu" and made == ["cpu"]


def test_a_plan_takes_no_provider(tmp_path):
    with pytest.raises(EngineError, match=r"--provider cuda is for \.onnx files"):
        load_stage(tmp_path / "ee.plan", EngineOptions("cuda"))


def test_a_hand_off_in_memory_of_onnx_runtime_gives_the_same_answers(bundles, pictures, monkeypatch):
    """The buffers of a GPU behind ONNX Runtime, here on its CPU: the same calls."""
    from sacvit.runtime.chain.pipeline import Pipeline
    from sacvit.runtime.engines.onnx import OrtCudaDevice

    files = bundles / "bundle" / "ee.onnx", bundles / "bundle" / "sac.onnx"
    plain, chain = Pipeline.load(*files), Pipeline.load(*files)
    chain.ee.device, chain.sac.device = OrtCudaDevice("cpu"), OrtCudaDevice("cpu")
    found = [(result.index, result.stage, result.probability) for result in chain(pictures)]
    assert found == [(result.index, result.stage, result.probability) for result in plain(pictures)]
    assert chain.track(24).ee["target_context"].host is None
