"""A variant beside FP32, image by image: exact numbers from stages whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sacvit.calibration.decisions import Comparison, StageAnswers, compare
from sacvit.calibration.onnx_session import Pair
from sacvit.images.calibration_set import ImageSet

Models = tuple[onnx.ModelProto, onnx.ModelProto]


def image_set(images: np.ndarray, labels: np.ndarray | None = None) -> ImageSet:
    return ImageSet("arrays", len(images), len(images), len(images), "0" * 64, labels, lambda: iter(images))


class Spoken:
    """A pair that gives prepared answers: an image's first pixel says which."""

    def __init__(self, logits: Any, confidence: Any, targets: Any, sac: Any = None, chunk: int = 2) -> None:
        self.logits, self.confidence = np.asarray(logits, np.float32), np.asarray(confidence, np.float32)
        self.targets = np.asarray(targets, np.int32)
        self.sac = None if sac is None else np.asarray(sac, np.float32)
        self.chunk = chunk
        self.pieces: list[int] = []

    def run_ee(self, images: np.ndarray) -> dict[str, np.ndarray]:
        which = images[:, 0, 0, 0]
        self.pieces.append(len(which))
        return {
            "logits": self.logits[which],
            "confidence": self.confidence[which],
            "target_index": self.targets[which],
            "mark": np.full(len(which), id(self)),
        }

    def run_sac(self, images: np.ndarray, handed: dict[str, np.ndarray]) -> np.ndarray:
        assert (handed["mark"] == id(self)).all(), "SAC was given what another EE handed over"
        assert self.sac is not None
        return self.sac[images[:, 0, 0, 0]]


def numbered(count: int) -> np.ndarray:
    images = np.zeros((count, 1, 1, 3), np.uint8)
    images[:, 0, 0, 0] = range(count)
    return images


TRUTH = {
    "logits": [[0, 1], [2, 0], [0, 3]],
    "confidence": [0.5, 0.7, 0.9],
    "targets": [[0, 1, 2, 3], [4, 5, 6, 7], [0, 2, 4, 6]],
    "sac": [[1, 0], [1, 0], [0, 1]],
}
FOUND = {
    "logits": [[0, 1.5], [0, 1], [0, 3]],
    "confidence": [0.55, 0.65, 0.9],
    "targets": [[3, 2, 1, 0], [4, 5, 6, 0], [1, 3, 5, 7]],
    "sac": [[1, 0], [0.25, 0.75], [0, 1]],
}


def compared(labels: np.ndarray | None = None, **changes: Any) -> Comparison:
    images = image_set(numbered(3), labels)
    return compare(Spoken(**TRUTH), {"int8": Spoken(**(FOUND | changes))}, images)["int8"]


def test_both_confidences_are_kept() -> None:
    found = compared()
    np.testing.assert_array_equal(found.confidence, np.float32(TRUTH["confidence"]))
    np.testing.assert_array_equal(found.variant_confidence, np.float32(FOUND["confidence"]))


def test_confidences_stay_fp32_as_the_gate_compares_them() -> None:
    found = compared()
    assert (found.confidence.dtype, found.variant_confidence.dtype) == (np.float32, np.float32)


def test_the_overlap_is_the_share_of_fp32_s_target_blocks_in_any_order() -> None:
    assert compared().overlap.tolist() == [1.0, 0.75, 0.0]


def test_the_classes_are_the_largest_logits() -> None:
    found = compared()
    assert (found.ee.top1.tolist(), found.ee.variant_top1.tolist()) == ([1, 0, 1], [1, 1, 1])


def test_the_logit_errors_are_magnitudes() -> None:
    found = compared()
    assert found.ee.mean_error.tolist() == [0.25, 1.5, 0.0]
    assert found.ee.worst_error.tolist() == [0.5, 2.0, 0.0]


def test_sac_s_answers_are_compared_for_every_image() -> None:
    found = compared().sac
    assert found is not None
    assert (found.top1.tolist(), found.variant_top1.tolist()) == ([0, 0, 1], [0, 1, 1])
    assert found.worst_error.tolist() == [0.0, 0.75, 0.0]


def test_sac_is_left_out_where_the_reference_has_none() -> None:
    truth = Spoken(**(TRUTH | {"sac": None}))
    assert compare(truth, {"int8": Spoken(**FOUND)}, image_set(numbered(3)))["int8"].sac is None


def test_several_variants_are_each_compared_with_the_reference() -> None:
    found = compare(Spoken(**TRUTH), {"int8": Spoken(**FOUND), "fp16": Spoken(**TRUTH)}, image_set(numbered(3)))
    assert [found[name].ee.worst_error.max() for name in ("int8", "fp16")] == [2.0, 0.0]


