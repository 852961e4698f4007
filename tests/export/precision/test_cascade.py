"""The order of calibration: EE on the images, SAC on what the quantized EE hands over; ranges measured once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("torch")

from sacvit.bundle.errors import SacvitError
from sacvit.bundle.stage_record import HAND_OFF
from sacvit.calibration.onnx_session import Session
from sacvit.calibration.threshold import match_exit_rate
from sacvit.export.precision import cascade
from sacvit.export.precision.cascade import Cascade

Fed = dict[str, list[dict[str, np.ndarray]]]


class MeasuredAgainError(Exception):
    """Planted where ranges are measured: whoever meets it did not read them from the cache."""


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> Fed:
    """The inputs that each stage is calibrated on, by file name, in pieces."""
    pieces: Fed = {}
    original = cascade.observe

    def observe(name: str, model: onnx.ModelProto, activations: Any, feed: Any) -> Any:
        def copied():
            for count, inputs in feed:
                if not activations:  # the GPU form, which is measured for its sizes alone
                    yield count, inputs
                    continue
                pieces.setdefault(name, []).append({key: values.copy() for key, values in inputs.items()})
                yield count, inputs

        return original(name, model, activations, copied())

    monkeypatch.setattr(cascade, "observe", observe)
    return pieces


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, BaseException], None]:
    """A function that plants a fault where a stage's ranges are measured."""
    original = cascade.observe

    def plant(stage: str, fault: BaseException) -> None:
        def observe(name: str, *rest: Any) -> Any:
            if name == f"{stage.lower()}.onnx":
                raise fault
            return original(name, *rest)

        monkeypatch.setattr(cascade, "observe", observe)

    return plant


