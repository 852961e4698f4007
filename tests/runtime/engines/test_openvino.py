"""The OpenVINO backend, held against ONNX Runtime on the same files."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino", reason="no OpenVINO here: pip install 'sacvit[openvino]'")

from sacvit.bundle.errors import EngineError
from sacvit.machine.cpu import saturates_int8
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines import openvino as module
from sacvit.runtime.engines.backends import load_stage
from sacvit.runtime.engines.onnx import OnnxStage
from sacvit.runtime.engines.openvino import CACHE, OpenvinoStage, first_line, require_device
from sacvit.runtime.engines.options import PROVIDERS, EngineOptions

CLOSE = 1e-4  # of logits, in FP32: sums in another order


@pytest.fixture
def bundle(bundles: Path, tmp_path: Path) -> Path:
    """A bundle of this test's own: OpenVINO writes its cache beside the files."""
    shutil.copytree(bundles / "typed", tmp_path / "bundle")
    return tmp_path / "bundle"


def load(folder: Path, provider: Any = "openvino", kind: str = "", threads: int = 1) -> Pipeline:
    return Pipeline.load(folder / f"ee{kind}.onnx", folder / f"sac{kind}.onnx", provider=provider, threads=threads)


def test_a_file_is_what_it_is_in_onnx_runtime(bundle):
    found, expected = OpenvinoStage(bundle / "sac.onnx"), OnnxStage(bundle / "sac.onnx", "cpu")
    assert (found.record, found.outputs) == (expected.record, expected.outputs)
    assert (found.batches, found.capacity, found.on_gpu) == (None, None, False)


def test_decisions_and_logits_are_those_of_onnx_runtime(bundle, pictures):
    found, expected = (load(bundle, provider)(pictures, logits=True) for provider in ("openvino", "cpu"))
    assert [(one.stage, one.index, one.target_blocks) for one in found] == [
        (one.stage, one.index, one.target_blocks) for one in expected
    ]
    assert {one.stage for one in found} == {"EE", "SAC"}
    np.testing.assert_allclose([one.logits for one in found], [one.logits for one in expected], atol=CLOSE)


@pytest.mark.parametrize("count", [1, 3])
def test_the_stages_work_in_one_memory_and_nothing_is_copied(bundle, pictures, count):
    pipeline = load(bundle)
    pipeline.threshold = 1.0  # every image goes on
    pipeline.image_slots(count)[:] = pictures[:count]
    pipeline.run(count)
    track = pipeline.track(count)
    for binding, buffers in ((track.ee_binding(count), track.ee), (track.sac_binding(count), track.sac)):
        found = {name: binding.request.get_tensor(name).data.ctypes.data for name in buffers}
        assert found == {name: buffer.address for name, buffer in buffers.items()}
    handed = ("target_index", "target_context", "non_target", "image")
    assert all(track.ee[name].address == track.sac[name].address for name in handed)


def test_a_graph_of_a_fixed_batch_takes_that_batch(bundles, tmp_path):
    shutil.copytree(bundles / "fixed", tmp_path / "fixed")
    stage = OpenvinoStage(tmp_path / "fixed" / "ee.onnx")
    assert stage.batches == (4,) and stage.capacity == 4


def test_ee_is_compiled_once_for_each_number_of_images_and_sac_once_for_a_batch(bundle, pictures):
    pipeline = load(bundle)
    pipeline.threshold = 1.0
    for count in (1, 4, 4, 1):
        pipeline(pictures[:count])
    pipeline.threshold = 0.5
    pipeline(pictures[:4])
    assert (len(pipeline.ee._compiled), len(pipeline.sac._compiled)) == (2, 2)


def test_what_was_compiled_is_kept_beside_the_bundle(bundle, pictures):
    load(bundle)(pictures[0])
    kept = sorted((bundle / CACHE).glob("*.blob"))
    before = [path.stat().st_mtime_ns for path in kept]
    load(bundle)(pictures[0])
    assert kept and [path.stat().st_mtime_ns for path in kept] == before
    assert sorted((bundle / CACHE).glob("*.blob")) == kept


