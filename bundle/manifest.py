"""The manifest of a bundle, `sacvit.json`: its files, and where they come from.

The manifest holds the hash of every other file of the bundle and is placed last, so that files of two exports are never taken
for one bundle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from .errors import EngineError
from .files import known_sha256
from .precision import PRECISIONS, Limits, Precision
from .preprocess import Preprocessing
from .records import read_record, write_record
from .stage_record import FORMAT, Share, StageName, StageRecord

MANIFEST_NAME = "sacvit.json"
EXPORT_AGAIN = "Export again: sacvit-export"
COLDEST, HOTTEST = 0.01, 100.0  # bounds of a temperature
Size = Annotated[int, msgspec.Meta(ge=0)]


class Origin(msgspec.Struct, frozen=True):
    """The checkpoint's name and hash."""

    file: str
    sha256: str


class Threshold(msgspec.Struct, frozen=True):
    """eta and how it was chosen; of a variant also FP32's eta."""

    value: Share
    source: str
    fp32: Share | None = None


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    """An ONNX file of the bundle. alpha: of a SAC with another share of target blocks than the bundle's own."""

    stage: StageName
    precision: Precision
    bytes: Size
    sha256: str
    alpha: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None


class Tensor(msgspec.Struct, frozen=True):
    """A tensor that EE hands over to SAC."""

    name: str
    dtype: str
    shape_per_image: list[Size]


class Variant(msgspec.Struct, frozen=True):
    """A typed pair: the limits of its guards, their results, and what was kept in higher precision."""

    threshold: Threshold
    limits: Limits
    guards: list[dict[str, Any]] = []
    left_out_of_int8: dict[str, list[str]] = {}
    kept_in_fp32: dict[str, dict[str, float]] = {}
    weights: dict[str, dict[str, Size]] = {}


class FurtherSac(msgspec.Struct, frozen=True):
    """The FP32 graph of a SAC with another share of target blocks, and how many it takes of those that EE hands over."""

    graph: str
    targets: Annotated[int, msgspec.Meta(ge=1)]


class SacUse(msgspec.Struct, frozen=True):
    """Which SAC answers images whose confidence lies below `below`: that of alpha, or the bundle's own (None)."""

    alpha: Annotated[float, msgspec.Meta(gt=0, le=1)] | None
    below: Share


class Tuned(msgspec.Struct, frozen=True):
    """The gate that sacvit-tune stored for a precision. It takes precedence over the export's threshold.

    EE's logits are divided by the temperature before the softmax, and eta is compared with what comes out. point: the rule
    that eta was chosen by. points: eta of every rule that was fitted with it. sacs: which SACs answer the images that go on,
    with rising `below`, the last for all that are left; empty for the bundle's own. The other fields are for people.
    """

    threshold: Share
    temperature: Annotated[float, msgspec.Meta(ge=COLDEST, le=HOTTEST)]
    point: Annotated[str, msgspec.Meta(max_length=100)]
    points: dict[str, Share] = {}
    data: dict[str, Any] = {}
    report: dict[str, Any] = {}
    promise: dict[str, Any] | None = None
    sacs: Annotated[list[SacUse], msgspec.Meta(max_length=8)] = []


class Manifest(msgspec.Struct, kw_only=True):
    """A bundle. checks, cost, environment, calibration, evaluation, tensorrt and compiled are for people."""

    format: Literal[3] = FORMAT
    checkpoint: Origin
    model: dict[str, Any]
    preprocessing: Preprocessing
    labels: list[str] | None
    threshold: Threshold
    batch: Annotated[int, msgspec.Meta(ge=1)] | None
    files: dict[str, File]
    graphs: dict[StageName, str]
    hand_off: list[Tensor]
    goldens_sha256: str
    targets: Annotated[int, msgspec.Meta(ge=1)] | None = None  # of the bundle's own SAC, where EE hands over more
    further_sacs: dict[str, FurtherSac] = {}  # by alpha
    variants: dict[Precision, Variant] = {}
    tuned: dict[Precision, Tuned] = {}
    checks: list[dict[str, Any]] = []
    cost: dict[str, Any] = {}
    environment: dict[str, str] = {}
    calibration: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    tensorrt: list[dict[str, Any]] = []
    compiled: list[dict[str, Any]] = []

    def precisions(self) -> list[Precision]:
        """The precisions in which the bundle has both graphs, from the finest to the coarsest."""
        found = {(file.stage, file.precision) for file in self.files.values()}
        return [row.name for row in PRECISIONS if {("EE", row.name), ("SAC", row.name)} <= found]

    def record(self, name: str) -> StageRecord:
        """The record that the ONNX file `name` carries, for programs without the onnx package.

        Raises EngineError for a file that the manifest does not name as a stage of the chain.
        """
        file = self.files.get(name)
        graph = None if file is None else self._graph_of(file)
        if file is None or graph is None or (file.precision != "fp32" and file.precision not in self.variants):
            raise EngineError(f"{MANIFEST_NAME} does not describe {name}: it is of an older sacvit. {EXPORT_AGAIN}")
        threshold = self.threshold if file.precision == "fp32" else self.variants[file.precision].threshold
        is_unfitted = threshold.source == "unchanged"
        return StageRecord(
            stage=file.stage,
            config=self.model if file.alpha is None else {**self.model, "alpha": file.alpha},
            preprocessing=self.preprocessing,
            labels=self.labels,
            checkpoint_sha256=self.checkpoint.sha256,
            graph_sha256=graph,
            partner_sha256=self.graphs["SAC" if file.stage == "EE" else "EE"],
            threshold=threshold.value,
            threshold_source=self.threshold.source if is_unfitted else threshold.source,
            precision=file.precision,
            threshold_fp32=threshold.fp32,
            hand_off=tuple(tensor.name for tensor in self.hand_off),
            further_partners=tuple(one.graph for one in self.further_sacs.values()) if file.stage == "EE" else (),
            targets=self._targets_of(file),
        )

    def _graph_of(self, file: File) -> str | None:
        """The hash of the FP32 graph that a file was made from; None where the manifest has none."""
        if file.alpha is None:
            return self.graphs.get(file.stage)
        further = self.further_sacs.get(f"{file.alpha:g}")
        return None if further is None else further.graph

    def _targets_of(self, file: File) -> int | None:
        if file.stage != "SAC":
            return None
        return self.targets if file.alpha is None else self.further_sacs[f"{file.alpha:g}"].targets


def read_manifest(folder: Path) -> Manifest:
    """The content of DIR/sacvit.json. Raises EngineError when it is missing, too large, damaged or of another sacvit."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise EngineError(f"{path} is missing: {folder} is no bundle. Make one: sacvit-export --ckpt model.pth")
    return read_record(path, Manifest, EXPORT_AGAIN)


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Writes DIR/sacvit.json whole; returns its path."""
    path = folder / MANIFEST_NAME
    write_record(path, manifest)
    return path


def require_exported(path: Path) -> bool:
    """Whether a manifest beside an ONNX file holds the hash of its content.

    Raises EngineError when the manifest names the file and its hash differs: the file is damaged, or of another export.
    """
    if not (path.parent / MANIFEST_NAME).is_file():
        return False
    file = read_manifest(path.parent).files.get(path.name)
    if file is None:
        return False
    size = path.stat().st_size
    if size != file.bytes or known_sha256(path) != file.sha256:
        raise EngineError(
            f"{path} is not the file that {MANIFEST_NAME} beside it describes: its size or hash differs, so it is damaged or of"
            f" another export. {EXPORT_AGAIN}, or copy the whole folder"
        )
    return True
