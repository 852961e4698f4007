"""The two engines that belong together: of a folder, or two files."""

from __future__ import annotations

import logging
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, get_args

from ...bundle.errors import EngineError, UsageError
from ...bundle.manifest import MANIFEST_NAME
from ...bundle.stage_record import require_pair
from .backends import backend_of, load_stage
from .choice import CHOICE_NAME, read_own_choice
from .given_paths import CHECKPOINTS, engines_in, no_bundle, no_engine, quoted
from .options import BackendName, EngineOptions, Provider
from .stage import Stage

logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """The files of a pair, and what runs them: "auto" where nothing was chosen."""

    ee: Path
    sac: Path
    provider: Provider


def find_pair(
    engine: str | Path,
    sac: str | Path | None = None,
    provider: Provider = "auto",
    backends: Collection[BackendName] = get_args(BackendName),
) -> Found:
    """EE and SAC: two files, or those of a bundle's folder.

    Of a folder, what sacvit-build chose on this machine, among what `backends` run, unless a provider is asked for. Where it
    chose nothing, the FP32 .onnx files, which run on every machine, or plans where there is nothing else.

    Raises UsageError for one file alone, EngineError for a folder without a pair and for the choice of another machine.
    """
    for given in (engine, sac):
        if given is not None and not isinstance(given, str | Path):
            raise UsageError(
                f"engines are paths: the folder of a bundle, or its two files; found {type(given).__name__}"
            )
    first = Path(engine)
    if sac is not None:
        return Found(first, Path(sac), provider)
    if not first.is_dir():
        is_engine = first.is_file() and first.suffix not in CHECKPOINTS
        raise UsageError(
            f"{first} is one file, and a pipeline has two stages. Give both, {_both(first)}, or their folder"
            if is_engine
            else no_bundle(first)
        )
    if provider == "auto" and (choice := read_own_choice(first)) is not None:
        chosen = choice.fastest_of(backends)
        if chosen is not None:
            logger.info("of %s: %s, by %s", first, chosen.name, CHOICE_NAME)
            ee, sac = (first / name for name in chosen.files)
            return Found(ee, sac, chosen.provider or "auto")
    found = engines_in(first)
    if found is None:
        raise EngineError(no_engine(first))
    faster = (
        f". Another engine may be faster: sacvit-build {quoted(first)}" if (first / MANIFEST_NAME).is_file() else ""
    )
    logger.info("of %s: %s and %s%s", first, found[0].name, found[1].name, faster)
    return Found(*found, provider)


def _both(file: Path) -> str:
    """Both files of the pair that one file is of, as a command line has them."""
    partner = file.with_name(file.name.replace("ee", "sac", 1))
    return f"{quoted(file)} {quoted(partner)}" if partner.is_file() and partner != file else "EE and SAC"


def load_pair(ee: Path, sac: Path, options: EngineOptions) -> tuple[Stage, Stage]:
    """Two engine files that belong together. Raises EngineError when they do not.

    On a CPU both are loaded at once: each takes one core for 0.4 s (DeiT-S).
    """
    if backend_of(ee).needs_gpu or backend_of(sac).needs_gpu:
        stages = load_stage(ee, options), load_stage(sac, options)
    else:
        with ThreadPoolExecutor(1) as beside:
            second = beside.submit(load_stage, sac, options)
            stages = load_stage(ee, options), second.result()
    require_pair(ee, stages[0].record, sac, stages[1].record)
    return stages
