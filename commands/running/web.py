"""The web view of sacvit-run: the port before engines are loaded, the server with the chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...machine.small_files import ROOT
from ...profiles.conditions.heat import read_temperatures
from ...profiles.power.energy import TOTAL
from ...runtime.chain.pipeline import Pipeline
from ...runtime.sources.address import without_password
from ...runtime.web.opening import WebPort
from ...runtime.web.sensors import Readings
from ...runtime.web.threshold import LiveThreshold

if TYPE_CHECKING:
    from ...profiles.beside_run.run_power import RunPower
    from ...runtime.web.view import WebView
    from ...serving.client import RemotePipeline


def start_web(
    taken: WebPort,
    cameras: Sequence[str],
    pipeline: Pipeline | RemotePipeline,
    stalled_s: float | None,
    power: RunPower | None,
) -> WebView:
    """Serves the page of this run. The threshold can be stored where engine files stand beside their manifest."""
    if isinstance(pipeline, Pipeline):
        ee, sac = pipeline.ee, pipeline.sac
        threshold = LiveThreshold(pipeline, ee.path, ee.record)
        precision = " and ".join(dict.fromkeys([ee.record.precision, sac.record.precision]))
        about = {"engine": ee.backend, "precision": precision, "bundle": str(ee.path.parent)}
    else:
        threshold, about = LiveThreshold(pipeline), {"engine": f"a Triton at {pipeline.address}"}
    return taken.serve(
        [without_password(spec) for spec in cameras], about, threshold, lambda: read_sensors(power), stalled_s
    )


def read_sensors(power: RunPower | None) -> Readings:
    """What this machine's sensors say now; with --power, its last window."""
    window = None if power is None else power.line()
    watts = {} if window is None else window["w"]
    return Readings(read_temperatures(ROOT), watts, watts.get(TOTAL))
