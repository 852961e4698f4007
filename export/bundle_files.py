"""What an export has made, and how it becomes the files of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import onnx

from ..bundle.files import sha256_of
from ..bundle.goldens import GOLDENS_NAME, Goldens
from ..bundle.manifest import MANIFEST_NAME, File, Manifest, Origin, Threshold, write_manifest
from ..bundle.manifest import FurtherSac as FurtherEntry
from ..bundle.plan_record import PLAIN_RECORD_NAME, PLAN_NAMES, RTX_NAMES
from ..bundle.precision import FORMS, PRECISIONS, Form, Precision, file_name
from ..bundle.stage_record import STAGES, StageName
from ..machine.packages import versions
from ..model.checkpoint import Checkpoint
from ..model.cost import count_cost
from ..runtime.engines.choice import CHOICE_NAME
from .checks.compiler import compile_all, compiled_lines
from .checks.parity import Check
from .checks.tensorrt_support import Verdict
from .further_sacs import FurtherSac, written_names
from .graphs.selection import HandOff
from .precision.options import Report, Variants
from .stamp import hand_off
from .write_plain import plain_graphs, plain_of, plain_variants, write_plain_variants


@dataclass
class Made:
    """What an export holds in memory before it writes a file."""

    checkpoint: Checkpoint
    labels: list[str] | None
    threshold: Threshold
    batch: int | None
    pairs: dict[Precision, tuple[onnx.ModelProto, onnx.ModelProto]]
    checks: list[Check]
    variants: Variants | None
    verdicts: list[Verdict]
    graphs: dict[StageName, str]
    goldens: Goldens
    further: list[FurtherSac]
    further_entries: dict[str, FurtherEntry]
    plains: dict[Precision, onnx.ModelProto] = field(default_factory=dict)

    def add_plain(self, qdq_weights: bool, report: Report) -> None:
        """The plain ViT of the geometry, in every precision of the pair."""
        checkpoint = self.checkpoint
        forms: Sequence[Form] = FORMS if len(self.pairs) > 1 else ("cpu",)
        graphs = plain_graphs(plain_of(checkpoint), checkpoint.preprocessing, self.batch, checkpoint.sha256, forms)
        self.plains = plain_variants(graphs, self.goldens.images, list(self.pairs), qdq_weights)
        report(
            "plain.onnx uses this checkpoint's weights but was never trained as a single-stage model: use it to measure time,"
            " not accuracy"
        )

    def write(self, folder: Path, compile_for: Sequence[str], report: Report) -> None:
        """Writes every file of the bundle."""
        if self.plains:
            write_plain_variants(self.plains, folder)
        self.goldens.write(folder / GOLDENS_NAME)
        models: dict[tuple[StageName, Precision, float | None], onnx.ModelProto] = {
            (stage, kind, None): model
            for kind, pair in self.pairs.items()
            for stage, model in zip(STAGES, pair, strict=True)
        }
        models |= {("SAC", kind, sac.alpha): model for sac in self.further for kind, model in sac.models.items()}
        for one, model in models.items():
            (folder / file_name(*one)).write_bytes(model.SerializeToString())
        plains: list[tuple[StageName, Precision, float | None]] = [("plain", kind, None) for kind in self.plains]
        files = {}
        for stage, kind, alpha in (*models, *plains):
            path = folder / file_name(stage, kind, alpha)
            files[path.name] = File(stage, kind, path.stat().st_size, sha256_of(path), alpha)
        compiled = compile_all([folder / name for name in files], compile_for, self.batch or 1)
        for line in compiled_lines(compiled):
            report(line)
        config, variants = self.checkpoint.config, self.variants
        manifest = Manifest(
            checkpoint=Origin(self.checkpoint.path.name, self.checkpoint.sha256),
            model=config.to_dict(),
            preprocessing=self.checkpoint.preprocessing,
            labels=self.labels,
            threshold=self.threshold,
            batch=self.batch,
            files=files,
            graphs=self.graphs,
            hand_off=hand_off(config, HandOff.of(config, *(sac.config for sac in self.further))),
            goldens_sha256=sha256_of(folder / GOLDENS_NAME),
            targets=config.targets if self.further else None,
            further_sacs=self.further_entries,
            cost=asdict(count_cost(config)),
            checks=[{"name": check.name, "value": check.value, "limit": check.limit} for check in self.checks],
            environment=versions(),
            tensorrt=[verdict.to_dict() for verdict in self.verdicts],
            compiled=[one.to_dict() for one in compiled],
        )
        if variants is not None:
            manifest.calibration, manifest.evaluation = variants.calibration, variants.evaluation
            manifest.variants = {variant.precision: variant.describe(self.threshold.value) for variant in variants.made}
        for sac in self.further:
            for kind, guards in sac.guards.items():
                found = [{**guard.to_dict(), "name": f"alpha {sac.alpha:g}: {guard.name}"} for guard in guards]
                manifest.variants[kind].guards.extend(found)
        write_manifest(folder, manifest)


def bundle_names(folder: Path, sac_alpha: Sequence[float]) -> tuple[str, ...]:
    """Every file that an export may write. The manifest comes last: it holds the hashes that verify the others."""
    kinds = [row.name for row in PRECISIONS]
    graphs = (file_name(stage, kind) for kind in kinds for stage in ("EE", "SAC", "plain"))
    return (
        *graphs,
        *sorted(written_names(folder, sac_alpha, kinds)),
        PLAIN_RECORD_NAME,
        GOLDENS_NAME,
        *PLAN_NAMES,
        *RTX_NAMES,
        CHOICE_NAME,
        MANIFEST_NAME,
    )
