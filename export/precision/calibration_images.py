"""Finds the images for INT8's ranges where --calib names none."""

from __future__ import annotations

import logging
from pathlib import Path

from ...model.checkpoint import Checkpoint

logger = logging.getLogger(__name__)
FOLDER_NAME = "calib"  # beside the checkpoint


def find_images(checkpoint: Checkpoint) -> Path | None:
    """The set that sacvit-train left beside the checkpoint, else a folder calib/ there, else None: the built-in photographs.

    Raises CheckpointError for a set that is not the one that the checkpoint names.
    """
    own = checkpoint.calibration
    if own is not None:
        if (path := own.find()) is not None:
            return path
        logger.warning("%s, which the checkpoint names as its calibration set, is missing: copy both", own.path)
    folder = checkpoint.path.parent / FOLDER_NAME
    return folder if folder.is_dir() else None
