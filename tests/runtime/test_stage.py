from __future__ import annotations

import shutil

import numpy as np
import pytest

from sacvit.bundle.errors import EngineError
from sacvit.runtime.buffers import HostLane, wrap
from sacvit.runtime.onnx_stage import OnnxStage
from sacvit.runtime.stage import load_stage


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
    path.write_bytes(with_metadata(bundles / "bundle" / "ee.onnx", **{'"dog", "emu"]': '"dog,  emu" ]'}))
    with pytest.raises(EngineError, match="names 4 labels for 5 classes"):
        load_stage(path)


def test_the_backend_is_named(ee):
    assert ee.backend.startswith("ONNX Runtime ") and ee.backend.endswith((" on CPU", " on CUDA"))


def test_a_foreign_suffix_is_refused(bundles, tmp_path):
    shutil.copy(bundles / "bundle" / "ee.onnx", tmp_path / "ee.pth")
    with pytest.raises(EngineError, match=r"engines are \.onnx and \.plan files; found suffix '\.pth'"):
        load_stage(tmp_path / "ee.pth")
