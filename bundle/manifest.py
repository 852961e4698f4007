"""What an engine says of itself, and what a bundle says of its engines.

Every ONNX file carries a `StageRecord` in its metadata; `sacvit.json` carries the same for the whole bundle, with the
checks that the export ran.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from .errors import ConfigError, EngineError
from .preprocess import Preprocessing

FORMAT = 2
MANIFEST_NAME = "sacvit.json"
MAX_JSON_BYTES = 64 << 20  # a manifest with 100 000 labels has 5 MB
PREFIX = "sacvit."
DEFAULT_THRESHOLD = 0.7  # used, and called unfitted, where nobody fitted one

StageName = Literal["EE", "SAC", "plain"]
Precision = Literal["fp32", "int8", "fp16", "int8fp16"]  # int8fp16: INT8 layers in an FP16 body
HAND_OFF = ("target_index", "target_context", "non_target")  # EE outputs that are SAC inputs, in place


@dataclass(frozen=True)
class StageRecord:
    """What one engine is, where it comes from and what it belongs to."""

    stage: StageName
    config: dict[str, Any]
    preprocessing: Preprocessing
    labels: list[str] | None
    checkpoint_sha256: str
    graph_sha256: str  # of the FP32 graph, without this record, that the engine was made from
    partner_sha256: str  # the other stage's graph_sha256: engines of one export fit each other in every precision
    threshold: float
    threshold_source: (
        str  # "option", "checkpoint", "default"; of a variant also "exit-rate" or "top1": how it was fitted
    )
    precision: Precision = "fp32"
    threshold_fp32: float | None = None  # of a variant: what the FP32 pair's threshold is

    def to_metadata(self) -> dict[str, str]:
        """The record as the text entries of an ONNX file."""
        entries = {
            "format": FORMAT,
            "stage": self.stage,
            "config": self.config,
            "preprocessing": self.preprocessing.to_dict(),
            "labels": self.labels,
            "checkpoint_sha256": self.checkpoint_sha256,
            "graph_sha256": self.graph_sha256,
            "partner_sha256": self.partner_sha256,
            "threshold": self.threshold,
            "threshold_source": self.threshold_source,
            "precision": self.precision,
            "threshold_fp32": self.threshold_fp32,
        }
        return {PREFIX + key: value if isinstance(value, str) else json.dumps(value) for key, value in entries.items()}

    @classmethod
    def from_metadata(cls, path: Path, metadata: dict[str, str]) -> StageRecord:
        """The record inside an engine. Raises EngineError when the file is not ours, or its record is damaged."""
        if PREFIX + "format" not in metadata:
            raise EngineError(
                f"{path} carries no sacvit record: it was not written by sacvit-export."
                f" Export the checkpoint: sacvit-export --ckpt model.pth"
            )
        found = metadata[PREFIX + "format"]
        if found != str(FORMAT):
            raise EngineError(f"{path} has record format {found}, this sacvit reads {FORMAT}. Export it again")
        try:
            if sum(map(len, metadata.values())) > MAX_JSON_BYTES:
                raise ValueError(f"larger than {MAX_JSON_BYTES} bytes")
            entries = {key: metadata[PREFIX + key] for key in ("stage", "checkpoint_sha256", "graph_sha256")}
            keys = ("labels", "threshold", "threshold_fp32")
            labels, threshold, threshold_fp32 = (json.loads(metadata[PREFIX + key]) for key in keys)
            precision = metadata[PREFIX + "precision"]
            if entries["stage"] not in ("EE", "SAC", "plain"):
                raise ValueError(f"unknown stage {entries['stage']!r}")
            if labels is not None and not (isinstance(labels, list) and all(isinstance(x, str) for x in labels)):
                raise ValueError("labels are not a list of names")
            if precision not in get_args(Precision):
                raise ValueError(f"unknown precision {precision!r}")
            for value in (threshold, 0 if threshold_fp32 is None else threshold_fp32):
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                    raise ValueError(f"threshold {value!r} is no number in [0, 1]")
            config = json.loads(metadata[PREFIX + "config"])
            if not isinstance(config, dict):
                raise ValueError("config is not a table")
            return cls(
                stage=entries["stage"],  # type: ignore[arg-type]  # checked above
                config=config,
                preprocessing=Preprocessing.from_dict(json.loads(metadata[PREFIX + "preprocessing"])),
                labels=labels,
                checkpoint_sha256=entries["checkpoint_sha256"],
                graph_sha256=entries["graph_sha256"],
                partner_sha256=metadata[PREFIX + "partner_sha256"],
                threshold=float(threshold),
                threshold_source=metadata[PREFIX + "threshold_source"],
                precision=precision,  # type: ignore[arg-type]  # checked above
                threshold_fp32=None if threshold_fp32 is None else float(threshold_fp32),
            )
        except (KeyError, ValueError, TypeError, RecursionError, ConfigError) as reason:
            raise EngineError(f"{path} has a damaged sacvit record: {reason}. Export it again") from None


def record_from_manifest(folder: Path, manifest: dict[str, Any], name: str) -> StageRecord:
    """The record that the ONNX file `name` carries, for who cannot read ONNX. Raises EngineError when it is not told."""
    try:
        entry, graphs = manifest["files"][name], manifest["graphs"]
        stage, precision = entry["stage"], entry["precision"]
        threshold = (manifest if precision == "fp32" else manifest["variants"][precision])["threshold"]
        is_unfitted = threshold["source"] == "unchanged"
        record = StageRecord(
            stage=stage,
            config=manifest["model"],
            preprocessing=Preprocessing.from_dict(manifest["preprocessing"]),
            labels=manifest["labels"],
            checkpoint_sha256=manifest["checkpoint"]["sha256"],
            graph_sha256=graphs[stage],
            partner_sha256=graphs["SAC" if stage == "EE" else "EE"],
            threshold=threshold["value"],
            threshold_source=manifest["threshold"]["source"] if is_unfitted else threshold["source"],
            precision=precision,
            threshold_fp32=threshold.get("fp32"),
        )
        return StageRecord.from_metadata(folder / MANIFEST_NAME, record.to_metadata())  # checks it
    except (KeyError, TypeError, AttributeError, ConfigError) as reason:
        raise EngineError(
            f"{folder / MANIFEST_NAME} does not tell of {name} what a plan needs ({reason!r}): it is damaged, or from an"
            f" older sacvit. Export again: sacvit-export"
        ) from None


def require_pair(ee_path: Path, ee: StageRecord, sac_path: Path, sac: StageRecord) -> None:
    """Raises EngineError unless the two engines are the two stages of one export."""
    for path, record, wanted in ((ee_path, ee, "EE"), (sac_path, sac, "SAC")):
        if record.stage != wanted:
            raise EngineError(
                f"{path} is the {record.stage} stage, expected {wanted}: the order is --engine EE-FILE SAC-FILE"
            )
    if ee.checkpoint_sha256 != sac.checkpoint_sha256:
        raise EngineError(
            f"{ee_path} and {sac_path} come from two checkpoints ({ee.checkpoint_sha256[:12]} and"
            f" {sac.checkpoint_sha256[:12]}): their buffers mean different things."
            f" Export both again: sacvit-export --ckpt model.pth"
        )
    if ee.partner_sha256 != sac.graph_sha256 or sac.partner_sha256 != ee.graph_sha256:
        raise EngineError(
            f"{ee_path} and {sac_path} come from the same checkpoint but from two exports with different options."
            f" Use the two files of one folder, or export again: sacvit-export --ckpt model.pth"
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of DIR/sacvit.json. Raises EngineError when it is missing, too large or damaged."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise EngineError(f"{path} is missing: {folder} is no bundle. Make one: sacvit-export --ckpt model.pth")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise EngineError(f"{path} has {path.stat().st_size} bytes; the limit is {MAX_JSON_BYTES}")
    try:
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"not a manifest of format {FORMAT}")
    except (ValueError, RecursionError) as reason:
        raise EngineError(f"{path} is not readable: {reason}. Export again") from None
    return content