def test_a_damaged_cache_is_compiled_again(bundle, pictures):
    expected = load(bundle)(pictures[0], logits=True)
    for path in (bundle / CACHE).glob("*.blob"):
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:100])
    assert load(bundle)(pictures[0], logits=True).logits.tolist() == expected.logits.tolist()


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(bundle, pictures, monkeypatch, caplog):
    def refuse(self: Path, **_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(module.Path, "mkdir", refuse)
    with caplog.at_level(logging.INFO):
        load(bundle)(pictures[0])
    assert "cannot be written (Permission denied)" in caplog.text and not (bundle / CACHE).exists()


def test_layers_are_timed_by_the_names_of_the_graph(bundle):
    pipeline = load(bundle)
    track = pipeline.track(1)
    times = pipeline.ee.layer_times(track.ee_buffers(1), track.ee_lane, 2)
    assert any(name.startswith("blocks.0.mlp.fc1") for name in times)
    assert all(len(passes) <= 2 and min(passes) > 0 for passes in times.values())


def test_a_pass_has_one_part(bundle):
    times = load(bundle).track(1).ee_binding(1).timed()
    assert times.upload == times.enqueue == (0.0, 0.0) and times.compute[1] > 0


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "ee.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"ee\.onnx is no ONNX file that OpenVINO can read"):
        OpenvinoStage(tmp_path / "ee.onnx")


def test_a_graph_without_our_record_is_refused(bundle, monkeypatch):
    monkeypatch.setattr(module, "read_metadata", lambda model: {})
    with pytest.raises(EngineError, match=r"ee\.onnx"):
        OpenvinoStage(bundle / "ee.onnx")


def test_a_changed_file_of_a_bundle_is_refused(bundle):
    path = bundle / "ee.onnx"
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(EngineError) as fault:
        load_stage(path, EngineOptions("openvino"))
    assert fault.value.exit_code == 4


@pytest.mark.parametrize("kind", ["fp16", "int8fp16"])
def test_a_file_with_an_fp16_body_is_refused(bundle, kind):
    with pytest.raises(
        EngineError, match=rf"ee\.{kind}\.onnx is a {kind.upper()} file, which OpenVINO computes wrongly"
    ):
        OpenvinoStage(bundle / f"ee.{kind}.onnx")


def test_int8_is_refused_where_its_sums_saturate(bundle, monkeypatch):
    monkeypatch.setattr(module, "saturates_int8", lambda: True)
    with pytest.raises(EngineError, match=r"ee\.int8\.onnx: this processor has no VNNI.*--provider cpu"):
        OpenvinoStage(bundle / "ee.int8.onnx")


@pytest.mark.skipif(saturates_int8(), reason="this processor has no VNNI")
def test_int8_decides_as_in_onnx_runtime_where_it_does_not_saturate(bundle, pictures):
    found, expected = (load(bundle, provider, ".int8")(pictures) for provider in ("openvino", "cpu"))
    same = [one.stage == other.stage for one, other in zip(found, expected, strict=True)]
    assert np.mean(same) > 0.8  # of 24; at a threshold where half of them exit, another rounding moves one or two


@pytest.mark.parametrize("provider", ["openvino-gpu", "openvino-npu"])
def test_a_device_that_is_not_here_is_named_with_those_that_are(provider):
    class Core:
        available_devices = ("CPU",)

    with pytest.raises(EngineError, match=rf"--provider {provider}: OpenVINO finds no .PU here, only CPU"):
        require_device(Core(), PROVIDERS[provider].device, "f32", provider)


@pytest.mark.parametrize("capabilities", [["FP32", "INT8"], ["FP32", "BF16"]])
def test_bf16_is_for_processors_that_have_it(capabilities):
    class Core:
        available_devices = ("CPU",)

        def get_property(self, device: str, name: str) -> list[str]:
            return capabilities

    if "BF16" in capabilities:
        require_device(Core(), "CPU", "bf16", "openvino-bf16")
    else:
        with pytest.raises(EngineError, match=r"no BF16 instructions\. Use --provider openvino"):
            require_device(Core(), "CPU", "bf16", "openvino-bf16")


def test_a_reason_is_said_without_openvino_s_own_files():
    reason = RuntimeError("Exception from src/inference/src/cpp/core.cpp:117:\nUnable to read the model\n")
    assert first_line(reason) == "Unable to read the model"
