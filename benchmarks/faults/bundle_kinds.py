"""What export, build and tune write for each other, and checkpoints."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from .kind import BUNDLES, Kind, colours, digest
from .mutate import changed_json, damaged_bytes, damaged_head, flipped_bit, signed_json

BYTES = (damaged_bytes, flipped_bit, damaged_head)
CANARY = "code-was-run"  # a file that a pickle of malice would make


def copy_bundle(folder: Path) -> None:
    for name in ("ee.onnx", "sac.onnx", "goldens.npz", "sacvit.json"):
        shutil.copy(BUNDLES / "bundle" / name, folder / name)


def pipeline_answers(folder: Path, damaged: Path) -> Any:
    from sacvit.runtime.chain.pipeline import Pipeline

    pipeline = Pipeline.load(folder / "ee.onnx", folder / "sac.onnx", provider="cpu", threads=1)
    results = pipeline(list(colours(4, 32)))
    return pipeline.threshold, pipeline.temperature, [(one.label, one.stage, one.probability) for one in results]


def _checkpoint(folder: Path, name: str) -> Path:
    import torch

    from sacvit.bundle.preprocess import Preprocessing
    from sacvit.model.config import preset
    from sacvit.model.network import TwoStageViT
    from sacvit.model.write_checkpoint import save_checkpoint

    torch.manual_seed(0)
    geometry = {"image_size": 32, "patch_size": 8, "width": 16, "depth": 4, "heads": 2, "hidden": 16, "classes": 3}
    model = TwoStageViT(preset("demo", **geometry))
    save_checkpoint(folder / name, model, Preprocessing(32), labels=["cat", "dog", "owl"], threshold=0.4)
    return folder / name


def make_pth(folder: Path) -> None:
    _checkpoint(folder, "model.pth")


def make_safetensors(folder: Path) -> None:
    _checkpoint(folder, "model.safetensors")


def make_old_pth(folder: Path) -> None:
    import torch

    path = _checkpoint(folder, "model.pth")
    content = torch.load(path, weights_only=True)
    torch.save(content, path, _use_new_zipfile_serialization=False)


def read_checkpoint(folder: Path, damaged: Path) -> Any:
    from sacvit.model.checkpoint import load_checkpoint

    found = load_checkpoint(next(folder.glob("model.*")))
    weights = [tensor.numpy() for tensor in found.model.state_dict().values()]
    return digest(*weights, found.config, found.labels, found.threshold, found.preprocessing)


def hostile_pickle(content: bytes, chance: random.Random) -> bytes:
    """Not damage: a pickle that wants to run something, bare or in place of the one in the archive."""
    command = f"touch {CANARY}"

    class Evil:
        def __reduce__(self) -> Any:
            import os
            import subprocess

            calls: list[Any] = [
                (os.system, (command,)),
                (subprocess.getoutput, (command,)),
                (eval, (f"open({CANARY!r}, 'w')",)),
                (exec, (f"open({CANARY!r}, 'w')",)),
                (os.execvp, ("touch", ("touch", CANARY))),
            ]
            return chance.choice(calls)

    evil = pickle.dumps({"model": Evil()}, protocol=chance.choice((0, 2, 4)))
    if chance.random() < 0.4:
        return evil
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, evil if member.filename.endswith("data.pkl") else old.read(member))
    return buffer.getvalue()


def make_bundle(folder: Path) -> None:
    """With a gate that sacvit-tune stored."""
    from sacvit.bundle.manifest import Tuned, read_manifest, write_manifest

    copy_bundle(folder)
    manifest = read_manifest(folder)
    manifest.tuned = {"fp32": Tuned(0.6, 1.3, "fast", {"fit": "photos"}, {"top1": 0.9})}
    write_manifest(folder, manifest)


def make_bare_onnx(folder: Path) -> None:
    copy_bundle(folder)
    (folder / "sacvit.json").unlink()


def read_goldens(folder: Path, damaged: Path) -> Any:
    from sacvit.bundle.goldens import read_goldens as read

    return digest(*vars(read(folder)).values())


def make_plan(folder: Path) -> None:
    """A record as sacvit-build writes it; the plan itself is any bytes: TensorRT reads it after the hash is checked."""
    import hashlib

    from sacvit.bundle.manifest import read_manifest
    from sacvit.bundle.plan_record import Gpu, PlanRecord

    content = bytes(range(256)) * 8
    (folder / "ee.plan").write_bytes(content)
    record, sha256 = read_manifest(BUNDLES / "bundle").record("ee.onnx"), hashlib.sha256(content).hexdigest()
    gpu = Gpu("Orin", "8.7", 16)
    made = PlanRecord(
        record, sha256, len(content), "ee.onnx", "0" * 64, "10.3.0", gpu, (1, 4), 4, build={"power_mode": "15W"}
    )
    made.write(folder / "ee.plan")


def read_plan(folder: Path, damaged: Path) -> Any:
    from sacvit.bundle.plan_record import Gpu, read_plan_record, require_place, require_whole

    found = read_plan_record(folder / "ee.plan")
    require_whole(folder / "ee.plan", found, (folder / "ee.plan").read_bytes())
    require_place(folder / "ee.plan", found, "10.3.0", Gpu("Orin", "8.7", 16))
    return repr(found)


def make_ranges(folder: Path) -> None:
    from sacvit.calibration.range_cache import CacheKey, Ranges, write_ranges

    rng = np.random.default_rng(0)
    ranges = {f"blocks.{number}/input": float(rng.uniform(1, 9)) for number in range(12)}
    write_ranges(folder, "EE", CacheKey("a" * 64, "b" * 64, "mse", 40), Ranges(ranges, ranges, 40))


def read_ranges(folder: Path, damaged: Path) -> Any:
    from sacvit.calibration.range_cache import CacheKey
    from sacvit.calibration.range_cache import read_ranges as read

    return repr(read(folder, "EE", CacheKey("a" * 64, "b" * 64, "mse", 40), ["blocks.1/input"]))


def make_plain_record(folder: Path) -> None:
    import onnx

    from sacvit.bundle.preprocess import Preprocessing
    from sacvit.export.write_plain import plain_graphs, write_plain_variants
    from sacvit.model.config import preset
    from sacvit.model.network import PlainViT

    geometry = {"image_size": 32, "patch_size": 8, "width": 16, "depth": 4, "heads": 2, "hidden": 16, "classes": 3}
    model = plain_graphs(PlainViT(preset("demo", **geometry)), Preprocessing(32), None, "c" * 64)["cpu"]
    assert isinstance(model, onnx.ModelProto)
    write_plain_variants({"fp32": model}, folder)


def read_plain_record(folder: Path, damaged: Path) -> Any:
    """As sacvit-build does; the build itself is left out."""
    from sacvit.bundle.plan_record import Gpu, read_plan_record
    from sacvit.export.plans.plain import build_plain_plan

    def build_stage(onnx: Path, plan: Path) -> dict[str, Any]:
        plan.write_bytes(b"plan")
        return {}

    plan = build_plain_plan(folder, "fp32", (1,), "10.3.0", Gpu("Orin", "8.7", 16), folder, build_stage)
    return repr(read_plan_record(plan).record)


def make_placing(folder: Path) -> None:
    """An output folder whose command was killed between two renames."""
    from sacvit.bundle import folders
    from sacvit.bundle.folders import NOTE_NAME, locked_folder, replaced_files

    names = ("a.onnx", "b.onnx", "sacvit.json")
    for name in names:
        (folder / name).write_text("old")
    real, kept = folders._Placing.go_on, folder.parent / f"{folder.name}-kept"

    def stop(self: Any) -> None:
        shutil.copytree(folder, kept)
        real(self)

    folders._Placing.go_on = stop
    with locked_folder(folder), replaced_files(folder, names) as work:
        for name in names:
            (work / name).write_text("new")
    folders._Placing.go_on = real
    shutil.rmtree(folder)
    kept.rename(folder)
    assert (folder / NOTE_NAME).exists()


def read_placing(folder: Path, damaged: Path) -> Any:
    from sacvit.bundle.folders import locked_folder

    with locked_folder(folder):
        return [(path.name, path.read_text()) for path in sorted(folder.iterdir())]


def make_calibration_set(folder: Path) -> None:
    """A checkpoint with the set that sacvit-train leaves beside it."""
    shutil.copy(Path(BUNDLES).parents[2] / "examples" / "digits" / "model.pth", folder / "model.pth")
    shutil.copy(Path(BUNDLES).parents[2] / "examples" / "digits" / "model.calib.tar", folder / "model.calib.tar")


def read_calibration_set(folder: Path, damaged: Path) -> Any:
    from sacvit.export.precision.calibration_images import find_images
    from sacvit.images.data_set import open_data_set
    from sacvit.model.checkpoint import load_checkpoint

    found = find_images(load_checkpoint(folder / "model.pth"))
    assert found is not None
    opened = open_data_set(found, "--calib", 10, None)
    return digest(*[opened.read(index) for index in range(min(3, len(opened)))])


def make_description(folder: Path) -> None:
    from sacvit.runtime.chain.pipeline import Pipeline
    from sacvit.serving.options import ServeOptions
    from sacvit.serving.repository import write_repository

    pipeline = Pipeline.load(BUNDLES / "bundle" / "ee.onnx", BUNDLES / "bundle" / "sac.onnx", provider="cpu")
    write_repository(pipeline, folder / "models", ServeOptions())
    text = (folder / "models" / "sacvit" / "config.pbtxt").read_text()
    value = next(line for line in text.splitlines() if "string_value" in line and "preprocessing" in line)
    stored = json.loads(value[value.index('"', value.index("string_value")) :].rstrip(" }"))
    (folder / "config.json").write_text(json.dumps(json.loads(stored)))
    shutil.rmtree(folder / "models")


def read_description(folder: Path, damaged: Path) -> Any:
    from sacvit.serving.description import KEY, About

    inner = (folder / "config.json").read_bytes().decode("utf-8", "surrogateescape")
    config = json.dumps({"parameters": {KEY: {"string_value": inner}}})
    about = About.from_config(config, "the model sacvit")
    return repr((about, about.shapes))


KINDS = (
    Kind("checkpoint .pth", make_pth, ("*.pth",), read_checkpoint, BYTES, checked=True, share=0.5),
    Kind("checkpoint .safetensors", make_safetensors, ("*",), read_checkpoint, BYTES, checked=True, share=0.5),
    Kind("checkpoint before torch 1.6", make_old_pth, ("*.pth",), read_checkpoint, BYTES, share=0.5),
    Kind("checkpoint that wants to run code", make_pth, ("*.pth",), read_checkpoint, (hostile_pickle,), share=0.2),
    Kind("ONNX beside its manifest", make_bundle, ("*.onnx",), pipeline_answers, BYTES, checked=True),
    Kind("ONNX alone", make_bare_onnx, ("*.onnx",), pipeline_answers, (damaged_bytes, flipped_bit), share=0.3),
    Kind("manifest", make_bundle, ("sacvit.json",), pipeline_answers, (*BYTES, changed_json), checked=True, share=0.5),
    Kind("manifest, signed again", make_bundle, ("sacvit.json",), pipeline_answers, (signed_json,), share=0.5),
    Kind("plan and its record", make_plan, ("*",), read_plan, BYTES, checked=True),
    Kind("plan record, signed again", make_plan, ("*.json",), read_plan, (signed_json,)),
    Kind(
        "plain record",
        make_plain_record,
        ("plain.json",),
        read_plain_record,
        (*BYTES, changed_json),
        checked=True,
        writes=True,
    ),
    Kind(
        "plain record, signed again", make_plain_record, ("plain.json",), read_plain_record, (signed_json,), writes=True
    ),
    Kind("goldens beside their manifest", make_bundle, ("goldens.npz",), read_goldens, BYTES, checked=True),
    Kind("goldens alone", make_bare_onnx, ("goldens.npz",), read_goldens, BYTES),
    Kind("calibration cache", make_ranges, ("*",), read_ranges, (*BYTES, changed_json), checked=True),
    Kind("calibration cache, signed again", make_ranges, ("*",), read_ranges, (signed_json,)),
    Kind(
        "note of files being placed",
        make_placing,
        (".sacvit-placing.json",),
        read_placing,
        (*BYTES, changed_json),
        checked=True,
        writes=True,
        share=0.3,
    ),
    Kind(
        "note of files being placed, signed again",
        make_placing,
        (".sacvit-placing.json",),
        read_placing,
        (signed_json,),
        writes=True,
        share=0.3,
    ),
    Kind(
        "calibration set of a checkpoint",
        make_calibration_set,
        ("*.tar",),
        read_calibration_set,
        BYTES,
        checked=True,
        share=0.05,
    ),
)
