"""The subject of a profile: the engines of a request, the images, and the variants that take turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...bundle.errors import UsageError
from ...bundle.files import sha256_of
from ...machine.jetson import board_model
from ...machine.packages import versions
from ...machine.processor import describe_machine
from ...runtime.chain.gate import Gate
from ...runtime.chain.pipeline import CHUNK, Pipeline
from ...runtime.chain.track import places_for
from ...runtime.engines.backends import read_record
from ..request import ProfileRequest
from .contenders import ALWAYS, NEVER, Chain, Contender, PlainViT
from .inputs import Images, load_images
from .plain import Plain, require_plain
from .scenarios import SCENARIOS

DURATION_S = 30.0
ROUNDS = 3  # windows of a variant; their differences give its spread
SINGLE_ROUND_PASSES = 3  # fewer iterations than this make one window


@dataclass(frozen=True)
class Subject:
    """A request with its engines loaded."""

    request: ProfileRequest
    pipeline: Pipeline
    plain: Plain | None
    images: Images
    thresholds: Sequence[float]
    batch: int  # images per pass

    @property
    def rounds(self) -> int:
        """Windows of each variant."""
        few = self.request.iterations is not None and self.request.iterations < SINGLE_ROUND_PASSES
        return 1 if self.request.scenario is not None or few else ROUNDS

    @property
    def duration_s(self) -> float:
        """Seconds of each variant."""
        request = self.request
        usual = DURATION_S if request.scenario is None else SCENARIOS[request.scenario].duration_s
        return request.duration_s or usual

    @property
    def least_passes(self) -> int:
        """The minimum number of passes of a window, however long they take."""
        scenario = self.request.scenario
        return 1 if scenario is None else -(-SCENARIOS[scenario].images // self.batch)

    def gate(self, threshold: float) -> Gate:
        """A gate like the pipeline's own, at another threshold."""
        return Gate(threshold, self.pipeline.temperature)

    def contenders(self) -> list[Contender]:
        """The chain at each threshold, each path by itself, the plain ViT. In a scenario the paths are not measured
        separately."""
        pipeline, images, batch = self.pipeline, self.images, self.batch
        found: list[Contender] = [
            Chain(f"eta {value!r}", pipeline, self.gate(value), images, batch) for value in self.thresholds
        ]
        if self.request.scenario is None:
            found = [
                Chain(ALWAYS, pipeline, Gate(0.0), images, batch),
                *found,
                Chain(NEVER, pipeline, Gate(1.0), images, batch),
            ]
        return found if self.plain is None else [*found, PlainViT(self.plain, images, batch)]

    def header(self) -> dict[str, Any]:
        """The conditions that all windows must share."""
        request, pipeline, images = self.request, self.pipeline, self.images
        stages = {"EE": pipeline.ee, "SAC": pipeline.sac} | ({} if self.plain is None else {"plain": self.plain.stage})
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
            # Whether survivors share a pass: with a fixed batch, one survivor costs as much as all places.
            "survivors_share": places_for(1, pipeline.sac.batches) > 1,
            "batch": self.batch,
            "scenario": request.scenario,
            "duration_s": None if request.iterations is not None else self.duration_s,
            "iterations": request.iterations,
            "warmup_ms": request.warmup_ms,
            "power_wanted": request.power,
            "machine": {"board": board_model(), "processor": machine["processor"], "cores": machine["cores"]},
            "versions": versions(),
        }


def open_subject(request: ProfileRequest) -> Subject:
    """Loads engines and images. Raises EngineError for engines that do not fit, UsageError for options that do not."""
    if request.plain is not None:
        require_plain(request.plain)  # before engines are loaded
    # Also before: a source that cannot be read is reported at once.
    images = load_images(request.source, request.engine[0].parent, read_record(request.engine[0]).preprocessing)
    pipeline = Pipeline.load(*request.engine, provider=request.provider)
    most = pipeline.ee.capacity or CHUNK
    scenario = None if request.scenario is None else SCENARIOS[request.scenario]
    batch = request.batch or (most if scenario is not None and scenario.is_batched else 1)
    if not 1 <= batch <= most:
        raise UsageError(f"--batch {batch}: these engines take 1 to {most} images per pass")
    plain = None if request.plain is None else Plain(request.plain, batch, request.provider)
    if plain is not None:
        require_comparable(pipeline, plain)
    thresholds = request.thresholds or [pipeline.threshold]
    return Subject(request, pipeline, plain, images, thresholds, batch)


def require_comparable(pipeline: Pipeline, plain: Plain) -> None:
    """Raises UsageError for a plain ViT of another task, precision, image size or backend: the comparison would mix two
    effects."""
    chain, other = pipeline.ee, plain.stage
    for what, ours, theirs in (
        ("task", chain.record.task, other.record.task),
        ("precision", chain.record.precision, other.record.precision),
        ("image size", chain.record.preprocessing.image_size, other.record.preprocessing.image_size),
        ("backend", chain.backend, other.backend),
        ("width", chain.record.config.get("width"), other.record.config.get("width")),
        ("depth", chain.record.config.get("depth"), other.record.config.get("depth")),
        ("levels", *(list(one.record.config.get("levels", ())) for one in (chain, other))),
    ):
        if ours != theirs:
            raise UsageError(f"--plain {other.path}: {what} {theirs}, the chain has {ours}: break-even needs the same")
