"""The gate that sacvit-tune stores in a bundle's manifest, one for each precision."""

from __future__ import annotations

from pathlib import Path

from .errors import UsageError
from .folders import locked_folder
from .manifest import MANIFEST_NAME, Manifest, Tuned, read_manifest, write_manifest
from .stage_record import StageRecord


def read_tuned(engine: Path, record: StageRecord) -> Tuned | None:
    """The gate that was tuned for this EE engine; None where none was tuned, or no manifest stands beside it.

    Raises EngineError when the manifest is damaged.
    """
    if not (engine.parent / MANIFEST_NAME).is_file():
        return None
    manifest = read_manifest(engine.parent)
    return manifest.tuned.get(record.precision) if manifest.graphs.get("EE") == record.graph_sha256 else None


def write_tuned(engine: Path, record: StageRecord, tuned: Tuned) -> Path:
    """Stores the gate for this engine's precision in the manifest beside it; returns the manifest's path.

    Raises UsageError where the manifest is missing, of another export, or in use.
    """
    with locked_folder(engine.parent, "--engine"):
        manifest = own_manifest(engine, record)
        manifest.tuned = {**manifest.tuned, record.precision: tuned}
        return write_manifest(engine.parent, manifest)


def own_manifest(engine: Path, record: StageRecord) -> Manifest:
    """The manifest that this engine's gate is stored in. Raises UsageError where it is missing or of another export."""
    path = engine.parent / MANIFEST_NAME
    if not path.is_file():
        raise UsageError(f"{path} is missing: the gate is stored there. Copy it beside the engines")
    manifest = read_manifest(engine.parent)
    if manifest.graphs.get("EE") != record.graph_sha256:
        raise UsageError(
            f"{path} is of another export than {engine.name}: the gate is stored there. Copy the right one"
        )
    return manifest
