"""The record of one engine. Every ONNX file carries it in its metadata, every plan in the file beside it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from .errors import ConfigError, EngineError
from .precision import Precision, row_of
from .preprocess import Preprocessing
from .records import MAX_JSON_BYTES, converted

FORMAT: Literal[3] = 3  # of the record, and of the manifest
PREFIX = "sacvit."
DEFAULT_THRESHOLD = 0.7  # where none was fitted; it is reported as unfitted
HAND_OFF = ("target_index", "target_context", "non_target")  # EE outputs that are SAC inputs, in place
DENSE_HAND_OFF = (*HAND_OFF, "non_target_index")  # of a dense task, whose SAC restores the order of the blocks

YOUNGER = ("further_partners", "targets")  # entries that came after this FORMAT

StageName = Literal["EE", "SAC", "plain"]
STAGES: tuple[Literal["EE", "SAC"], ...] = ("EE", "SAC")
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


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
    threshold: Share
    # "option", "checkpoint", "default"; of a variant also "exit-rate" or "top1": how it was fitted
    threshold_source: str
    precision: Precision = "fp32"
    threshold_fp32: Share | None = None  # of a variant: what the FP32 pair's threshold is
    hand_off: tuple[str, ...] = HAND_OFF
    further_partners: tuple[str, ...] = ()  # of EE: graph_sha256 of the SACs with other shares of target blocks
    targets: int | None = (
        None  # of a SAC that takes the first so many of the target blocks that EE hands over; None: all
    )

    def __post_init__(self) -> None:
        row_of(self.precision)

    @property
    def task(self) -> str:
        """classify, or dense: one answer per cell of the fine grid."""
        return str(self.config.get("task", "classify"))

    @property
    def borrows_weights(self) -> bool:
        """Of a plain ViT: whether it has a two-stage network's weights, as sacvit-export --plain gives it.

        One that was trained by itself names its own graph as its checkpoint.
        """
        return self.stage == "plain" and self.checkpoint_sha256 != self.graph_sha256

    def to_metadata(self) -> dict[str, str]:
        """The record as the text entries of an ONNX file."""
        entries = {"format": FORMAT, **msgspec.to_builtins(self)}
        return {
            PREFIX + key: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for key, value in entries.items()
        }

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
            texts = {entry.name for entry in fields(cls) if entry.type in ("str", "StageName", "Precision")}
            entries = {
                entry.name: text if entry.name in texts else msgspec.json.decode(text)
                for entry in fields(cls)
                if entry.name not in YOUNGER or PREFIX + entry.name in metadata
                for text in [metadata[PREFIX + entry.name]]
            }
            return converted(entries, cls)
        except (KeyError, ValueError, RecursionError, ConfigError) as reason:
            raise EngineError(f"{path} has a damaged sacvit record: {reason}. Export it again") from None


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
    partners = {ee.partner_sha256, *ee.further_partners}
    if sac.graph_sha256 not in partners or sac.partner_sha256 != ee.graph_sha256:
        raise EngineError(
            f"{ee_path} and {sac_path} come from the same checkpoint but from two exports with different options."
            f" Use the two files of one folder, or export again: sacvit-export --ckpt model.pth"
        )