def joined(pieces: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
    return np.concatenate([piece[name] for piece in pieces])


def graphs_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.onnx"))}


def kept_in(folder: Path) -> list[str]:
    """The stages whose ranges a cache holds."""
    return sorted(path.name.partition("-")[0] for path in folder.iterdir())


def confidences(done: Cascade, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FP32's and INT8's, from graphs that nobody else has run."""
    fp32, int8 = (
        Session(model).run({"image": images})["confidence"] for model in (done.fp32["EE"], done.quantised("EE"))
    )
    return fp32, int8


def test_ee_is_calibrated_on_every_image_once(calibrate, fed, calibration_images):
    calibrate()
    assert (joined(fed["ee.onnx"], "image") == calibration_images.images).all()


def test_sac_is_calibrated_on_the_images_that_the_quantized_ee_does_not_let_out(calibrate, fed, calibration_images):
    fp32, int8 = confidences(calibrate(), calibration_images.images)
    survivors = int8 < np.float32(match_exit_rate(fp32, calibration_images.threshold, int8))
    assert 0 < survivors.sum() < 40
    assert (joined(fed["sac.onnx"], "image") == calibration_images.images[survivors]).all()


def test_the_quantized_ees_own_threshold_decides_not_fp32s(calibrate, fed, calibration_images, monkeypatch):
    """With INT8 made coarse, FP32's threshold would send other images on."""
    monkeypatch.setattr("sacvit.calibration.ranges.Histogram.range_by", lambda self, method: self.largest / 8)
    fp32, int8 = confidences(calibrate(), calibration_images.images)
    survivors = int8 < np.float32(match_exit_rate(fp32, calibration_images.threshold, int8))
    assert (survivors != (int8 < np.float32(calibration_images.threshold))).any()
    assert (joined(fed["sac.onnx"], "image") == calibration_images.images[survivors]).all()


def test_without_a_fit_fp32s_threshold_decides(calibrate, fed, calibration_images, monkeypatch):
    monkeypatch.setattr("sacvit.calibration.ranges.Histogram.range_by", lambda self, method: self.largest / 8)
    _, int8 = confidences(calibrate(match="none"), calibration_images.images)
    survivors = int8 < np.float32(calibration_images.threshold)
    assert (joined(fed["sac.onnx"], "image") == calibration_images.images[survivors]).all()


def test_sac_is_calibrated_on_what_the_quantized_ee_hands_over(calibrate, fed):
    done = calibrate()
    shown = joined(fed["sac.onnx"], "image")
    found = {name: joined(fed["sac.onnx"], name) for name in HAND_OFF}
    by_int8, by_fp32 = (Session(model).run({"image": shown}) for model in (done.quantised("EE"), done.fp32["EE"]))
    assert (found["target_index"] == by_int8["target_index"]).all()
    for name in HAND_OFF[1:]:
        assert np.abs(found[name] - by_int8[name]).max() < 1e-4  # passes of another size sum in another order
    assert np.abs(found["target_context"] - by_fp32["target_context"]).max() > 1e-2


def test_too_few_survivors_are_filled_up_with_the_least_certain(calibrate, fed, calibration_images):
    _, int8 = confidences(calibrate(fewest=30), calibration_images.images)
    least = np.sort(np.argsort(int8, kind="stable")[:30])
    assert (joined(fed["sac.onnx"], "image") == calibration_images.images[least]).all()


def test_too_few_survivors_are_told(calibrate, said):
    calibrate(threshold=0.29, fewest=19)
    wanted = "warning: only 18 of 40 calibration images do not exit at 0.29; SAC is calibrated on the 19 least certain"
    assert [line for line in said if line.startswith(wanted)], said


def test_enough_survivors_are_told_without_a_warning(calibrate, said):
    calibrate(threshold=0.29, fewest=18)
    assert "SAC: calibrated on the 18 of 40 images that do not exit at 0.29" in said


def test_the_manifest_hears_how_many_images_sac_was_calibrated_on(calibrate):
    assert calibrate(threshold=0.29, fewest=19).sac_images == {"survivors": 18, "sac_images": 19, "sac_threshold": 0.29}


def test_a_second_calibration_measures_nothing(calibrate, forbid):
    first = calibrate()
    forbid("EE", MeasuredAgainError())
    forbid("SAC", MeasuredAgainError())
    assert calibrate().ranges == first.ranges


def test_the_cache_is_told_with_its_path(calibrate, said, tmp_path):
    calibrate()
    calibrate()
    for path in (tmp_path / "cache").iterdir():
        assert [line.partition(f" {path}")[0].rpartition(", ")[2] for line in said if str(path) in line] == [
            "kept in",
            f"{path.name.partition('-')[0].upper()}: ranges of {40 if path.name.startswith('ee') else 19} images from",
        ]


@pytest.mark.parametrize(
    "changes", [{"calib_method": "minmax"}, {"calib_method": "percentile"}, {"calib_method": "entropy"}, {"calib_count": 39}],
    ids=str,
)  # fmt: skip
def test_another_setting_is_measured_anew(calibrate, warm_cache, forbid, changes):
    forbid("EE", MeasuredAgainError())
    with pytest.raises(MeasuredAgainError):
        calibrate(**changes)


def test_one_other_pixel_is_measured_anew(calibrate, warm_cache, forbid, calibration_images, tmp_path):
    changed = calibration_images.images.copy()
    changed[39, 63, 63, 2] ^= 1
    np.savez(tmp_path / "changed.npz", images=changed)
    forbid("EE", MeasuredAgainError())
    with pytest.raises(MeasuredAgainError):
        calibrate(calib=tmp_path / "changed.npz")


def test_another_checkpoint_is_measured_anew(calibrate, warm_cache, forbid, make_checkpoint):
    forbid("EE", MeasuredAgainError())
    with pytest.raises(MeasuredAgainError):
        calibrate(make_checkpoint(seed=1))


def test_another_threshold_measures_sac_anew_but_not_ee(calibrate, warm_cache, forbid):
    """EE's ranges do not depend on the gate; which images SAC sees does."""
    forbid("EE", AssertionError())
    forbid("SAC", MeasuredAgainError())
    with pytest.raises(MeasuredAgainError):
        calibrate(threshold=0.26)


def test_another_quantized_ee_measures_sac_anew(calibrate, forbid):
    """The same images survive; but a layer less in INT8 hands over other tokens."""
    done = calibrate()
    done.left["EE"] = ["blocks.0.mlp.fc2"]
    forbid("SAC", MeasuredAgainError())
    with pytest.raises(MeasuredAgainError):
        done.calibrate_sac(done.quantised("EE"))


def test_ranges_are_kept_in_the_users_cache_where_nobody_says_otherwise(calibrate, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    calibrate(calib_cache=None)
    assert kept_in(tmp_path / "home" / "sacvit" / "calibration") == ["ee", "sac"]


def test_a_cache_that_cannot_be_written_is_one_message(calibrate, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SacvitError, match=r"the calibration cache .* cannot be written"):
        calibrate()


def test_an_interruption_among_sacs_images_keeps_ees_ranges_and_no_half_measured_ones(calibrate, tmp_path, monkeypatch):
    run = Session.run

    def interrupted(self: Session, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = run(self, inputs)
        if "row" in inputs and inputs["row"].max() > 0:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Session, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calibrate()
    assert kept_in(tmp_path / "cache") == ["ee"]


def test_after_an_interruption_the_next_run_measures_only_sac(calibrate, forbid, tmp_path):
    forbid("SAC", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        calibrate()
    forbid("EE", MeasuredAgainError())
    calibrate()
    assert kept_in(tmp_path / "cache") == ["ee", "sac"]


def test_an_export_that_is_interrupted_while_it_calibrates_sac_writes_no_bundle(make_bundle, forbid, tmp_path):
    forbid("SAC", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        make_bundle(calib_cache=tmp_path / "cold")
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "cold"}


def test_a_resumed_export_gives_the_files_of_an_undisturbed_one(make_bundle, forbid, typed_bundle, tmp_path):
    options = {"fp16": True, "calib_cache": tmp_path / "cold"}
    forbid("SAC", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        make_bundle(**options)
    forbid("EE", MeasuredAgainError())
    assert graphs_in(make_bundle(**options).folder) == graphs_in(typed_bundle.folder)


def test_an_export_from_the_cache_gives_the_same_files(make_bundle, forbid, typed_bundle):
    forbid("EE", MeasuredAgainError())
    forbid("SAC", MeasuredAgainError())
    assert graphs_in(make_bundle(fp16=True).folder) == graphs_in(typed_bundle.folder)


def test_a_layer_whose_input_is_always_zero_stays_out_of_int8(calibrate, dead_checkpoint):
    done = calibrate(dead_checkpoint)
    for stage in ("EE", "SAC"):
        nodes = {node.name: node for node in done.quantised(stage).graph.node}
        assert nodes["blocks.2.mlp.fc2.matmul"].input[0] == "blocks.2.mlp.gelu"
        assert nodes["blocks.1.mlp.fc2.matmul"].input[0] == "blocks.1.mlp.gelu.dequantized"


def test_a_layer_whose_input_is_always_zero_is_told(make_bundle, dead_checkpoint, said):
    make_bundle(dead_checkpoint)
    for stage in ("EE", "SAC"):
        assert f"warning: {stage} keeps blocks.2.mlp.fc2 unquantised: their input is always 0" in said


def test_a_fixed_batch_gives_the_symbolic_ones_scales(calibrate):
    done = {batch: calibrate(batch=batch, calib_method="minmax") for batch in (None, 4)}
    for stage in ("EE", "SAC"):
        expected, found = (
            {tensor.name: numpy_helper.to_array(tensor) for tensor in made.quantised(stage).graph.initializer}
            for made in done.values()
        )
        steps = [name for name in expected if name.endswith(".step")]
        # Scales are FP16 numbers, 1e-3 apart; sums in another order move one to its neighbour.
        assert steps and all(np.allclose(found[name], expected[name], rtol=2e-3) for name in steps)


@pytest.fixture(scope="session")
def dead_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network with a fc1 of zeros in block 2: GELU(0) is 0, whatever the image."""
    import torch

    content = torch.load(tiny_checkpoint, weights_only=True)
    for name in ("weight", "bias"):
        content["model"][f"blocks.2.mlp.fc1.{name}"].zero_()
    path = tmp_path_factory.mktemp("dead") / "model.pth"
    torch.save(content, path)
    return path
