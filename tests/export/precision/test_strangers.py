"""INT8 without images of the model's own: the built-in photographs calibrate and judge it, by stricter rules."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

import torch

from sacvit.bundle.errors import GuardError
from sacvit.bundle.precision import INT8_LIMITS, STRANGERS_LOGIT_ERROR, Limits
from sacvit.calibration.ranges import Histogram
from sacvit.calibration.sensitivity import Effect
from sacvit.export.precision import variants
from sacvit.images import builtin

pytestmark = pytest.mark.programs

WIDE = {"exit_agreement": 0.9, "top1_agreement": 0.8, "target_overlap": 0.8}  # the tiny network is untrained

FEW_BLOCKS = {"target_overlap": 0.8}  # of 8 target blocks, one more or less is much


@pytest.fixture(autouse=True)
def few_photographs(monkeypatch):
    monkeypatch.setattr(builtin, "CROPS", 24)  # faster; the rules do not depend on the number
    # The layers to blame are test_leave_out.py's.
    monkeypatch.setattr(variants, "measure_both", lambda *_: [Effect("EE", "blocks.0", 0.1, 0.2, 0.1, 0, 2)])


@pytest.fixture(scope="module")
def alone(tmp_path_factory, make_checkpoint):
    """A checkpoint without a calibration set, one of whose classes every photograph gets: the "nothing" of a model in use."""
    content = torch.load(make_checkpoint(), weights_only=True)
    content["model"]["head.weight"][0] = 0
    content["model"]["head.bias"][0] = 12.0
    path = tmp_path_factory.mktemp("alone") / "model.pth"
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A cache for the ranges that no fault is planted in."""
    return tmp_path_factory.mktemp("measured")


@pytest.fixture
def cut(monkeypatch):
    """A fault: every range ends at half of what it should."""
    whole = Histogram.range_by
    monkeypatch.setattr(Histogram, "range_by", lambda self, method: 0.5 * whole(self, method))


@pytest.fixture
def export_int8(make_bundle):
    """A function that exports a checkpoint as INT8 and returns its manifest."""

    def export(checkpoint, threshold=0.7, calib=None, **changes) -> dict:
        bundle = make_bundle(checkpoint, threshold=threshold, calib=calib, **changes)
        return json.loads((bundle.folder / "sacvit.json").read_text())

    return export


def test_the_mean_logit_error_is_limited_more(alone, export_int8, measured, said):
    found = export_int8(alone, limits=WIDE, calib_cache=measured)
    assert found["variants"]["int8"]["limits"]["logit_error"] == STRANGERS_LOGIT_ERROR * INT8_LIMITS.logit_error
    assert found["calibration"]["strangers"] and found["evaluation"]["strangers"]
    assert any("built-in photographs" in line and "40 %" in line and "--calib DIR" in line for line in said)


def test_the_threshold_of_fp32_is_kept(tiny_checkpoint, export_int8, measured):
    found = export_int8(tiny_checkpoint, threshold=0.3, limits=WIDE, calib_cache=measured)
    assert found["variants"]["int8"]["threshold"] == {"value": 0.3, "source": "unchanged", "fp32": 0.3}
    assert found["calibration"]["sac_threshold"] == 0.3


def test_a_limit_that_was_given_holds_on_strangers_too(alone, export_int8, measured):
    found = export_int8(alone, limits=WIDE | {"logit_error": 0.24}, calib_cache=measured)
    assert found["variants"]["int8"]["limits"]["logit_error"] == 0.24


def test_images_of_the_model_have_the_usual_limits(tiny_checkpoint, export_int8, calibration_images):
    found = export_int8(tiny_checkpoint, calib=calibration_images.path, limits=WIDE)
    assert found["variants"]["int8"]["limits"]["logit_error"] == INT8_LIMITS.logit_error
    assert not found["calibration"]["strangers"]


def test_images_of_the_model_that_judge_alone_have_the_usual_limits(
    tiny_checkpoint, export_int8, measured, calibration_images
):
    limits = WIDE | {"top1_drop": 100.0}
    found = export_int8(
        tiny_checkpoint, evaluation=calibration_images.path, threshold=0.302, limits=limits, calib_cache=measured
    )
    assert found["variants"]["int8"]["limits"]["logit_error"] == INT8_LIMITS.logit_error
    assert found["calibration"]["strangers"] and not found["evaluation"]["strangers"]


def test_a_bad_model_whose_photographs_all_get_one_class_is_refused_with_the_cure(alone, export_int8, cut):
    with pytest.raises(GuardError, match=r"--calib DIR with images of the model's own"):
        export_int8(alone, limits=FEW_BLOCKS)


def test_the_usual_limits_would_let_that_model_through(alone, export_int8, cut, monkeypatch):
    """What the stricter limit is for: without it, every guard holds on the photographs."""
    monkeypatch.setattr(Limits, "on_strangers", lambda self: self)
    assert export_int8(alone, limits=FEW_BLOCKS)["variants"]
