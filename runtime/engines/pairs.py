"""The two engines that belong together: of a folder, or two files."""

from __future__ import annotations

import logging
from pathlib import Path

from ...bundle.errors import EngineError, UsageError
from ...bundle.stage_record import require_pair
from .backends import load_stage
from .given_paths import CHECKPOINTS, engines_in, no_bundle, no_engine, quoted
from .options import EngineOptions
from .stage import Stage

logger = logging.getLogger(__name__)


def find_pair(engine: str | Path, sac: str | Path | None = None) -> tuple[Path, Path]:
    """The paths of EE and SAC: two files, or those of a bundle's folder.

    Of a folder, the FP32 .onnx files, which run on every machine; its plans where it has nothing else. Raises UsageError for
    one file alone, EngineError for a folder without a pair.
    """
    for given in (engine, sac):
        if given is not None and not isinstance(given, str | Path):
            raise UsageError(
                f"engines are paths: the folder of a bundle, or its two files; found {type(given).__name__}"
            )
    first = Path(engine)
    if sac is not None:
        return first, Path(sac)
    if not first.is_dir():
        is_engine = first.is_file() and first.suffix not in CHECKPOINTS
        raise UsageError(
            f"{first} is one file, and a pipeline has two stages. Give both, {_both(first)}, or their folder"
            if is_engine
            else no_bundle(first)
        )
    found = engines_in(first)
    if found is None:
        raise EngineError(no_engine(first))
    logger.info("of %s: %s and %s", first, found[0].name, found[1].name)
    return found


def _both(file: Path) -> str:
    """Both files of the pair that one file is of, as a command line has them."""
    partner = file.with_name(file.name.replace("ee", "sac", 1))
    return f"{quoted(file)} {quoted(partner)}" if partner.is_file() and partner != file else "EE and SAC"


def load_pair(ee: Path, sac: Path, options: EngineOptions) -> tuple[Stage, Stage]:
    """Two engine files that belong together. Raises EngineError when they do not."""
    stages = load_stage(ee, options), load_stage(sac, options)
    require_pair(ee, stages[0].record, sac, stages[1].record)
    return stages
