"""`engines.json` in the folder of a bundle: what sacvit-build tried on a machine, and which engines it chose."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ...bundle.errors import EngineError
from ...bundle.manifest import MANIFEST_NAME, Manifest, read_manifest
from ...bundle.precision import Precision
from ...bundle.records import read_record, write_record
from ...bundle.stage_record import Share
from ...machine.cpu import processor_flags
from ...machine.jetson import board_model
from ...machine.processor import processor_name, usable_cores
from .given_paths import quoted
from .options import BackendName, Provider

CHOICE_NAME = "engines.json"
CHOICE_FORMAT: Literal[1] = 1
FileName = Annotated[str, msgspec.Meta(pattern=r"\A[^./\\\x00][^/\\\x00]*\Z")]  # of a file right in the folder
Ms = Annotated[float, msgspec.Meta(ge=0)]


class Place(msgspec.Struct, frozen=True):
    """What a choice is bound to: the times of one machine say nothing about another.

    instructions: a digest of the processor's feature flags, since clouds give many processors one name. board: of a Jetson.
    """

    processor: str
    cores: int | None
    instructions: str
    board: str | None = None

    def __str__(self) -> str:
        board = "" if self.board is None else f"{self.board}, "
        return f"{board}{self.processor}, {self.cores or '?'} cores, instructions {self.instructions}"


class Timing(msgspec.Struct, frozen=True):
    """Of one batch size. ee_ms, sac_ms: median milliseconds of a pass of EE, and of SAC over `survivors` images. chain_ms: of
    the chain per image, its median over the rounds; quartiles_ms: its spread. speedup: how many times faster than the
    reference, the median of the rounds' ratios; speedup_quartiles: their spread.
    """

    ee_ms: Ms
    sac_ms: Ms
    survivors: int
    chain_ms: Ms
    quartiles_ms: tuple[Ms, Ms]
    speedup: Ms
    speedup_quartiles: tuple[Ms, Ms]
    rounds: int


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One way to run the bundle: its verdict, and its times where it passed.

    provider: of .onnx files; None for engines with a suffix of their own. files: EE and SAC; empty where they were not kept.
    refused: why it cannot be chosen; None where it can. runs_on: the backend with its version, for people. threshold: fitted to
    this engine on the reference answers; None keeps the one that the files carry. timings: by batch size. start_s: from the
    start of the process to the first result, with every cache filled. peak_mib: the most memory of that process.
    """

    name: str
    backend: BackendName
    provider: Provider | None
    precision: Precision
    files: tuple[FileName, ...]
    refused: str | None = None
    runs_on: str = ""
    threshold: Share | None = None
    logit_error: float | None = None
    guards: list[dict[str, Any]] = []
    timings: dict[str, Timing] = {}
    start_s: Ms | None = None
    peak_mib: Ms | None = None

    @property
    def speedup(self) -> float | None:
        """How many times faster than the reference: the geometric mean over the batch sizes; None where it was not timed."""
        return _geometric_mean([timing.speedup for timing in self.timings.values()])

    @property
    def speedup_range(self) -> tuple[float, float]:
        """The same of the quartiles: (0, 0) where it was not timed."""
        low, high = (
            _geometric_mean([timing.speedup_quartiles[end] for timing in self.timings.values()]) for end in (0, 1)
        )
        return low or 0.0, high or 0.0


class EngineChoice(msgspec.Struct, frozen=True, kw_only=True):
    """What sacvit-build found. goldens_sha256, graphs: of the bundle that was judged. exit_rate: of FP32 on the reference
    answers, which every chain is timed at. reference: what the others are compared with. absent: what does not run here, or was
    not tried, with the reasons. conditions: for people.
    """

    format: Literal[1] = CHOICE_FORMAT
    place: Place
    goldens_sha256: str
    graphs: dict[str, str]
    exit_rate: Share
    images: int
    batches: tuple[int, ...]
    candidates: list[Candidate]
    reference: str
    choice: str
    reason: str
    absent: dict[str, str] = {}
    conditions: dict[str, Any] = {}

    def fastest_of(self, backends: Collection[BackendName]) -> Candidate | None:
        """The choice where one of those backends runs it, else the fastest of their candidates that passed."""
        own = [found for found in self.candidates if found.backend in backends and not found.refused and found.files]
        chosen = next((found for found in own if found.name == self.choice), None)
        return chosen or max(own, key=lambda found: found.speedup or 0.0, default=None)


def _geometric_mean(values: Sequence[float]) -> float | None:
    return math.prod(values) ** (1 / len(values)) if values else None


def place_here() -> Place:
    """This machine."""
    flags = " ".join(sorted(processor_flags()))
    return Place(
        processor=processor_name() or platform.machine(),
        cores=usable_cores(),
        instructions=hashlib.sha256(flags.encode()).hexdigest()[:12],
        board=board_model(),
    )


def read_choice(folder: Path) -> EngineChoice | None:
    """The choice in a folder; None where none was made. Raises EngineError for a file that is damaged or was changed."""
    path = folder / CHOICE_NAME
    if not path.is_file():
        return None
    return read_record(path, EngineChoice, again(folder))


def read_own_choice(folder: Path) -> EngineChoice | None:
    """The same. Raises EngineError for the choice of another machine and for one of other graphs, too."""
    choice = read_choice(folder)
    if choice is None:
        return None
    here = place_here()
    if choice.place != here:
        raise EngineError(
            f"{folder / CHOICE_NAME} was made on another machine ({choice.place}); this one is {here}. {again(folder)}"
        )
    if not is_of(choice, read_manifest(folder)):
        raise EngineError(
            f"{folder / CHOICE_NAME} was made for other graphs than {MANIFEST_NAME} beside it describes. {again(folder)}"
        )
    return choice


def write_choice(folder: Path, choice: EngineChoice) -> Path:
    """Writes `engines.json` whole; returns its path."""
    path = folder / CHOICE_NAME
    write_record(path, choice)
    return path


def is_of(choice: EngineChoice, manifest: Manifest) -> bool:
    """Whether the bundle that was judged is this one."""
    return choice.goldens_sha256 == manifest.goldens_sha256 and choice.graphs == manifest.graphs


def again(folder: Path) -> str:
    return f"Choose again: sacvit-build {quoted(folder)}"


def fitted_threshold(ee: Path, sac: Path, provider: Provider | None) -> float | None:
    """The threshold that sacvit-build fitted to these engines on this machine; None where it fitted none.

    Raises EngineError for a file that is damaged or was changed.
    """
    choice = read_choice(ee.parent) if ee.parent == sac.parent else None
    if choice is None or choice.place != place_here() or not is_of(choice, read_manifest(ee.parent)):
        return None  # of another machine, where find_pair refuses what it would choose
    for candidate in choice.candidates:
        if (candidate.files, candidate.provider) == ((ee.name, sac.name), provider):
            return candidate.threshold
    return None
