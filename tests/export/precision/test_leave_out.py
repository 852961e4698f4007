"""A variant that decides otherwise: which layers are named, what is advised, what --sensitivity writes."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

from sacvit.bundle.errors import GuardError, SacvitError
from sacvit.bundle.precision import INT8_LIMITS
from sacvit.calibration.decisions import Comparison, StageAnswers
from sacvit.calibration.guards import Guard
from sacvit.calibration.sensitivity import COLUMNS, Effect
from sacvit.calibration.threshold import match_exit_rate
from sacvit.export.precision import variants
from sacvit.export.precision.leave_out import complain
from sacvit.export.precision.options import Variant
from sacvit.export.precision.request import PrecisionOptions
from sacvit.export.precision.variants import _Maker

pytestmark = pytest.mark.programs

EE_LAYERS = 5 * 4 + 1  # qkv, proj, fc1, fc2; the patch embedding
BAD = "blocks.1.mlp.fc1"  # whose range the tests below spoil
PNG = b"\x89PNG\r\n\x1a\n"


def spoil_a_layer(content: dict[str, Any]) -> None:
    """An eightieth of the range of what BAD reads."""
    content["measured"]["ranges"]["blocks.1.norm2"] /= 80


def breached(precision: str = "int8", **stages: bool) -> Variant:
    """A variant with a guard for each named stage: does it hold?"""
    model = onnx.ModelProto()
    guards = [Guard(f"{stage} guard", stage, float(holds), 1.0, True, f"--{stage}") for stage, holds in stages.items()]  # type: ignore[arg-type]
    return Variant(precision, model, model, 0.5, "exit-rate", guards, {}, {}, INT8_LIMITS)  # type: ignore[arg-type]


def effect(stage: str, layer: str, error: float) -> Effect:
    return Effect(stage, layer, error, error, 0.0, 0, 32)


EFFECTS = [effect("EE", f"ee.{place}", 0.9 - place / 10) for place in range(7)] + [effect("SAC", "sac.0", 0.85)]


def blamed(message: str) -> list[str]:
    """The layers that a message names, in its order."""
    lines = message.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("What hurts most"))
    return [line.split()[1] for line in lines[start + 1 : -1]]


def test_the_five_worst_layers_of_the_stage_are_named_worst_first():
    assert blamed(complain([breached(EE=False, SAC=True)], EFFECTS, False)) == [f"ee.{place}" for place in range(5)]


def test_the_other_stages_layers_are_not_blamed():
    assert blamed(complain([breached(EE=True, SAC=False)], EFFECTS, False)) == ["sac.0"]


def test_the_chain_blames_both_stages():
    assert blamed(complain([breached(chain=False)], EFFECTS, False))[:2] == ["ee.0", "sac.0"]


def test_a_layer_that_gives_nan_is_the_worst():
    effects = [effect("EE", "fine", 0.1), effect("EE", "broken", float("nan")), effect("EE", "poor", 0.5)]
    assert blamed(complain([breached(EE=False)], effects, False)) == ["broken", "poor", "fine"]


def test_only_failed_guards_are_shown():
    message = complain([breached(EE=False, SAC=True)], EFFECTS, False)
    assert "FAILED EE guard" in message and "SAC guard" not in message


def test_the_flag_of_each_failed_guard_is_told_once():
    both = [breached(EE=False, SAC=True), breached("int8fp16", EE=False)]
    assert complain(both, EFFECTS, False).endswith("A wider limit, if you accept what it means: --EE")


def test_int8_is_advised_to_leave_layers_out():
    assert "Try: --auto, which leaves the worst layers in FP16" in complain([breached(EE=False)], EFFECTS, False)


def test_who_gave_auto_is_not_told_to_give_it():
    assert "--auto" not in complain([breached(EE=False)], EFFECTS, True)


def test_fp16_is_advised_to_keep_more_in_fp32():
    message = complain([breached("fp16", EE=False)], EFFECTS, False)
    assert "alone in FP16" in message and "Try: a lower --fp16-limit keeps more in FP32" in message


@pytest.fixture
def failing(make_bundle, spoil, anything, tmp_path, monkeypatch) -> str:
    """The message of an INT8 export with one spoilt layer and --sensitivity, of EE alone for the time that it takes."""
    monkeypatch.setattr("sacvit.export.precision.leave_out.STAGES", ("EE",))
    spoil(spoil_a_layer)
    with pytest.raises(GuardError) as fault:
        make_bundle(limits=anything | {"logit_error": 0.1}, sensitivity=tmp_path / "layers.csv")
    assert not (tmp_path / "build").exists()
    return str(fault.value)


def test_a_breach_names_the_spoilt_layer_first_and_writes_the_table_and_the_plot(failing, tmp_path):
    assert blamed(failing)[0] == BAD
    header, *rows = (tmp_path / "layers.csv").read_text().splitlines()
    assert header == COLUMNS
    assert len(rows) == EE_LAYERS and rows[0].startswith(f"EE,{BAD},")
    assert (tmp_path / "layers.png").read_bytes().startswith(PNG)


def test_auto_leaves_the_spoilt_layer_out_until_the_guards_hold(make_bundle, spoil, said, anything):
    spoil(spoil_a_layer)
    bundle = make_bundle(limits=anything | {"logit_error": 0.1}, auto=True)
    found = json.loads((bundle.folder / "sacvit.json").read_text())["variants"]["int8"]
    assert found["left_out_of_int8"] == {"EE": [BAD]}
    assert [guard["limit"] for guard in found["guards"] if guard["name"] == "mean logit error, EE"] == [0.1]
    nodes = {node.name: node for node in onnx.load(bundle.variants["int8"][0]).graph.node}
    assert nodes[f"{BAD}.matmul"].input[0] == "blocks.1.norm2"
    assert nodes["blocks.1.mlp.fc2.matmul"].input[0] == "blocks.1.mlp.gelu.dequantized"
    assert f"--auto: EE leaves 1 of {EE_LAYERS} layers unquantised: {BAD}" in said


def test_auto_may_leave_every_layer_of_a_stage_out(make_bundle, monkeypatch):
    """INT8 in FP16 is then FP16 alone, in that stage; its lint must not ask for scales that nothing needs."""
    monkeypatch.setattr(
        _Maker,
        "_settle",
        lambda self, stage: self.cascade.left.update(SAC=[x.name for x in self.cascade.layers["SAC"]]),
    )
    bundle = make_bundle(auto=True)
    assert not [node for node in onnx.load(bundle.variants["int8"][1]).graph.node if "Quantize" in node.op_type]


def test_sensitivity_is_written_for_fp16_where_every_guard_holds(make_bundle, tmp_path):
    make_bundle(int8=False, fp16=True, limits={}, sensitivity=tmp_path / "layers.csv")
    rows = [row.split(",")[:2] for row in (tmp_path / "layers.csv").read_text().splitlines()[1:]]
    groups = ["patch_embed", *(f"blocks.{index}" for index in range(5))]
    assert sorted(layer for stage, layer in rows if stage == "EE") == sorted(groups)
    assert sorted(layer for stage, layer in rows if stage == "SAC") == sorted([*groups, "reuse_block"])
    assert (tmp_path / "layers.png").read_bytes().startswith(PNG)


def test_the_plot_never_takes_the_place_of_a_picture_that_was_read(make_bundle, calibration_images, tmp_path):
    (tmp_path / "pictures").mkdir()
    for place in range(4):
        assert cv2.imwrite(str(tmp_path / "pictures" / f"{place}.png"), calibration_images.images[place])
    before = (tmp_path / "pictures" / "0.png").read_bytes()
    with contextlib.suppress(SacvitError):
        make_bundle(int8=False, fp16=True, calib=tmp_path / "pictures", sensitivity=tmp_path / "pictures" / "0.csv")
    assert (tmp_path / "pictures" / "0.png").read_bytes() == before


class Settling:
    """A _Maker whose guards hold as soon as the `needed` worst layers are left out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, needed: int, count: int = 21) -> None:
        self.maker = object.__new__(_Maker)
        self.maker.cascade = type("Stub", (), {"left": {}})()
        self.maker.report = lambda line: None
        self.maker.options = PrecisionOptions(int8=True)
        self.tried: list[int] = []
        guard = breached(EE=False).guards[0]

        def fails(stage: str, left: list[str]) -> list[Guard]:
            self.tried.append(len(left))
            return [guard] if len(left) < needed else []

        monkeypatch.setattr(self.maker, "_failing", fails)
        ranked = [effect("EE", str(place), 1.0) for place in range(count)]
        monkeypatch.setattr(variants, "measure_stage", lambda *_: ranked)
        self.maker._settle("EE")


