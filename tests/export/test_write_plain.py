from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest
import torch

from sacvit.calibration.stored_weights import quantized_constants
from sacvit.export.plans.build import build
from sacvit.export.plans.request import BuildRequest
from sacvit.export.write_bundle import export
from sacvit.export.write_plain import plain_of
from sacvit.model.checkpoint import load_checkpoint
from sacvit.runtime.engines.buffers import HostLane, wrap
from sacvit.runtime.engines.onnx import OnnxStage


@pytest.fixture(scope="module")
def bundle(tiny_checkpoint, calibration_images, tmp_path_factory):
    from sacvit.export.precision.request import PrecisionOptions

    options = PrecisionOptions(int8=True, fp16=True, calib=calibration_images.path, limits={"exit_agreement": 0.9})
    folder = tmp_path_factory.mktemp("plain") / "build"
    threshold = calibration_images.threshold
    return export(tiny_checkpoint, folder, threshold=threshold, precision=options, plain=True).folder


def logits_of(stage, images):
    out = np.zeros((len(images), *stage.outputs["logits"].shape), np.float32)
    binding = stage.bind(wrap({"image": images, "logits": out}), HostLane())
    binding.start()
    binding.wait()
    return out


def test_the_plain_vit_is_torch_s_with_the_checkpoint_s_weights(bundle, tiny_checkpoint, images):
    model = plain_of(load_checkpoint(tiny_checkpoint)).eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(images[:3])).numpy()
    assert np.abs(logits_of(OnnxStage(bundle / "plain.onnx"), images[:3]) - expected).max() < 1e-4


@pytest.mark.parametrize("precision", ["int8", "fp16", "int8fp16"])
def test_it_comes_in_every_precision_that_the_pair_has(bundle, images, precision):
    stage = OnnxStage(bundle / f"plain.{precision}.onnx")
    assert stage.record.stage == "plain" and stage.record.precision == precision
    assert np.abs(logits_of(stage, images[:3]) - logits_of(OnnxStage(bundle / "plain.onnx"), images[:3])).max() < 0.5


@pytest.mark.parametrize("precision", ["int8", "int8fp16"])
def test_its_weights_are_stored_as_the_chain_s_are(bundle, precision):
    assert list(quantized_constants(onnx.load(bundle / f"plain.{precision}.onnx"))) == []


def test_an_export_without_it_removes_the_one_before(tiny_checkpoint, tmp_path):
    export(tiny_checkpoint, tmp_path, plain=True)
    assert (tmp_path / "plain.onnx").is_file() and (tmp_path / "plain.json").is_file()
    export(tiny_checkpoint, tmp_path)
    assert not list(tmp_path.glob("plain*"))


@pytest.fixture
def here(fake_gpu):
    fake_gpu.work_here()
    return fake_gpu


def test_its_plan_is_built_beside_the_chain_s_in_the_same_precision(bundle, here, tmp_path):
    from sacvit.profiles.timing.plain import Plain

    here.become("10.16")
    plans = build(bundle, tmp_path, BuildRequest("fp16", batches=(1, 4)))
    plain = Plain(tmp_path / "plain.plan", 4)
    assert plain.stage.record.precision == plans.outcomes[0].record.record.precision == "fp16"
    assert plain.stage.batches == (1, 4)


def test_its_engine_for_rtx_is_built_beside_the_chain_s(bundle, here, tmp_path):
    from sacvit.profiles.timing.plain import Plain

    here.become("rtx-1.7")
    here.reset(compute=(8, 9))
    build(bundle, tmp_path, BuildRequest("fp16", library="rtx"))
    assert Plain(tmp_path / "plain.rtx", 1).stage.record.precision == "fp16"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda copy: (copy / "plain.fp16.onnx").unlink(),
            "plain.fp16.onnx is missing. Export again: sacvit-export --plain",
        ),
        (lambda copy: (copy / "plain.json").write_text("[1]"), "plain.json is damaged"),
        (
            lambda copy: (copy / "plain.json").write_text((copy / "plain.json").read_text().replace("5", "6", 1)),
            "plain.json is damaged: its checksum does not fit",
        ),
    ],
)
def test_what_is_wrong_with_it_is_reported_and_the_pair_is_built_all_the_same(bundle, here, tmp_path, damage, said):
    here.become("10.16")
    copy = shutil.copytree(bundle, tmp_path / "copy")
    damage(copy)
    lines: list[str] = []
    build(copy, request=BuildRequest("fp16", report=lines.append))
    assert any(line.startswith("warning: no plain.plan") and said in line for line in lines)
    assert (copy / "sac.plan").is_file() and not (copy / "plain.plan").exists()
