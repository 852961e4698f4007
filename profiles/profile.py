"""A profile from start to end: engines, images, power source, windows in every power mode, parts, layers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..bundle.errors import SacvitError, UsageError
from ..bundle.files import sha256_of
from ..machine.jetson import board_model
from ..machine.packages import versions
from ..machine.processor import describe_machine
from ..runtime.chain.gate import Gate
from ..runtime.chain.pipeline import CHUNK, Pipeline
from ..runtime.chain.track import places_for
from ..runtime.engines.options import Provider
from .conditions.power_modes import PowerModes
from .conditions.state import MachineState, read_state
from .conditions.state_text import state_rows
from .conditions.validity import Change, describe_changes
from .power.open import AUTO, open_power
from .power.source import PowerSource
from .timing.contenders import ALWAYS, NEVER, Chain, Contender, PlainViT
from .timing.inputs import Images, load_images
from .timing.layers import layer_rows, time_layers
from .timing.pass_parts import time_parts
from .timing.plain import Plain
from .timing.scenarios import SCENARIOS
from .timing.schedule import foreword, missing_windows, plan_schedule
from .timing.session import Report, Session, Surroundings
from .timing.store import Store, open_store
from .timing.trtexec import Pass, summary_lines, write_times

NUMBERS = re.compile(r"[\d.]+")  # what differs between two tellings of one change
ROUNDS = 3  # windows of a contender: what is between them is its spread
SINGLE_ROUND_PASSES = 3  # fewer iterations than this make one window


@dataclass(frozen=True)
class Request:
    """What a user asked for; see sacvit-profile --help."""

    ee: Path
    sac: Path
    plain: Path | None = None
    source: str | None = None
    thresholds: Sequence[float] | None = None
    batch: int = 0  # 0: 1, or in a scenario of batches the most that the engines take
    provider: Provider = "auto"
    duration_s: float = 30.0
    iterations: int | None = None
    warmup_ms: float = 200.0
    power: str = AUTO
    scenario: str | None = None  # of SCENARIOS
    layers: bool = False
    power_modes: Sequence[int] = ()
    export_times: Path | None = None
    command: str = ""


def open_contenders(
    pipeline: Pipeline,
    plain: Plain | None,
    images: Images,
    thresholds: Sequence[float],
    batch: int,
    scenario: str | None,
) -> list[Contender]:
    """The chain at each threshold, each path by itself, the plain ViT. In a scenario there are no paths apart."""
    found: list[Contender] = [
        Chain(f"eta {value!r}", pipeline, Gate(value, pipeline.temperature), images, batch) for value in thresholds
    ]
    if scenario is None:
        found = [
            Chain(ALWAYS, pipeline, Gate(0.0), images, batch),
            *found,
            Chain(NEVER, pipeline, Gate(1.0), images, batch),
        ]
    return [*found, PlainViT(plain, images, batch)] if plain is not None else found


def profile_pair(
    request: Request,
    folder: Path,
    report: Report,
    tell: Callable[[str], None],
    *,
    open_source: Callable[..., PowerSource] = open_power,
    modes: PowerModes | None = None,
) -> Store:
    """Measures what the store in `folder` lacks. Ctrl-C leaves it with what was measured.

    Raises EngineError for engines that do not fit, UsageError for options that do not, PowerError for a power source
    that was asked for by name and does not answer.
    """
    pipeline = Pipeline.load(request.ee, request.sac, provider=request.provider)
    most = pipeline.ee.capacity or CHUNK
    scenario = None if request.scenario is None else SCENARIOS[request.scenario]
    batch = request.batch or (most if scenario is not None and scenario.is_batched else 1)
    if not 1 <= batch <= most:
        raise UsageError(f"--batch {batch}: these engines take 1 to {most} images a pass")
    request = replace(request, batch=batch)
    plain = None if request.plain is None else Plain(request.plain, request.batch, request.provider)
    if plain is not None:
        require_comparable(pipeline, plain)
    images = load_images(request.source, request.ee.parent, pipeline.preprocessing)
    thresholds = request.thresholds or [pipeline.threshold]
    contenders = open_contenders(pipeline, plain, images, thresholds, request.batch, request.scenario)
    store = open_store(folder, header(request, pipeline, plain, images))
    store.add("command", {"command": request.command, "date": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
    on_gpu = pipeline.ee.on_gpu
    switcher = (modes or PowerModes()) if request.power_modes else None
    if switcher is not None:
        switcher.require(request.power_modes)
    with switcher.restored() if switcher is not None else nullcontext():
        is_apart_done = False
        wanted: list[int | None] = [*request.power_modes] or [None]
        for mode in wanted:
            if mode is not None and switcher is not None:
                try:
                    switcher.switch(mode)
                except SacvitError as reason:
                    tell(f"power mode {mode} is left out: {reason}")
                    store.add("skipped", {"mode": mode, "reason": str(reason)})
                    continue
            _measure_mode(
                request, store, contenders, mode, report, tell, lambda: open_source(request.power, on_gpu=on_gpu)
            )
            if not is_apart_done:  # still in the first mode that could be set
                _measure_apart(request, store, pipeline, images, thresholds[0], report, tell)
                is_apart_done = True
    return store


def _measure_mode(
    request: Request,
    store: Store,
    contenders: Sequence[Contender],
    mode: int | None,
    report: Report,
    tell: Callable[[str], None],
    open_source: Callable[[], PowerSource],
) -> None:
    rounds = rounds_of(request)
    order = missing_windows(store, contenders, mode, rounds)
    if not order:
        tell(f"{store.folder} holds all of {'this' if mode is None else f'power mode {mode}'} already")
        return
    source = open_source()
    try:
        schedule = plan_schedule(source, request.duration_s, request.iterations, request.warmup_ms, rounds)
        if request.scenario is not None:
            schedule = replace(schedule, least_passes=-(-SCENARIOS[request.scenario].images // request.batch))
        for line in foreword(source, schedule, len(order), contenders):
            tell(line)
        before = after = read_state(own_pids=source.pids)
        conditions = conditions_of(before, source)
        require_same(store, mode, conditions)
        look = {"before": before.to_dict(), "rows_before": state_rows(before)}
        session = len(store.of("session"))
        bad: dict[str, Change] = {}  # a throttle that came and went spoils what it met

        def watch() -> None:
            nonlocal after
            after = read_state(own_pids=source.pids)
            bad.update({NUMBERS.sub("", one.text): one for one in describe_changes(before, after) if one.invalidates})

        try:
            store.add("look", {"session": session, **look})
            around = Surroundings(source, report, conditions, watch)
            Session(store, schedule, around, mode).run(contenders, order)
        finally:
            watch()
            told = [one for one in describe_changes(before, after) if not one.invalidates]
            changes = [{"text": one.text, "invalidates": one.invalidates} for one in (*bad.values(), *told)]
            store.add(
                "state",
                {
                    "session": session,
                    "after": after.to_dict(),
                    "rows_after": state_rows(after),
                    "changes": changes,
                },
            )
    finally:
        source.close()


def _measure_apart(
    request: Request,
    store: Store,
    pipeline: Pipeline,
    images: Images,
    threshold: float,
    report: Report,
    tell: Callable[[str], None],
) -> None:
    """Passes in their parts, and layers: once, in the first power mode."""
    if not store.of("parts") or request.export_times is not None:
        report("parts", 3.0)
        _add_parts(request, store, pipeline, images, threshold)
    if request.layers and not store.of("layers"):
        report("layers", 1.0)
        stages = {stage: layer_rows(times) for stage, times in time_layers(pipeline, images, request.batch).items()}
        store.add("layers", {"stages": stages})
        if not stages:
            tell(f"--layers: {pipeline.ee.backend} does not tell times by layer")


def require_same(store: Store, mode: int | None, conditions: dict[str, Any]) -> None:
    """Raises UsageError when this mode's earlier windows were measured under others: they would be averaged together."""
    for line in store.of("session"):
        before = line["conditions"] if line["mode"] == mode else None
        different = [name for name, value in conditions.items() if before is not None and before.get(name) != value]
        if before is not None and different:
            told = "; ".join(f"{name}: {before.get(name)}, now {conditions[name]}" for name in different)
            raise UsageError(
                f"--out {store.folder}: the machine is not as it was when the run began ({told})."
                f" Put it back, or give another folder"
            )


