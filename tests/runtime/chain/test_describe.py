from __future__ import annotations

from dataclasses import replace

from sacvit.runtime.chain.pipeline import Pipeline


def test_a_pipeline_shows_its_engines_precision_backend_threshold_and_classes(bundles):
    text = repr(Pipeline.load(bundles / "bundle"))
    for part in (
        "bundle/ee.onnx + sac.onnx",
        "fp32 on ONNX Runtime",
        "threshold 0.5",
        "5 classes (ant, bee, cat, ...)",
    ):
        assert part in text


def test_engines_of_two_precisions_show_both(bundles):
    folder = bundles / "typed"
    assert "int8 and fp32 on" in repr(Pipeline.load(folder / "ee.int8.onnx", folder / "sac.onnx"))


def test_a_label_that_could_steer_the_terminal_is_shown_without_its_codes(bundles):
    pipeline = Pipeline.load(bundles / "bundle")
    pipeline.ee.record = replace(pipeline.ee.record, labels=["\x1b[31mant"])
    assert "\x1b" not in repr(pipeline)
