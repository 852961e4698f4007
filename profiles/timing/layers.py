"""Time by layer, where a backend reports it: TensorRT's profiler, ONNX Runtime's trace of the CPU."""

from __future__ import annotations

import statistics
from typing import Any

from ...runtime.chain.gate import Gate
from ...runtime.chain.pipeline import Pipeline
from ...runtime.chain.track import places_for
from .inputs import Images

PASSES, WARM_UP = 20, 2

LayerTimes = dict[str, list[float]]  # ms of each pass by layer, in the order of their run


def time_layers(pipeline: Pipeline, images: Images, batch: int) -> dict[str, LayerTimes]:
    """Times by stage and layer, over separate passes; the stages must report them.

    The sum over layers exceeds the time of a pass: measuring takes time, and on a GPU layers no longer overlap.
    """
    track = pipeline.track(batch)
    for place, slot in enumerate(track.images[:batch]):
        images.prepare(place, slot)
    track.start(batch)
    track.gate(Gate(1.0))
    track.finish()
    found: dict[str, LayerTimes] = {}
    for stage, buffers, lane in (
        (pipeline.ee, track.ee_buffers, track.ee_lane),
        (pipeline.sac, track.sac_buffers, track.sac_lane),
    ):
        times = stage.layer_times(buffers(places_for(batch, stage.batches)), lane, PASSES + WARM_UP)
        found[stage.record.stage] = {layer: values[WARM_UP:] for layer, values in times.items()}
    return found


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
