from __future__ import annotations

import pytest

from sacvit.export.plans.ladder import Features, Rung, compares_typings, ladder, load_table

TRT8, TRT10, TRT11 = Features(False, True, False), Features(True, True, True), Features(True, False, True)
ALL = ("fp32", "int8", "fp16", "int8fp16")


def names(wanted, features, exported=ALL) -> list[str]:
    return [rung.name for rung in ladder(wanted, features, exported)]


def test_fp16_on_tensorrt_8_is_said_by_flags():
    assert names("fp16", TRT8) == [
        "FP16, by flags", "FP16, types chosen by TensorRT", "FP16, by flags, attention unfused",
        "FP16, by flags, attention in FP32", "FP32",
    ]  # fmt: skip


def test_fp16_on_tensorrt_10_tries_both_typings_first():
    assert names("fp16", TRT10) == [
        "FP16, strongly typed", "FP16, by flags", "FP16, types chosen by TensorRT",
        "FP16, strongly typed, attention in BF16", "FP16, strongly typed, attention unfused",
        "FP16, strongly typed, attention in FP32", "FP32",
    ]  # fmt: skip


def test_fp16_on_tensorrt_11_has_no_flags():
    assert names("fp16", TRT11) == [
        "FP16, strongly typed", "FP16, strongly typed, attention in BF16", "FP16, strongly typed, attention unfused",
        "FP16, strongly typed, attention in FP32", "FP32",
    ]  # fmt: skip


def test_int8_takes_the_typed_graph_where_typing_is_strong_and_the_opset_17_one_where_flags_say_it():
    assert [(rung.precision, rung.typing) for rung in ladder("int8", TRT10, ALL)[:2]] == [
        ("int8fp16", "strong"), ("int8", "weak")
    ]  # fmt: skip
    assert ladder("int8", TRT8, ALL)[0].precision == "int8"
    assert ladder("int8", TRT11, ALL)[0].precision == "int8fp16"


def test_int8_falls_back_to_fp16_where_that_was_exported():
    assert "FP16, strongly typed" in names("int8", TRT11)
    assert "FP16, strongly typed" not in names("int8", TRT11, ("fp32", "int8", "int8fp16"))


def test_bf16_comes_behind_fp16_where_both_were_exported_unless_it_was_asked_for():
    exported = (*ALL, "bf16", "fp8")

    def first(wanted: str) -> list[str]:
        return [name.partition(",")[0] for name in names(wanted, TRT11, exported) if name.endswith(", strongly typed")]

    assert first("fp16") == ["FP16", "BF16"]
    assert first("bf16") == ["BF16", "FP16"]
    assert first("fp8") == ["FP8", "FP16", "BF16"]
    assert first("int8") == ["INT8", "FP8", "FP16", "BF16"]


def test_tensorrt_8_builds_no_bf16_and_no_fp8():
    assert names("fp8", TRT8, ("fp32", "bf16", "fp8")) == ["FP16, types chosen by TensorRT", "FP32"]


@pytest.mark.parametrize("features", [TRT8, TRT10, TRT11])
@pytest.mark.parametrize("wanted", ["int8", "fp16", "fp32"])
def test_every_ladder_ends_in_fp32(wanted, features):
    assert names(wanted, features)[-1] == "FP32"


def test_fp32_has_one_rung():
    assert names("fp32", TRT10) == ["FP32"]


def test_a_graph_whose_types_tensorrt_chooses_is_judged_as_fp16():
    assert Rung("", "fp32", "weak").computes_in == "fp16" and Rung("", "fp32", "strong").computes_in == "fp32"


@pytest.mark.parametrize(
    ("version", "both"),
    [
        ("8.6.2", False),
        ("10.0.1", True),
        ("10.3.0", True),
        ("10.11.0.33", True),
        ("10.12.0", False),
        ("11.4.0.106", False),
    ],
)
def test_both_typings_are_compared_where_strong_typing_is_called_unfinished(version, both):
    assert compares_typings(version, load_table()) is both