def conditions_of(state: MachineState, source: PowerSource) -> dict[str, Any]:
    """What two windows of one power mode must have in common, as JSON gives it back."""
    clocks = [[clock.name, clock.min_mhz, clock.max_mhz] for clock in state.clocks]
    return {
        "power mode": None if state.power_mode is None else str(state.power_mode),
        "power table": state.nvpmodel_table,
        "cores": state.cores,
        "clock limits": clocks,
        "power source": source.name,
        "rails": sorted(source.sensors),
    }


def rounds_of(request: Request) -> int:
    if request.scenario is not None or (request.iterations is not None and request.iterations < SINGLE_ROUND_PASSES):
        return 1
    return ROUNDS


def header(request: Request, pipeline: Pipeline, plain: Plain | None, images: Images) -> dict[str, Any]:
    """What two windows must have in common to be compared."""
    stages = {"EE": pipeline.ee, "SAC": pipeline.sac} | ({} if plain is None else {"plain": plain.stage})
    machine = describe_machine()
    return {
        "engines": {
            name: {"file": stage.path.name, "sha256": sha256_of(stage.path), "precision": stage.record.precision}
            for name, stage in stages.items()
        },
        "backend": pipeline.ee.backend,
        "stored_threshold": pipeline.threshold,
        "model": dict(pipeline.ee.record.config),
        "images": images.name,
        "images_sha256": images.sha256,
        # Whether a survivor pays for itself alone: with engines of one fixed batch it pays for all places.
        "survivors_share": places_for(1, pipeline.sac.batches) > 1,
        "batch": request.batch,
        "scenario": request.scenario,
        "duration_s": None if request.iterations is not None else request.duration_s,
        "iterations": request.iterations,
        "warmup_ms": request.warmup_ms,
        "power_wanted": request.power,
        "machine": {"board": board_model(), "processor": machine["processor"], "cores": machine["cores"]},
        "versions": versions(),
    }


def require_comparable(pipeline: Pipeline, plain: Plain) -> None:
    """Raises UsageError for a plain ViT of another precision, image size or backend: it would compare two things at once."""
    chain, other = pipeline.ee, plain.stage
    for what, ours, theirs in (
        ("precision", chain.record.precision, other.record.precision),
        ("image size", chain.record.preprocessing.image_size, other.record.preprocessing.image_size),
        ("backend", chain.backend, other.backend),
        ("width", chain.record.config.get("width"), other.record.config.get("width")),
        ("depth", chain.record.config.get("depth"), other.record.config.get("depth")),
    ):
        if ours != theirs:
            raise UsageError(f"--plain {other.path}: {what} {theirs}, the chain has {ours}: break-even needs the same")


def _add_parts(request: Request, store: Store, pipeline: Pipeline, images: Images, threshold: float) -> None:
    timed = time_parts(pipeline, Gate(threshold, pipeline.temperature), images, request.batch)
    binding = pipeline.track(request.batch).ee_binding(places_for(request.batch, pipeline.ee.batches))
    store.add(
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
        passes: list[Pass] = [one for timed_passes, _ in timed.values() for one in timed_passes]
        write_times(sorted(passes, key=lambda one: one.enqueue[0]), request.export_times)
