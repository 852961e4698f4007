"""Checkpoint in, bundle out: ee.onnx, sac.onnx and sacvit.json, which are checked before they appear in the folder."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx

from ..bundle.errors import ConfigError
from ..bundle.files import require_folder, sha256_of
from ..bundle.folders import LEAST_ROOM_BYTES, locked_folder, replaced_files
from ..bundle.goldens import GOLDENS_NAME, Goldens
from ..bundle.manifest import MANIFEST_NAME, File, Manifest, Origin, Threshold, write_manifest
from ..bundle.plan_record import PLAIN_RECORD_NAME, PLAN_NAMES, RTX_NAMES
from ..bundle.precision import FORMS, PRECISIONS, Form, Precision, Products, file_name
from ..bundle.stage_record import STAGES, StageName
from ..images.class_names import read_class_names
from ..machine.packages import versions
from ..model.checkpoint import Checkpoint, load_checkpoint
from ..model.cost import count_cost
from ..runtime.engines.choice import CHOICE_NAME
from .checks.compiler import compile_all, compiled_lines, require_compiler
from .checks.goldens import SYNTHETIC_COUNT, make_goldens
from .checks.lint import require_clean
from .checks.parity import Check, check_images, check_pair, require_held
from .checks.tensorrt_support import Verdict, accept, acceptance_lines
from .graphs.writers import WRITERS
from .precision.image_sets import open_both
from .precision.options import Graphs, Report, Variants, default_cache
from .precision.request import PrecisionOptions
from .precision.variants import make_variants
from .stamp import choose_threshold, hand_off, stamp
from .write_plain import plain_graphs, plain_of, plain_variants, write_plain_variants

MAX_BATCH = 256
ROOM_FACTOR = 6  # bytes of a bundle in every precision, for each of its checkpoint's


@dataclass(frozen=True)
class Bundle:
    """The files that an export wrote, and what it measured."""

    folder: Path
    ee: Path
    sac: Path
    threshold: float
    checks: list[Check]
    variants: dict[Precision, tuple[Path, Path]]  # EE and SAC of each typed pair
    duration_s: float


def export(
    ckpt: str | Path,
    out: str | Path = "build",
    *,
    labels: str | Path | None = None,
    threshold: float | None = None,
    batch: int | None = None,
    precision: PrecisionOptions | None = None,
    plain: bool = False,
    compile_for: Sequence[str] = (),
    products: Products = "masked",
    report: Report = lambda line: None,
    **switches: Any,
) -> Bundle:
    """Exports a checkpoint as two checked ONNX graphs with their manifest, and as typed variants of them.

    labels: a text file with one class name per line. threshold: the gate's eta in [0, 1]; without it the checkpoint's,
    else DEFAULT_THRESHOLD. batch: fixes both graphs to that many images; None leaves the batch symbolic. precision: the
    variants. plain: also the plain ViT of this geometry, in every precision that the pair has, for sacvit-profile's
    break-even. compile_for: targets (export/checks/compiler.py) that TensorRT for RTX builds each file for. products: how SAC
    attends in clusters (export/graphs/clusters.py). switches: see `load_checkpoint`. report: receives lines about the progress.
    Raises GuardError when a check fails; then, and on any other error, `out` is as it was. Files of an earlier export
    in `out` that this one does not write are removed: a bundle is of one export.
    """
    began = time.monotonic()
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"--threshold must lie in [0, 1], found {threshold}")
    if batch is not None and not 1 <= batch <= MAX_BATCH:
        raise ConfigError(f"--batch must lie in 1 .. {MAX_BATCH}, found {batch}")
    wanted = precision or PrecisionOptions()
    wanted.require_sound()
    if wanted.sensitivity is not None:
        importlib.import_module("matplotlib.figure")  # draws the plot when all else is done
    if compile_for:
        require_compiler()
    checkpoint = load_checkpoint(ckpt, **switches)
    if checkpoint.config.task == "dense":
        raise ConfigError(f"{ckpt} is of --task dense, which this version trains, but does not export yet")
    # Two stages, in FP32 and smaller types.
    with locked_folder(Path(out), room_bytes=ROOM_FACTOR * checkpoint.bytes + LEAST_ROOM_BYTES) as home:
        config = checkpoint.config
        names = checkpoint.labels if labels is None else read_class_names(Path(labels), "--labels", config.classes)
        made = _make(checkpoint, names, choose_threshold(threshold, checkpoint), batch, wanted, products, report)
        if plain:
            made.add_plain(wanted.qdq_weights, report)
        with replaced_files(home, bundle_names()) as folder:
            made.write(folder, compile_for, report)
    written = {kind: (home / file_name("EE", kind), home / file_name("SAC", kind)) for kind in made.pairs}
    return Bundle(home, *written.pop("fp32"), made.threshold.value, made.checks, written, time.monotonic() - began)


@dataclass
class _Made:
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
        models: dict[tuple[StageName, Precision], onnx.ModelProto] = {
            (stage, kind): model for kind, pair in self.pairs.items() for stage, model in zip(STAGES, pair, strict=True)
        }
        for (stage, kind), model in models.items():
            (folder / file_name(stage, kind)).write_bytes(model.SerializeToString())
        plains: list[tuple[StageName, Precision]] = [("plain", kind) for kind in self.plains]
        files = {}
        for stage, kind in (*models, *plains):
            path = folder / file_name(stage, kind)
            files[path.name] = File(stage, kind, path.stat().st_size, sha256_of(path))
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
            hand_off=hand_off(config),
            goldens_sha256=sha256_of(folder / GOLDENS_NAME),
            cost=asdict(count_cost(config)),
            checks=[{"name": check.name, "value": check.value, "limit": check.limit} for check in self.checks],
            environment=versions(),
            tensorrt=[verdict.to_dict() for verdict in self.verdicts],
            compiled=[one.to_dict() for one in compiled],
        )
        if variants is not None:
            manifest.calibration, manifest.evaluation = variants.calibration, variants.evaluation
            manifest.variants = {variant.precision: variant.describe(self.threshold.value) for variant in variants.made}
        write_manifest(folder, manifest)


def _make(
    checkpoint: Checkpoint,
    labels: list[str] | None,
    threshold: Threshold,
    batch: int | None,
    wanted: PrecisionOptions,
    products: Products,
    report: Report,
) -> _Made:
    """The graphs in every precision that is wanted, checked and stamped. Raises GuardError."""
    config = checkpoint.config
    report(
        f"{checkpoint.path}: {config.width} wide, {config.depth} deep, {config.heads} heads, {config.image_size} px,"
        f" {config.classes} classes; {config.selection} alpha {config.alpha}, {config.attention} attention:"
        f" {config.targets} target and {config.non_targets} non-target blocks"
    )
    is_typed = any(wanted.wants(row.family) for row in PRECISIONS)
    images = None
    if is_typed:  # before the graphs are written and checked: a path or a label of the images may be wrong
        cache = wanted.calib_cache or default_cache()
        if not any(cache.glob("*.json")):  # a read-only one may hold all that is needed
            require_folder(cache, "--calib-cache")
        images = open_both(checkpoint, labels, wanted, report)
    forms = build_graphs(checkpoint, batch, FORMS if is_typed else ("cpu",), products)
    ee, sac = forms["cpu"]["EE"], forms["cpu"]["SAC"]
    for stage, model in zip(STAGES, (ee, sac), strict=True):
        require_clean(file_name(stage, "fp32"), model)
    checks = check_pair(ee, sac, checkpoint, batch)
    if is_typed:  # the GPU form before its types change
        found = check_pair(forms["gpu"]["EE"], forms["gpu"]["SAC"], checkpoint, batch)
        checks += [replace(check, name=f"for GPUs: {check.name}") for check in found]
    for check in checks:
        report(str(check))
    require_held(checks)
    pairs: dict[Precision, tuple[onnx.ModelProto, onnx.ModelProto]] = {"fp32": (ee, sac)}
    variants = None
    if images is not None:
        variants = make_variants(forms, *images, threshold.value, wanted, report)
        pairs |= {variant.precision: (variant.ee, variant.sac) for variant in variants.made}
    verdicts = [
        verdict
        for kind, models in pairs.items()
        for stage, model in zip(STAGES, models, strict=True)
        for verdict in accept(file_name(stage, kind), model, kind)
    ]
    for line in acceptance_lines(verdicts):
        report(line)
    graphs = stamp(ee, sac, checkpoint, labels, threshold, variants)
    sample = check_images(config, SYNTHETIC_COUNT) if variants is None else variants.sample
    return _Made(
        checkpoint, labels, threshold, batch, pairs, checks, variants, verdicts, graphs, make_goldens(ee, sac, sample)
    )


def bundle_names() -> tuple[str, ...]:
    """Every file that an export may write. The manifest comes last: it holds the hashes that verify the others."""
    graphs = (file_name(stage, row.name) for row in PRECISIONS for stage in ("EE", "SAC", "plain"))
    return (*graphs, PLAIN_RECORD_NAME, GOLDENS_NAME, *PLAN_NAMES, *RTX_NAMES, CHOICE_NAME, MANIFEST_NAME)


def build_graphs(
    checkpoint: Checkpoint, batch: int | None, forms: Sequence[Form] = FORMS, products: Products = "masked"
) -> Graphs:
    """The FP32 pair of a checkpoint in each of these forms, without metadata."""
    weights = {name: tensor.numpy() for name, tensor in checkpoint.model.state_dict().items()}
    parts = (checkpoint.config, weights, checkpoint.preprocessing, batch)
    writers = WRITERS[checkpoint.config.task]
    return {form: {"EE": writers.ee(*parts, form), "SAC": writers.sac(*parts, form, products)} for form in forms}


def build_pair(checkpoint: Checkpoint, batch: int | None) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The EE and the SAC graph of a checkpoint as ONNX Runtime gets them, without metadata."""
    pair = build_graphs(checkpoint, batch, ("cpu",))["cpu"]
    return pair["EE"], pair["SAC"]
