"""A profile from start to end: engines, images, power source, windows in every power mode, parts, layers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..bundle.errors import SacvitError
from ..bundle.folders import locked_folder
from ..runtime.chain.track import places_for
from .conditions.power_modes import PowerModes
from .conditions.watcher import Watcher, conditions_of, require_same
from .power.open import open_power
from .power.source import PowerSource
from .request import ProfileRequest
from .timing.layers import layer_rows, time_layers
from .timing.pass_parts import time_parts
from .timing.schedule import foreword, missing_windows, plan_schedule
from .timing.session import Report, Session, Surroundings
from .timing.store import Store, open_store
from .timing.subject import Subject, open_subject
from .timing.trtexec import summary_lines, write_times


@dataclass(frozen=True)
class Run:
    """A profile in progress: its subject, its store, and its reports."""

    subject: Subject
    store: Store
    report: Report
    tell: Callable[[str], None]
    open_source: Callable[..., PowerSource]


def profile_pair(
    request: ProfileRequest,
    folder: Path,
    report: Report,
    tell: Callable[[str], None],
    *,
    open_source: Callable[..., PowerSource] = open_power,
    modes: PowerModes | None = None,
) -> Store:
    """Measures the windows that the store in `folder` lacks. After Ctrl-C it keeps what was measured.

    Raises EngineError for engines that do not fit, UsageError for options that do not and for a folder that another run
    writes to, PowerError for a power source that was asked for by name and does not answer.
    """
    with locked_folder(folder):
        subject = open_subject(request)
        store = open_store(folder, subject.header())
        store.add("command", {"command": request.command, "date": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
        run = Run(subject, store, report, tell, open_source)
        if request.layers and not subject.pipeline.ee.reports_layers:
            tell(f"--layers has no effect: {subject.pipeline.ee.backend} does not report times by layer")
        if request.power_modes:
            _sweep_modes(run, modes or PowerModes())
        else:
            _measure_mode(run, None)
            _measure_apart(run)
        return store


def _sweep_modes(run: Run, modes: PowerModes) -> None:
    """Measures in each power mode that can be set, and restores the old one."""
    modes.require(run.subject.request.power_modes)
    is_apart_done = False
    with modes.restored():
        for mode in run.subject.request.power_modes:
            try:
                modes.switch(mode)
            except SacvitError as reason:
                run.tell(f"power mode {mode} is skipped: {reason}")
                run.store.add("skipped", {"mode": mode, "reason": str(reason)})
                continue
            _measure_mode(run, mode)
            if not is_apart_done:  # still in the first mode that could be set
                _measure_apart(run)
                is_apart_done = True


def _measure_mode(run: Run, mode: int | None) -> None:
    request, store, contenders = run.subject.request, run.store, run.subject.contenders()
    order = missing_windows(store, contenders, mode, run.subject.rounds)
    if not order:
        run.tell(f"{store.folder} already holds all windows{'' if mode is None else f' of power mode {mode}'}")
        return
    source = run.open_source(request.power, on_gpu=run.subject.pipeline.ee.on_gpu)
    try:
        schedule = plan_schedule(
            source, run.subject.duration_s, request.iterations, request.warmup_ms, run.subject.rounds
        )
        schedule = replace(schedule, least_passes=run.subject.least_passes)
        for line in foreword(source, schedule, len(order), contenders):
            run.tell(line)
        watcher = Watcher(source)
        conditions = conditions_of(watcher.before, source)
        require_same(store, mode, conditions)
        session = len(store.of("session"))
        try:
            store.add("look", {"session": session, **watcher.first()})
            around = Surroundings(source, run.report, conditions, watcher.look)
            Session(store, schedule, around, mode).run(contenders, order)
        finally:
            store.add("state", {"session": session, **watcher.last()})
    finally:
        source.close()


def _measure_apart(run: Run) -> None:
    """Measures the parts of passes, and layers: once, in the first power mode."""
    request, store, subject = run.subject.request, run.store, run.subject
    if not store.of("parts") or request.export_times is not None:
        run.report("parts", 3.0)
        _add_parts(run)
    if request.layers and subject.pipeline.ee.reports_layers and not store.of("layers"):
        run.report("layers", 1.0)
        times = time_layers(subject.pipeline, subject.images, subject.batch)
        store.add("layers", {"stages": {stage: layer_rows(rows) for stage, rows in times.items()}})


def _add_parts(run: Run) -> None:
    subject, request, pipeline = run.subject, run.subject.request, run.subject.pipeline
    timed = time_parts(pipeline, subject.gate(subject.thresholds[0]), subject.images, subject.batch)
    binding = pipeline.track(subject.batch).ee_binding(places_for(subject.batch, pipeline.ee.batches))
    run.store.add(
        "parts",
        {
            "switches": {
                "CUDA graph": binding.is_captured,
                "spin wait": False,
                "transfers": "included" if pipeline.ee.on_gpu else "none: EE and SAC work on the host's memory",
                "separate profile run": True,
            },
            "summary": {stage: summary_lines(passes, wall_s) for stage, (passes, wall_s) in timed.items()},
        },
    )
    if request.export_times is not None:
        passes = [one for timed_passes, _ in timed.values() for one in timed_passes]
        write_times(sorted(passes, key=lambda one: one.enqueue[0]), request.export_times)
