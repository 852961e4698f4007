"""What sacvit-tune stores in a bundle's manifest: a gate for each precision, which goes before the export's."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import EngineError, UsageError
from .files import written_whole
from .manifest import MANIFEST_NAME, StageRecord, read_manifest

COLDEST, HOTTEST = 0.01, 100.0  # of a temperature that somebody could have fitted


@dataclass(frozen=True)
class Tuned:
    """A gate: EE's logits are divided by the temperature before the softmax, and eta is compared with what comes out.

    point: the rule that eta was chosen by, for people.
    """

    threshold: float
    temperature: float
    point: str


def read_tuned(engine: Path, record: StageRecord) -> Tuned | None:
    """The gate that was tuned for this EE engine; None where nobody did, or no manifest stands beside it.

    Raises EngineError when the manifest is damaged.
    """
    if not (engine.parent / MANIFEST_NAME).is_file():
        return None
    manifest = read_manifest(engine.parent)
    tuned, graphs = manifest.get("tuned"), manifest.get("graphs")
    if tuned is None or not isinstance(graphs, dict) or graphs.get("EE") != record.graph_sha256:
        return None
    try:
        entry = tuned.get(record.precision)
        if entry is None:
            return None
        numbers = [entry["threshold"], entry["temperature"]]
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
            raise ValueError(f"{numbers} are no two numbers")
        if not 0 <= numbers[0] <= 1 or not COLDEST <= numbers[1] <= HOTTEST:
            raise ValueError(f"threshold {numbers[0]}, temperature {numbers[1]}")
        return Tuned(float(numbers[0]), float(numbers[1]), str(entry["point"])[:100])
    except (KeyError, ValueError, TypeError, AttributeError) as reason:
        raise EngineError(
            f"{engine.parent / MANIFEST_NAME}: what sacvit-tune stored is damaged ({reason}). Tune again, or export again"
        ) from None


def write_tuned(engine: Path, record: StageRecord, tuned: Tuned, details: dict[str, Any]) -> Path:
    """Stores the gate for this engine's precision in the manifest beside it; the path of it. details: for people.

    Raises UsageError where the manifest is missing or of another export.
    """
    path, manifest = engine.parent / MANIFEST_NAME, own_manifest(engine, record)
    entries = manifest.get("tuned")
    entries = dict(entries) if isinstance(entries, dict) else {}
    manifest["tuned"] = {**entries, record.precision: {**asdict(tuned), **details}}
    with written_whole(path) as partial:
        partial.write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    return path


def own_manifest(engine: Path, record: StageRecord) -> dict[str, Any]:
    """The manifest that this engine's gate is stored in. Raises UsageError where it is missing or of another export."""
    path = engine.parent / MANIFEST_NAME
    if not path.is_file():
        raise UsageError(f"{path} is missing: the gate is stored there. Copy it beside the engines")
    manifest = read_manifest(engine.parent)
    graphs = manifest.get("graphs")
    if not isinstance(graphs, dict) or graphs.get("EE") != record.graph_sha256:
        raise UsageError(
            f"{path} is of another export than {engine.name}: the gate is stored there. Copy the right one"
        )
    return manifest
