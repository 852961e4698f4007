"""The two engines that belong together: of a folder, or two files."""

from __future__ import annotations

import logging
from pathlib import Path

from ...bundle.errors import EngineError, UsageError
from ...bundle.precision import file_name
from ...bundle.stage_record import require_pair
from .backends import load_stage
from .options import EngineOptions
from .stage import Stage

logger = logging.getLogger(__name__)
PLANS = ("ee.plan", "sac.plan")


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
        raise UsageError(
            f"{first} is one file, and a pipeline has two stages: give {first} and the file of SAC beside it, or their folder"
            if first.exists()
            else f"{first} does not exist. Make a bundle there: sacvit-export --ckpt model.pth --out {first}"
        )
    for names in ((file_name("EE", "fp32"), file_name("SAC", "fp32")), PLANS):
        ee, other = (first / name for name in names)
        if ee.is_file() and other.is_file():
            logger.info("of %s: %s and %s", first, ee.name, other.name)
            return ee, other
    raise EngineError(
        f"{first} has neither ee.onnx and sac.onnx nor ee.plan and sac.plan. Give the folder of a bundle, or make one:"
        f" sacvit-export --ckpt model.pth --out {first}"
    )


def load_pair(ee: Path, sac: Path, options: EngineOptions) -> tuple[Stage, Stage]:
    """Two engine files that belong together. Raises EngineError when they do not."""
    stages = load_stage(ee, options), load_stage(sac, options)
    require_pair(ee, stages[0].record, sac, stages[1].record)
    return stages