def test_auto_leaves_out_as_few_layers_as_the_guards_need(monkeypatch):
    needed = range(1, 22)
    assert [len(Settling(monkeypatch, count).maker.cascade.left["EE"]) for count in needed] == [*needed]


def test_auto_leaves_nothing_out_where_the_guards_hold(monkeypatch):
    done = Settling(monkeypatch, 0)
    assert done.maker.cascade.left == {} and done.tried == [0]


def test_auto_tries_few_of_many_counts(monkeypatch):
    assert len(Settling(monkeypatch, 13).tried) <= 10


@pytest.fixture
def judging(monkeypatch):
    """A function: does EE or SAC hold, in the eyes of --auto, for a variant whose confidences are a tenth lower?"""

    def holds(stage: str, right: bool = True, **options: Any) -> bool:
        confidence = np.linspace(0.3, 0.9, 40, dtype=np.float32)
        lower = confidence - np.float32(0.1)
        assert match_exit_rate(confidence, 0.6, lower) < 0.55
        labels, none = np.zeros(40, np.int64), np.zeros(40)
        answers = StageAnswers(labels, labels if right else labels + 1, none, none)
        found = Comparison(confidence, lower, np.ones(40), answers, answers, labels)
        monkeypatch.setattr(variants, "compare", lambda *_: {"int8": found})
        maker = object.__new__(_Maker)
        cascade = {
            "left": {},
            "reference": SimpleNamespace(sac=None if stage == "EE" else "a session"),
            "quantised": lambda *_: None,
            "images": SimpleNamespace(labels=labels, source="a folder", are_strangers=False),
        }
        maker.cascade, maker.threshold = SimpleNamespace(**cascade), 0.6
        maker.evaluation = maker.cascade.images
        maker.options = PrecisionOptions(int8=True, **options)
        maker.report = lambda line: None
        monkeypatch.setattr(maker, "_runnable", lambda *_: None)
        monkeypatch.setattr(maker, "_retyped", lambda *_: ({}, {}))
        return not maker._failing(stage, [])

    return holds


@pytest.mark.parametrize(("match", "holds"), [("exit-rate", True), ("none", False)])
def test_auto_judges_at_the_threshold_that_the_variant_will_have(judging, match, holds):
    """Fitted, the same images exit; at FP32's threshold, others do."""
    assert judging("EE", match=match) == holds


def test_auto_takes_a_top1_out_of_reach_as_a_reason_to_leave_layers_out(judging):
    """In INT8 both stages answer every image wrongly: no threshold helps, layers may."""
    assert not judging("SAC", right=False, min_top1=100.0, limits={"top1_agreement": 0.0, "top1_drop": 100.0})


def test_auto_takes_a_top1_within_reach_as_it_is(judging):
    assert judging("SAC", min_top1=100.0)
