"""Checkpoint in, bundle out: ee.onnx, sac.onnx and sacvit.json, checked before anyone can see them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from ..bundle.errors import ConfigError
from ..bundle.folders import locked_folder, replaced_files
from ..bundle.goldens import GOLDENS_NAME
from ..bundle.manifest import DEFAULT_THRESHOLD, FORMAT, HAND_OFF, MANIFEST_NAME, Precision, StageRecord
from ..bundle.plan_record import PLAIN_RECORD_NAME, PLAN_NAMES
from ..images.class_names import read_class_names
from ..machine.packages import versions
from ..model.checkpoint import Checkpoint, load_checkpoint
from ..model.cost import count_cost
from .checks.goldens import SYNTHETIC_COUNT, make_goldens
from .checks.lint import require_clean
from .checks.parity import Check, check_images, check_pair, require_held
from .checks.tensorrt_support import accept, acceptance_lines
from .graphs.stages import build_ee, build_sac
from .precision.options import PrecisionOptions, Variants
from .precision.variants import make_variants
from .write_plain import plain_graph, plain_of, plain_variants, write_plain_variants

EE_NAME, SAC_NAME = "ee.onnx", "sac.onnx"
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "fp16", "int8fp16")
MAX_BATCH = 256


@dataclass(frozen=True)
class Bundle:
    """What an export wrote, and what it measured on the way."""

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
    report: Callable[[str], None] = lambda line: None,
    **switches: Any,
) -> Bundle:
    """Exports a checkpoint as two checked ONNX graphs with their manifest, and as typed variants of them.

    labels: a text file with one class name a line. threshold: the gate's eta in [0, 1]; without it the checkpoint's,
    else DEFAULT_THRESHOLD. batch: fixes both graphs to that many images; None leaves the batch symbolic. precision: the
    variants. plain: also the plain ViT of this geometry, in every precision that the pair has, for sacvit-profile's
    break-even. switches: see `load_checkpoint`. report: receives lines about the progress.
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
    checkpoint = load_checkpoint(ckpt, **switches)
    config = checkpoint.config
    names = checkpoint.labels if labels is None else read_class_names(Path(labels), "--labels", config.classes)
    eta, source = choose_threshold(threshold, checkpoint)
    report(
        f"{checkpoint.path}: {config.width} wide, {config.depth} deep, {config.heads} heads, {config.image_size} px,"
        f" {config.classes} classes; {config.selection} alpha {config.alpha}, {config.attention} attention:"
        f" {config.targets} target and {config.non_targets} non-target blocks"
    )
    ee, sac = build_pair(checkpoint, batch)
    for name, model in ((EE_NAME, ee), (SAC_NAME, sac)):
        require_clean(name, model)
    checks = check_pair(ee, sac, checkpoint, batch)
    for check in checks:
        report(str(check))
    require_held(checks)
    pairs: dict[Precision, tuple[onnx.ModelProto, onnx.ModelProto]] = {"fp32": (ee, sac)}
    variants = None
    if wanted.int8 or wanted.fp16:
        variants = make_variants(ee, sac, checkpoint, names, eta, wanted, report)
        pairs |= {variant.precision: (variant.ee, variant.sac) for variant in variants.made}
    verdicts = [
        verdict
        for kind, models in pairs.items()
        for stage, model in zip(("EE", "SAC"), models, strict=True)
        for verdict in accept(file_name(stage, kind), model, kind)
    ]
    for line in acceptance_lines(verdicts):
        report(line)
    graphs = stamp(ee, sac, checkpoint, names, eta, source, variants)
    goldens = make_goldens(ee, sac, check_images(config, SYNTHETIC_COUNT) if variants is None else variants.sample)
    files = {}
    plains: dict[Precision, onnx.ModelProto] = {}
    if plain:
        graph = plain_graph(plain_of(checkpoint), checkpoint.preprocessing, batch, checkpoint.sha256)
        plains = plain_variants(graph, goldens.images, list(pairs))
        report(
            "plain.onnx has this checkpoint's weights and was never trained with them: for its time, not its answers"
        )
    with locked_folder(Path(out)) as home, replaced_files(home, BUNDLE_NAMES) as folder:
        if plains:
            write_plain_variants(plains, folder)
        for kind, models in pairs.items():
            for stage, model in zip(("EE", "SAC"), models, strict=True):
                content = model.SerializeToString()
                name = file_name(stage, kind)
                (folder / name).write_bytes(content)
                files[name] = {
                    "stage": stage,
                    "precision": kind,
                    "bytes": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
        manifest = describe(checkpoint, names, eta, source, batch, files, checks)
        if variants is not None:
            manifest["calibration"], manifest["evaluation"] = variants.calibration, variants.evaluation
            manifest["variants"] = {variant.precision: variant.describe(eta) for variant in variants.made}
        manifest["tensorrt"] = [verdict.to_dict() for verdict in verdicts]
        manifest["graphs"] = graphs
        goldens.write(folder / GOLDENS_NAME)
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    folder = Path(out)
    written = {kind: (folder / file_name("EE", kind), folder / file_name("SAC", kind)) for kind in pairs}
    return Bundle(folder, *written.pop("fp32"), eta, checks, written, time.monotonic() - began)


def file_name(stage: str, precision: Precision) -> str:
    """ee.onnx, sac.int8.onnx and so on."""
    return f"{stage.lower()}.onnx" if precision == "fp32" else f"{stage.lower()}.{precision}.onnx"


# The manifest comes last: it holds the hashes that the others are trusted by.
BUNDLE_NAMES = (
    *(file_name(stage, precision) for precision in PRECISIONS for stage in ("EE", "SAC", "plain")),
    *(PLAIN_RECORD_NAME, GOLDENS_NAME, *PLAN_NAMES, MANIFEST_NAME),
)


def build_pair(checkpoint: Checkpoint, batch: int | None) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The EE and the SAC graph of a checkpoint, without metadata."""
    weights = {name: tensor.numpy() for name, tensor in checkpoint.model.state_dict().items()}
    parts = (checkpoint.config, weights, checkpoint.preprocessing, batch)
    return build_ee(*parts), build_sac(*parts)


def stamp(
    ee: onnx.ModelProto,
    sac: onnx.ModelProto,
    checkpoint: Checkpoint,
    labels: list[str] | None,
    eta: float,
    source: str,
    variants: Variants | None = None,
) -> dict[str, str]:
    """Writes each graph's record into its metadata, the variants' with their own precision and threshold.

    Returns the hash of each FP32 graph by stage.
    """
    hashes = {
        stage: hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
        for stage, model in (("EE", ee), ("SAC", sac))
    }
    for stage, partner in (("EE", "SAC"), ("SAC", "EE")):
        record = StageRecord(
            stage=stage,  # type: ignore[arg-type]
            config=checkpoint.config.to_dict(),
            preprocessing=checkpoint.preprocessing,
            labels=labels,
            checkpoint_sha256=checkpoint.sha256,
            graph_sha256=hashes[stage],
            partner_sha256=hashes[partner],
            threshold=eta,
            threshold_source=source,
        )
        onnx.helper.set_model_props(ee if stage == "EE" else sac, record.to_metadata())
        for variant in variants.made if variants else ():
            typed = replace(
                record,
                precision=variant.precision,
                threshold=variant.threshold,
                threshold_source=source if variant.threshold_source == "unchanged" else variant.threshold_source,
                threshold_fp32=eta,
            )
            onnx.helper.set_model_props(variant.ee if stage == "EE" else variant.sac, typed.to_metadata())
    return hashes


def describe(
    checkpoint: Checkpoint,
    labels: list[str] | None,
    eta: float,
    source: str,
    batch: int | None,
    files: dict[str, dict[str, Any]],
    checks: list[Check],
) -> dict[str, Any]:
    """The manifest."""
    config = checkpoint.config
    shapes = {
        "target_index": ("int32", [config.targets]),
        "target_context": ("float32", [config.targets, config.width]),
        "non_target": ("float32", [config.non_targets, config.width]),
    }
    return {
        "format": FORMAT,
        "checkpoint": {"file": checkpoint.path.name, "sha256": checkpoint.sha256},
        "model": config.to_dict(),
        "preprocessing": checkpoint.preprocessing.to_dict(),
        "labels": labels,
        "threshold": {"value": eta, "source": source},
        "batch": batch,
        "files": files,
        "hand_off": [{"name": name, "dtype": shapes[name][0], "shape_per_image": shapes[name][1]} for name in HAND_OFF],
        "cost": asdict(count_cost(config)),
        "checks": [{"name": check.name, "value": check.value, "limit": check.limit} for check in checks],
        "environment": versions(),
    }


def choose_threshold(given: float | None, checkpoint: Checkpoint) -> tuple[float, str]:
    if given is not None:
        return given, "option"
    if checkpoint.threshold is not None:
        return checkpoint.threshold, "checkpoint"
    return DEFAULT_THRESHOLD, "default"
