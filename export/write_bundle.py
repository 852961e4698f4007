"""Checkpoint in, bundle out: ee.onnx, sac.onnx and sacvit.json, which are checked before they appear in the folder."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from ..bundle.errors import ConfigError
from ..bundle.files import require_folder
from ..bundle.folders import LEAST_ROOM_BYTES, locked_folder, replaced_files
from ..bundle.manifest import Threshold
from ..bundle.precision import FORMS, PRECISIONS, Form, Precision, Products, file_name
from ..bundle.stage_record import STAGES
from ..images.class_names import read_class_names
from ..model.checkpoint import Checkpoint, load_checkpoint
from ..model.config import ModelConfig
from .bundle_files import Made, bundle_names
from .checks.compiler import require_compiler
from .checks.goldens import SYNTHETIC_COUNT, make_goldens
from .checks.lint import require_clean
from .checks.parity import Check, check_images, check_pair, require_held
from .checks.tensorrt_support import accept, acceptance_lines
from .further_sacs import build_further, check_further, configs_of
from .graphs.selection import HandOff
from .pair_graphs import build_graphs
from .precision.image_sets import open_both
from .precision.options import Report, default_cache
from .precision.request import PrecisionOptions
from .precision.variants import make_variants
from .stamp import choose_threshold, stamp

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
    sac_alpha: Sequence[float] = (),
    report: Report = lambda line: None,
    **switches: Any,
) -> Bundle:
    """Exports a checkpoint as two checked ONNX graphs with their manifest, and as typed variants of them.

    labels: a text file with one class name per line. threshold: the gate's eta in [0, 1]; without it the checkpoint's,
    else DEFAULT_THRESHOLD. batch: fixes both graphs to that many images; None leaves the batch symbolic. precision: the
    variants. plain: also the plain ViT of this geometry, in every precision that the pair has, for sacvit-profile's
    break-even. compile_for: targets (export/checks/compiler.py) that TensorRT for RTX builds each file for. products: how SAC
    attends in clusters (export/graphs/clusters.py). sac_alpha: further SAC graphs with these shares of target blocks.
    switches: see `load_checkpoint`. report: receives lines about the progress.
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
    # Two stages, in FP32 and smaller types.
    with locked_folder(Path(out), room_bytes=ROOM_FACTOR * checkpoint.bytes + LEAST_ROOM_BYTES) as home:
        config = checkpoint.config
        names = checkpoint.labels if labels is None else read_class_names(Path(labels), "--labels", config.classes)
        further = configs_of(config, sac_alpha)
        made = _make(
            checkpoint, names, choose_threshold(threshold, checkpoint), batch, wanted, products, further, report
        )
        if plain:
            made.add_plain(wanted.qdq_weights, report)
        with replaced_files(home, bundle_names(home, sac_alpha)) as folder:
            made.write(folder, compile_for, report)
    written = {kind: (home / file_name("EE", kind), home / file_name("SAC", kind)) for kind in made.pairs}
    return Bundle(home, *written.pop("fp32"), made.threshold.value, made.checks, written, time.monotonic() - began)


def _make(
    checkpoint: Checkpoint,
    labels: list[str] | None,
    threshold: Threshold,
    batch: int | None,
    wanted: PrecisionOptions,
    products: Products,
    further_configs: Sequence[ModelConfig],
    report: Report,
) -> Made:
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
    kinds: Sequence[Form] = FORMS if is_typed else ("cpu",)
    handed = HandOff.of(config, *further_configs)
    forms = build_graphs(checkpoint, batch, kinds, products, handed if further_configs else None)
    further = build_further(checkpoint, further_configs, batch, kinds, products, handed)
    ee, sac = forms["cpu"]["EE"], forms["cpu"]["SAC"]
    for stage, model in zip(STAGES, (ee, sac), strict=True):
        require_clean(file_name(stage, "fp32"), model)
    checks = []
    for form in kinds:  # the GPU form before its types change
        found = (
            check_further(forms, further, checkpoint, batch, form, products)
            if further
            else check_pair(forms[form]["EE"], forms[form]["SAC"], checkpoint, batch)
        )
        checks += found if form == "cpu" else [replace(check, name=f"for GPUs: {check.name}") for check in found]
    for check in checks:
        report(str(check))
    require_held(checks)
    pairs: dict[Precision, tuple[onnx.ModelProto, onnx.ModelProto]] = {"fp32": (ee, sac)}
    variants = None
    if images is not None:
        variants = make_variants(forms, *images, threshold.value, wanted, report)
        pairs |= {variant.precision: (variant.ee, variant.sac) for variant in variants.made}
        for another in further:
            report(f"alpha {another.alpha:g}:")
            for variant in make_variants(another.graphs, *images, threshold.value, wanted, report).made:
                another.models[variant.precision] = variant.sac
                another.guards[variant.precision] = variant.guards
    verdicts = [
        verdict
        for kind, models in pairs.items()
        for stage, model in zip(STAGES, models, strict=True)
        for verdict in accept(file_name(stage, kind), model, kind)
    ]
    verdicts += [
        verdict
        for another in further
        for kind, model in another.models.items()
        for verdict in accept(file_name("SAC", kind, another.alpha), model, kind)
    ]
    for line in acceptance_lines(verdicts):
        report(line)
    graphs, entries = stamp(pairs, further, checkpoint, labels, threshold, variants)
    sample = check_images(config, SYNTHETIC_COUNT) if variants is None else variants.sample
    goldens = make_goldens(ee, sac, sample)
    return Made(
        checkpoint,
        labels,
        threshold,
        batch,
        pairs,
        checks,
        variants,
        verdicts,
        graphs,
        goldens,
        further,
        entries,
    )
