"""Graphs of the tiny network in every precision, and exports of it with typed variants."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("torch")

from sacvit.calibration import onnx_session as session_module
from sacvit.calibration.activations import Observation, observe
from sacvit.calibration.onnx_session import Pair
from sacvit.calibration.qdq_placement import insert_qdq, weighted_layers
from sacvit.export import write_bundle as export_module
from sacvit.export.precision import cascade as cascade_module
from sacvit.export.precision import variants as variants_module
from sacvit.export.precision.cascade import Cascade
from sacvit.export.precision.options import PrecisionOptions, default_cache
from sacvit.export.precision.retype import retype
from sacvit.export.precision.variants import open_both
from sacvit.export.write_bundle import Bundle, build_pair, export
from sacvit.model.checkpoint import load_checkpoint

Graphs = dict[tuple[str, str], onnx.ModelProto]  # by stage and precision


@pytest.fixture(scope="session", autouse=True)
def loaded_once() -> Iterator[None]:
    """Graphs recur from test to test, and half of an export is ONNX Runtime loading them: the same bytes are loaded once.

    A loaded graph has no state that a pass could leave behind.
    """
    original = session_module.ort
    kept: dict[bytes, Any] = {}

    def load(content: bytes, *rest: Any, **options: Any) -> Any:
        key = hashlib.sha256(content).digest()
        if key not in kept:
            kept[key] = original.InferenceSession(content, *rest, **options)
        return kept[key]

    stand_in = SimpleNamespace(**vars(original) | {"InferenceSession": load})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_module, "ort", stand_in)
        yield


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    out = onnx.ModelProto()
    out.CopyFrom(model)
    return out


@pytest.fixture(scope="session")
def seen(tiny_checkpoint: Path, images: np.ndarray) -> dict[str, Observation]:
    """What went through each stage's FP32 graph on eight images."""
    ee, sac = build_pair(load_checkpoint(tiny_checkpoint), None)
    pair, shown = Pair(ee), images[:8]
    feeds = {"EE": {"image": shown}, "SAC": pair.sac_inputs(shown, pair.run_ee(shown))}
    found = {}
    for stage, model in (("EE", ee), ("SAC", sac)):
        found[stage] = observe(
            stage, model, [layer.activation for layer in weighted_layers(model)], [(8, feeds[stage])]
        )
    return found


@pytest.fixture(scope="session")
def kept_graphs(tiny_checkpoint: Path, seen: dict[str, Observation]) -> Graphs:
    made: Graphs = {}
    for stage, model in zip(("EE", "SAC"), build_pair(load_checkpoint(tiny_checkpoint), None), strict=True):
        ranges = {name: histogram.largest for name, histogram in seen[stage].histograms.items()}
        made[stage, "fp32"] = model
        made[stage, "int8"] = insert_qdq(model, ranges)
        for source, kind in (("fp32", "fp16"), ("int8", "int8fp16")):
            made[stage, kind] = retype(made[stage, source], seen[stage].largest)[0]
    return made


@pytest.fixture
def graphs(kept_graphs: Graphs) -> Graphs:
    """Both stages of the tiny network in every precision; a test may change them."""
    return {key: copy_of(model) for key, model in kept_graphs.items()}


@pytest.fixture
def change_constant() -> Callable[..., None]:
    """A function that replaces a constant of a graph by what `change` makes of its values."""

    def change(model: onnx.ModelProto, name: str, make: Callable[[Any], Any]) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(make(numpy_helper.to_array(tensor).copy())), name))

    return change


@pytest.fixture(scope="session")
def anything() -> dict[str, float]:
    """Limits that hold for whatever comes out: for tests of another matter."""
    agreements = dict.fromkeys(("exit_agreement", "top1_agreement", "target_overlap"), 0.0)
    return agreements | {"far_flips": 1.0, "band_flips": 1.0, "logit_error": 1e9, "top1_drop": 100.0}


@pytest.fixture
def said() -> list[str]:
    """The lines that exports of `make_bundle` report."""
    return []


@pytest.fixture
def calibrate(
    tiny_checkpoint: Path, calibration_images: Any, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Cascade]:
    """A function that calibrates the tiny network for INT8, its cache in tmp_path / "cache".

    fewest: images that SAC is calibrated on at least. Entries of PrecisionOptions may be changed.
    """

    def make(
        checkpoint: Path = tiny_checkpoint, threshold: float | None = None, batch: int | None = None, fewest: int = 4,
        **changes: Any,
    ) -> Cascade:  # fmt: skip
        monkeypatch.setattr(cascade_module, "FEWEST_SURVIVORS", fewest)
        chosen = {"int8": True, "calib": calibration_images.path, "calib_cache": tmp_path / "cache"}
        options = PrecisionOptions(**(chosen | changes))
        loaded = load_checkpoint(checkpoint)
        shown, _ = open_both(loaded, None, options, said.append)
        eta = calibration_images.threshold if threshold is None else threshold
        made = Cascade(*build_pair(loaded, batch), shown, eta, options, said.append)
        made.calibrate_ee()
        made.calibrate_sac(made.int8("EE"))
        return made

    return make


@pytest.fixture
def make_bundle(
    tiny_checkpoint: Path,
    calibration_images: Any,
    tmp_path: Path,
    said: list[str],
    anything: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Bundle]:
    """A function that exports the tiny checkpoint with INT8 variants to tmp_path / `out`, its cache beside.

    The entries of PrecisionOptions may be changed; `checkpoint`, `out`, `threshold` and `batch` are the export's own.
    Any decision is accepted, unless `limits` say otherwise: limits={} are the defaults.
    The parity check of the FP32 pair and TensorRT's acceptance, which have tests of their own, are left out.
    """
    monkeypatch.setattr(export_module, "check_pair", lambda *_: [])
    monkeypatch.setattr(export_module, "accept", lambda *_: [])
    monkeypatch.setattr(variants_module, "gc", SimpleNamespace(collect=lambda: 0))  # a third of an export among tests

    def make(
        checkpoint: Path = tiny_checkpoint, out: str = "build", threshold: float | None = None, batch: int | None = None,
        **changes: Any,
    ) -> Bundle:  # fmt: skip
        chosen = {"int8": True, "calib": calibration_images.path, "calib_cache": tmp_path / "cache", "limits": anything}
        return export(
            checkpoint,
            tmp_path / out,
            threshold=calibration_images.threshold if threshold is None else threshold,
            batch=batch,
            precision=PrecisionOptions(**(chosen | changes)),
            report=said.append,
        )

    return make


@pytest.fixture
def warm_cache(typed_bundle: Bundle, tmp_path: Path) -> Path:
    """What typed_bundle's export measured, where `calibrate` and `make_bundle` look for it."""
    return Path(shutil.copytree(default_cache(), tmp_path / "cache"))


@pytest.fixture
def spoil(warm_cache: Path) -> Callable[..., None]:
    """A function that changes the content of every file in the cache."""

    def change(make: Callable[[dict[str, Any]], object]) -> None:
        for kept in warm_cache.iterdir():
            content = json.loads(kept.read_text())
            make(content)
            kept.write_text(json.dumps(content))

    return change
