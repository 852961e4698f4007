"""Opens the parts of a run, in the order in which their faults should be reported: what takes seconds comes last."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...runtime.events.live_events import LiveEvents
from ...runtime.sinks.opening import open_recorder, open_sinks
from ...runtime.sources.opening import open_sources
from .asked import Asked, require_events
from .chain import load_engines, open_server

if TYPE_CHECKING:
    from ...profiles.beside_run.run_power import RunPower
    from ...runtime.chain.pipeline import Pipeline
    from ...runtime.sinks.sink import Sink
    from ...runtime.sources.frame import Source
    from ...serving.client import RemotePipeline


@dataclass(frozen=True)
class Parts:
    """The parts of a run. sinks: in the order in which they take an answer, and are closed."""

    pipeline: Pipeline | RemotePipeline
    source: Source
    sinks: list[Sink]
    events: LiveEvents
    power: RunPower | None


def open_parts(options: argparse.Namespace, asked: Asked, ends: ExitStack) -> Parts:
    """Opens all of them, or none: what was opened is closed when a later part fails.

    ends: closes the connection to a server. Raises SacvitError.
    """
    if asked.web.web is not None:
        from ...runtime.web.opening import WebPort
        from .web import start_web
    with ExitStack() as unused:
        source = open_sources(options.camera, asked.opening)
        unused.callback(source.close)
        events = LiveEvents(asked.events, source, lambda rules: require_events(rules, asked.video, asked.sinks))
        if events.watcher is not None:
            unused.callback(events.watcher.close)
        recorder = open_recorder(asked.sinks, source, events.report_stop)
        if recorder is not None:
            unused.callback(recorder.close)
        power = open_power_reader(asked, len(options.camera))
        if power is not None:
            unused.callback(power.close)
        sinks = open_sinks(asked.sinks, source, power.line if power else lambda: None)
        for sink in sinks:
            unused.callback(sink.close)
        port = None if asked.web.web is None else WebPort(asked.web.web)
        if port is not None:
            unused.callback(port.close)
        pipeline = (
            open_server(options, ends)
            if options.engine is None
            else load_engines(options, asked.threshold.threshold, asked.video)
        )
        if options.fit is not None:
            pipeline.use_fit(options.fit)
        events.require_labels(pipeline.labels)
        if power is not None:
            power.begin(pipeline, options.server)
        view = None if port is None else start_web(port, options.camera, pipeline, asked.opening.stall_timeout_s, power)
        unused.pop_all()
    # A line has the power that is known with its frame, and a frame is recorded before its event is made.
    sinks = [sink for sink in (power, *sinks, recorder, view) if sink is not None]
    events.join(sinks, None if recorder is None else recorder.keep_clip, None if view is None else view.report_event)
    return Parts(pipeline, source, sinks, events, power)


def open_power_reader(asked: Asked, cameras: int) -> RunPower | None:
    """What reads --power; None without it. Raises PowerError for a named source that does not answer."""
    if not asked.power.is_asked:
        return None
    from ...profiles.beside_run.run_power import RunPower

    return RunPower(asked.power, asked.loop, cameras)
