"""What to do about a path that is not what was asked for: a checkpoint for an engine, or a folder for a file."""

from __future__ import annotations

import shlex
from pathlib import Path

from ...bundle.precision import PRECISIONS

CHECKPOINTS = frozenset([".pth", ".pt", ".ckpt", ".safetensors", ".bin"])
STAGE_FILES = (("ee.onnx", "sac.onnx"), ("ee.plan", "sac.plan"), ("ee.rtx", "sac.rtx"))
PLAIN = "plain.onnx"


def quoted(path: Path | str) -> str:
    return shlex.quote(str(path))


def engines_in(folder: Path) -> tuple[Path, Path] | None:
    """The FP32 files of a bundle, or its plans where it has nothing else."""
    for names in STAGE_FILES:
        ee, sac = (folder / name for name in names)
        if ee.is_file() and sac.is_file():
            return ee, sac
    return None


def no_engine(path: Path) -> str:
    """What a path is that was given for an engine file, and the command or the files that were meant."""
    if path.is_dir():
        found = engines_in(path)
        if found is None:
            return f"{path} is a folder without engines. Export a checkpoint into it: {export_of('model.pth', path)}"
        return f"{path} is a folder. Its two files: --engine {quoted(found[0])} {quoted(found[1])}"
    if not path.exists():
        return f"{path} does not exist. {make(path)}"
    if path.suffix in CHECKPOINTS:
        return (
            f"{path} is a checkpoint, not an engine. Export it: {export_of(path, 'build')}. Then:"
            f" --engine build/ee.onnx build/sac.onnx"
        )
    return f"{path} is no engine. Export a checkpoint: {export_of('model.pth', 'build')}"


def no_plain(path: Path) -> str:
    """The same for a path that was given for the plain ViT."""
    folder = path if path.is_dir() else path.parent
    command = f"{export_of('model.pth', folder)} --plain. Then: --plain {quoted(folder / PLAIN)}"
    if not path.is_dir():
        return f"Make one: {command}"
    if (path / PLAIN).is_file():
        return f"{path} is a folder. Its plain ViT: --plain {quoted(path / PLAIN)}"
    return f"{path} is a folder without {PLAIN}. Make it: {command}"


def no_bundle(path: Path) -> str:
    """The same for a path that was given for the folder of a bundle."""
    if path.suffix in CHECKPOINTS and not path.is_dir():
        return f"{path} is a checkpoint, not the folder of a bundle. Make one of it: {export_of(path, 'build')}"
    if path.is_file():
        return f"{path} is a file; give its folder: {quoted(path.parent)}"
    what = "is not the folder of a bundle" if path.is_dir() else "does not exist"
    return f"{path} {what}. Make one: {export_of('model.pth', path)}"


def make(path: Path) -> str:
    """The command that writes a missing file of a bundle."""
    command = export_of("model.pth", path.parent)
    kind = path.name.split(".")[1] if path.name.count(".") > 1 else ""
    rows = [row for row in PRECISIONS if row.name == kind != "fp32"]
    option = f" --{rows[0].family}" if rows else ""
    return f"Make it: {command}{option}{' --plain' if path.name.startswith('plain') else ''}"


def export_of(checkpoint: Path | str, out: Path | str) -> str:
    return f"sacvit-export --ckpt {quoted(checkpoint)} --out {quoted(out)}"