def test_the_reference_runs_once_whatever_the_number_of_variants() -> None:
    truth = Spoken(**TRUTH)
    compare(truth, {"int8": Spoken(**FOUND), "fp16": Spoken(**FOUND)}, image_set(numbered(3)))
    assert truth.pieces == [2, 1]


def test_the_pieces_are_those_that_the_reference_takes() -> None:
    variant = Spoken(**FOUND)
    compare(Spoken(**TRUTH, chunk=1), {"int8": variant}, image_set(numbered(3)))
    assert variant.pieces == [1, 1, 1]


def test_the_progress_counts_images() -> None:
    steps: list[int] = []
    compare(Spoken(**TRUTH), {"int8": Spoken(**FOUND)}, image_set(numbered(3)), steps.append)
    assert steps == [2, 1]


def test_nan_logits_have_a_nan_error() -> None:
    found = compared(logits=[[0, np.nan], [0, 1], [0, 3]])
    assert np.isnan(found.ee.mean_error).tolist() == [True, False, False]


def test_labels_come_along() -> None:
    assert compared(np.array([1, 0, 1])).labels.tolist() == [1, 0, 1]


# The chain


def test_the_chain_s_class_is_ee_s_where_the_confidence_reaches_the_threshold() -> None:
    found = compared()
    assert found.top1(0.7, variant=False).tolist() == [0, 0, 1]  # only image 0 goes on, and SAC says 0
    assert found.top1(0.6, variant=True).tolist() == [0, 1, 1]


def test_a_variant_s_chain_is_of_its_own_two_stages() -> None:
    found = compared(logits=[[9, 0], [9, 0], [9, 0]])  # its EE says 0, its SAC says 0, 1 and 1
    assert found.top1(0.7, variant=True).tolist() == [0, 1, 0]


def test_a_confidence_equal_to_the_threshold_in_fp32_exits() -> None:
    # 0.7 as FP32 is below 0.7 as a double.
    assert float(np.float32(0.7)) < 0.7
    swapped = compared(confidence=[0.7, 0.7, 0.7], logits=[[0, 1]] * 3, sac=[[1, 0]] * 3)
    assert swapped.top1(0.7, variant=True).tolist() == [1, 1, 1]


def test_the_accuracy_is_the_share_of_labels_that_the_chain_gives() -> None:
    found = compared(np.array([0, 1, 1]))
    assert found.accuracy(0.7, variant=False) == pytest.approx(2 / 3)
    assert found.accuracy(0.6, variant=True) == 1


def test_a_threshold_of_0_leaves_every_answer_to_ee() -> None:
    found = compared()
    np.testing.assert_array_equal(found.top1(0, variant=True), found.ee.variant_top1)


# The network


def test_a_pair_beside_itself_differs_in_nothing(graphs: Models, images: np.ndarray) -> None:
    pair = Pair(*graphs)
    found = compare(pair, {"int8": pair}, image_set(images))["int8"]
    assert found.overlap.tolist() == [1.0] * 12
    assert [stage.worst_error.max() for stage in (found.ee, found.sac) if stage is not None] == [0.0, 0.0]


def test_a_shifted_head_shows_as_the_error_that_was_planted(graphs: Models, images: np.ndarray) -> None:
    shifted = onnx.ModelProto()
    shifted.CopyFrom(graphs[0])
    (tensor,) = [tensor for tensor in shifted.graph.initializer if tensor.name == "head.bias"]
    bias = numpy_helper.to_array(tensor).copy()
    bias.reshape(-1)[2] += 0.5
    tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))
    pair = Pair(*graphs)
    found = compare(pair, {"int8": Pair(shifted, graphs[1])}, image_set(images))["int8"]
    np.testing.assert_allclose(found.ee.mean_error, 0.5 / 7, atol=1e-6)
    np.testing.assert_allclose(found.ee.worst_error, 0.5, atol=1e-6)


def test_a_variant_s_sac_works_on_what_its_own_ee_hands_over(
    graphs: Models, int8_graphs: Models, images: np.ndarray
) -> None:
    reference, mixed = Pair(*graphs), Pair(int8_graphs[0], graphs[1])
    found = compare(reference, {"int8": mixed}, image_set(images[:8]))["int8"].sac
    truth = reference.run_sac(images[:8], reference.run_ee(images[:8]))
    theirs = mixed.run_sac(images[:8], mixed.run_ee(images[:8]))
    assert isinstance(found, StageAnswers)
    assert np.abs(theirs - truth).max() > 0
    np.testing.assert_allclose(found.worst_error, np.abs(theirs - truth).max(1), atol=1e-6)
