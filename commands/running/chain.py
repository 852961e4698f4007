"""The chain that sacvit-run drives: engines here, or those of a server."""

from __future__ import annotations

import argparse
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ...bundle.errors import UsageError
from ...runtime.options import VideoOptions

if TYPE_CHECKING:
    from ...runtime.chain.pipeline import Pipeline
    from ...serving.client import RemotePipeline

logger = logging.getLogger(__name__)


def load_engines(options: argparse.Namespace, threshold: float | None, video: VideoOptions) -> Pipeline:
    """The chain of --engine, with a gate for video where an option asks for one."""
    from ...runtime.chain.live_gate import LiveGate
    from ...runtime.chain.pipeline import CHUNK, Pipeline

    pipeline = Pipeline.load(options.engine[0], options.engine[1], threshold, options.provider)
    require_room(options, pipeline.ee.capacity or CHUNK, "these engines take")
    if video:
        pipeline.gate = LiveGate(pipeline.threshold, video=video)
    report_start(pipeline, threshold)
    return pipeline


def open_server(options: argparse.Namespace, ends: ExitStack) -> RemotePipeline:
    """The chain of --server. ends: closes the connection."""
    from ...serving.client import RemotePipeline

    pipeline = RemotePipeline(options.server, options.threshold)
    ends.callback(pipeline.close)
    require_room(options, pipeline.max_batch, "this server takes")
    whose = "the server's" if options.threshold is None else "asked for"
    logger.info("threshold %g (%s), %s", pipeline.threshold, whose, options.server)
    return pipeline


def require_room(options: argparse.Namespace, most: int, who: str) -> None:
    """Raises UsageError for more images than `most`, which a pass of the chain takes."""
    if options.batch > most:
        raise UsageError(f"--batch {options.batch}: {who} at most {most} images per pass")
    if len(options.camera) > most:
        raise UsageError(f"{len(options.camera)} cameras: {who} at most {most} images per pass")


def report_start(pipeline: Pipeline, given: float | None) -> None:
    """Logs the backend and the threshold before the first result, and warns of a threshold that was not fitted."""
    from ...runtime.chain.describe import describe_sacs

    ee, sac = pipeline.ee.record, pipeline.sac.record
    kind = ee.precision if ee.precision == sac.precision else f"EE {ee.precision}, SAC {sac.precision}"
    tuned = pipeline.tuned
    shown = "" if given is not None or ee.threshold_fp32 is None or tuned else f" (FP32: {ee.threshold_fp32:g})"
    if tuned is not None:
        shown = (
            f" (tuned: {tuned.point}; temperature {tuned.temperature:g})"
            if given is None
            else f", temperature {tuned.temperature:g}"
        )
        shown += f", {describe_sacs(tuned)}" if tuned.sacs else ""
    logger.info("threshold %g%s, %s, %s", pipeline.threshold, shown, kind, pipeline.ee.backend)
    if given is None and tuned is None and pipeline.ee.record.threshold_source == "default":
        logger.warning("the threshold %g is a default, not fitted to this model: set --threshold", pipeline.threshold)
