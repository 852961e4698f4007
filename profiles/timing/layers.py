"""Time by layer, where a backend tells it: TensorRT's profiler, ONNX Runtime's trace of the CPU."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from ...runtime.chain.pipeline import Pipeline
from ...runtime.chain.track import Track, places_for
from ...runtime.engines.buffers import Buffer
from ...runtime.engines.cuda import Cuda
from ...runtime.engines.onnx import OnnxStage, make_session
from ...runtime.engines.stage import Stage
from ...runtime.engines.tensorrt import TensorrtBinding, TensorrtStage
from .contenders import SendAll
from .inputs import Images

PASSES, WARM_UP = 20, 2
MAX_TRACE_BYTES = 256 << 20

LayerTimes = dict[str, list[float]]  # ms of each pass by layer, in the order of their run


def time_layers(pipeline: Pipeline, images: Images, batch: int) -> dict[str, LayerTimes]:
    """By stage, over passes of their own; empty where the backend does not tell.

    A sum of layers is more than a pass: asking for times costs time, and on a GPU it keeps layers from overlapping.
    """
    ee, sac = pipeline.ee, pipeline.sac
    if isinstance(ee, TensorrtStage) and isinstance(sac, TensorrtStage):
        ee, sac = (TensorrtStage(stage.path, use_graphs=False) for stage in (ee, sac))
        lanes = ee.device.lanes([max(ee.scratch_bytes, sac.scratch_bytes)])
        track = Track(ee, sac, ee.capacity or batch, lanes)
    elif isinstance(pipeline.ee.device, Cuda) or getattr(pipeline.ee, "provider", "cpu") != "cpu":
        return {}
    else:
        track = pipeline.track(batch)
    for place, slot in enumerate(track.images[:batch]):
        images.prepare(place, slot)
    track.start(batch)
    track.gate(SendAll())
    track.finish()
    found = {}
    for name, stage, places in (
        ("EE", ee, places_for(batch, ee.batches)),
        ("SAC", sac, places_for(batch, sac.batches)),
    ):
        binding = track.ee_binding(places) if name == "EE" else track.sac_binding(places)
        if isinstance(binding, TensorrtBinding):
            found[name] = {layer: times[WARM_UP:] for layer, times in binding.layer_times(PASSES + WARM_UP).items()}
        else:
            buffers = track.ee if name == "EE" else track.sac
            found[name] = _onnx_layer_times(stage, buffers, places)
    return found


def _onnx_layer_times(stage: Stage, buffers: dict[str, Buffer], places: int) -> LayerTimes:
    assert isinstance(stage, OnnxStage)
    with tempfile.TemporaryDirectory(prefix="sacvit-") as folder:
        session = make_session(stage.path, "cpu", Path(folder) / "trace")
        counted = ("row",) if stage.record.stage == "SAC" else ("image",)
        feeds = {
            value.name: buffers[value.name].first(places).host if value.name in counted else buffers[value.name].host
            for value in session.get_inputs()
        }
        for _ in range(PASSES + WARM_UP):
            session.run(None, feeds)
        trace = Path(session.end_profiling())
        assert trace.stat().st_size < MAX_TRACE_BYTES
        events = json.loads(trace.read_text("utf-8"))
    times: LayerTimes = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = f"{event['name'].removesuffix('_kernel_time')} ({event['args']['op_name']})"
            times.setdefault(name, []).append(event["dur"] / 1e3)
    return {name: values[WARM_UP:] for name, values in times.items()}


def layer_rows(times: LayerTimes) -> list[dict[str, Any]]:
    """The rows of trtexec's --exportProfile: the count, then each layer."""
    whole = sum(map(sum, times.values())) or 1.0
    rows: list[dict[str, Any]] = [{"count": max(map(len, times.values()), default=0)}]
    for name, values in times.items():
        rows.append(
            {
                "name": name,
                "timeMs": round(sum(values), 6),
                "averageMs": round(statistics.fmean(values), 6),
                "medianMs": round(statistics.median(values), 6),
                "percentage": round(100 * sum(values) / whole, 4),
            }
        )
    return rows
