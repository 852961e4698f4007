"""Times the parts of a pass as trtexec does: uploads, engine, copies back. Separate from the windows, which use CUDA graphs."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from ...runtime.chain.gate import Gate
from ...runtime.chain.pipeline import Pipeline
from ...runtime.chain.track import places_for
from ...runtime.engines.stage import Binding
from .inputs import Images
from .trtexec import Pass

MOST_PASSES, MOST_S, WARM_UP = 200, 3.0, 5


def time_pass(binding: Binding, origin_s: float) -> Pass:
    """One pass in its parts. Times are ms from `origin_s` of time.perf_counter."""
    at = 1e3 * (time.perf_counter() - origin_s)
    enqueue, upload, compute, download = ((at + begin, at + end) for begin, end in binding.timed())
    return Pass(enqueue, upload, compute, download)


def time_parts(pipeline: Pipeline, gate: Gate, images: Images, batch: int) -> dict[str, tuple[list[Pass], float]]:
    """By stage: passes over the images, and their wall seconds. SAC runs over every image, whatever the gate decides.

    gate: decides as in the pipeline, temperature included. The labels of a pass are its stage, the path of its batch, the
    first image's confidence as the gate saw it, and the number of that image.
    """
    track, send_all = pipeline.track(batch), Gate(1.0)
    found: dict[str, tuple[list[Pass], float]] = {}
    passes: dict[str, list[Pass]] = {"EE": [], "SAC": []}
    wall_s = dict.fromkeys(passes, 0.0)
    ee = track.ee_binding(places_for(batch, pipeline.ee.batches))
    sac = track.sac_binding(places_for(batch, pipeline.sac.batches))
    origin_s = time.perf_counter()
    for number in range(-WARM_UP, MOST_PASSES):
        for place, slot in enumerate(track.images[:batch]):
            images.prepare(max(number, 0) * batch + place, slot)
        if number == 0:
            origin_s = time.perf_counter()
        began = time.perf_counter()
        ee_pass = time_pass(ee, origin_s)
        between = time.perf_counter()
        gate.calibrate(track.logits[:batch], track.confidence[:batch])
        survivors = gate.survivors(track.confidence[:batch], np.empty_like(track.row))
        labels: dict[str, Any] = {
            "path": "full" if survivors else "exit",
            "conf": round(float(track.confidence[0]), 6),
            "frame": max(number, 0) * batch % len(images.frames),
        }
        send_all.survivors(track.confidence[:batch], track.row)
        second = time.perf_counter()
        sac_pass = time_pass(sac, origin_s)
        ended = time.perf_counter()
        if number < 0:
            continue
        for stage, one, spent in (("EE", ee_pass, between - began), ("SAC", sac_pass, ended - second)):
            passes[stage].append(replace(one, labels={"stage": stage, **labels}))
            wall_s[stage] += spent
        if ended - origin_s > MOST_S:
            break
    for stage, timed in passes.items():
        found[stage] = timed, wall_s[stage]
    return found
