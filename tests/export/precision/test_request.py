"""Options of the typed variants that cannot be meant together are refused before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from sacvit.bundle.errors import SacvitError, UsageError
from sacvit.export.precision.options import default_cache
from sacvit.export.precision.request import PrecisionOptions

CALIB = Path("calib")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fp16": True},
        {"int8": True, "calib": CALIB},
        {"int8": True, "fp16": True, "calib": CALIB, "auto": True, "min_top1": 100.0, "fp16_limit": 65504.0},
        {"fp16": True, "evaluation": CALIB, "min_top1": "fp32"},
        {"fp16": True, "evaluation": CALIB, "min_top1": 0.0},
    ],
    ids=str,
)
def test_options_that_can_be_meant_pass(options):
    PrecisionOptions(**options).require_sound()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calib": CALIB}, "--calib goes with --int8, --fp16, --bf16 or --fp8"),
        ({"evaluation": CALIB}, "--eval goes with --int8, --fp16"),
        ({"sensitivity": Path("s.csv")}, "--sensitivity goes with --int8, --fp16"),
        ({"min_top1": "fp32"}, "--min-top1 goes with --int8, --fp16"),
        ({"min_top1": 0.0}, "--min-top1 goes with --int8, --fp16"),
        ({"auto": True}, "--auto goes with --int8"),
        ({"qdq_weights": True, "fp16": True}, "--qdq-weights goes with --int8"),
        ({"auto": True, "fp16": True, "calib": CALIB}, "--auto goes with --int8"),
        ({"fp16": True, "min_top1": 100.5}, r"--min-top1 is a percentage in \[0, 100\], found 100.5"),
        ({"fp16": True, "min_top1": -1.0}, "--min-top1 is a percentage"),
        ({"fp16": True, "min_top1": float("nan")}, "--min-top1 is a percentage .* found nan"),
        ({"fp16": True, "fp16_limit": 0.0}, r"--fp16-limit must lie in \(0, 65504\], found 0"),
        ({"fp16": True, "fp16_limit": 65505.0}, "--fp16-limit must lie in"),
        ({"fp16": True, "fp16_limit": float("nan")}, "--fp16-limit must lie in"),
        ({"fp16": True, "fp16_limit": float("inf")}, "--fp16-limit must lie in"),
        ({"fp16": True, "sensitivity": Path("s.png")}, r"--sensitivity s\.png: give a name that ends in \.csv"),
    ],
    ids=str,
)
def test_options_that_cannot_be_meant_are_usage_errors(options, message):
    with pytest.raises(UsageError, match=message):
        PrecisionOptions(**options).require_sound()


def test_a_whole_number_is_a_percentage_like_any_other():
    with pytest.raises(UsageError, match="--min-top1 is a percentage"):
        PrecisionOptions(fp16=True, min_top1=101).require_sound()


def test_a_sensitivity_table_in_a_missing_folder_is_told_before_the_run(tmp_path):
    with pytest.raises(SacvitError, match=r"--sensitivity .* does not exist"):
        PrecisionOptions(fp16=True, sensitivity=tmp_path / "no" / "s.csv").require_sound()


def test_ranges_are_kept_where_the_desktop_keeps_caches(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/sacvit/calibration")


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_desktops_wish_ranges_are_kept_below_the_home(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_cache() == Path("/home/someone/.cache/sacvit/calibration")


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"calib_count": 5}, "--calib-count"),
        ({"calib_method": "minmax"}, "--calib-method"),
        ({"calib_cache": Path("cache")}, "--calib-cache"),
        ({"match": "none"}, "--match"),
        ({"fp16_limit": 100.0}, "--fp16-limit"),
        ({"limits": {"logit_error": 1.0}}, "a guard's limit"),
    ],
)
def test_what_has_no_effect_without_a_variant_is_refused(options, flag):
    with pytest.raises(UsageError, match=f"{flag} goes with --int8, --fp16"):
        PrecisionOptions(**options).require_sound()


def test_a_threshold_that_is_kept_and_fitted_is_refused():
    with pytest.raises(UsageError, match="--match none keeps the threshold, --min-top1 fits it"):
        PrecisionOptions(fp16=True, match="none", min_top1=90.0).require_sound()


@pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf")])
def test_a_limit_that_is_no_limit_is_refused(limit):
    with pytest.raises(UsageError, match="the limit of logit error must be 0 or more"):
        PrecisionOptions(fp16=True, limits={"logit_error": limit}).require_sound()
