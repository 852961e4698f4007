"""`sacvit.export` in a notebook: every option has a name, a type and a help text, and a wrong one is refused in our words."""

from __future__ import annotations

import inspect
from dataclasses import fields

import numpy as np
import pytest

pytest.importorskip("torch")

import sacvit
from sacvit.bundle.errors import UsageError
from sacvit.export import write_bundle
from sacvit.export.by_name import export
from sacvit.export.precision.request import PrecisionOptions
from sacvit.model.config import SWITCHES

ARGUMENTS = inspect.signature(export).parameters


def test_every_option_of_a_variant_is_an_argument_with_its_default():
    untouched = PrecisionOptions()
    for entry in fields(PrecisionOptions):
        default = getattr(untouched, entry.name)
        assert ARGUMENTS[entry.name].default == (default or None if entry.name == "limits" else default), entry.name


def test_every_argument_of_the_export_is_an_argument_here():
    direct = set(inspect.signature(write_bundle.export).parameters) - {"precision", "switches"}
    assert set(ARGUMENTS) == direct | {entry.name for entry in fields(PrecisionOptions)} | {"weights", *SWITCHES}


def test_every_argument_is_explained():
    for name in ARGUMENTS:
        assert f"\n    {name}: " in export.__doc__, name


def test_the_package_shows_the_signature_of_the_function():
    assert inspect.signature(sacvit.export) == inspect.signature(export)
    assert inspect.signature(sacvit.export.__call__) == inspect.signature(export)


@pytest.mark.programs
def test_int8_is_one_word(tiny_checkpoint, tmp_path, calibration_images):
    lines: list[str] = []
    bundle = sacvit.export(
        str(tiny_checkpoint), str(tmp_path / "build"), int8=True, calib=str(calibration_images.path),
        threshold=np.float32(0.302), limits={"exit_agreement": 0.9}, report=lines.append,
    )  # fmt: skip
    assert set(bundle.variants) == {"int8", "int8fp16"} and lines


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"int8": "yes"}, "bool"),
        ({"calib": 3}, "Path"),
        ({"calib_count": 1.5}, "int"),
        ({"calib_method": "max"}, "'mse'"),
        ({"min_top1": "fp16"}, "'fp32'"),
        ({"limits": {"exit_agreement": "a"}}, "float"),
        ({"selection": "window5"}, "'window'"),
        ({"threshold": [0.7]}, "float"),
    ],
)
def test_an_argument_of_another_type_is_refused_with_what_it_takes(wrong, named):
    with pytest.raises(UsageError, match=rf"export\({next(iter(wrong))}=\.\.\.\) takes .*{named}"):
        export("model.pth", **wrong)


@pytest.mark.parametrize(
    ("options", "meant"),
    [({"limits": {"exit_agrement": 0.9}}, "exit_agreement"), ({"families": ("int9",)}, "int8")],
)
def test_a_name_that_no_table_has_is_refused_with_the_nearest(tiny_checkpoint, options, meant):
    with pytest.raises(UsageError, match=f"did you mean {meant}"):
        export(tiny_checkpoint, int8=True, **options)
