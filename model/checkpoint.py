"""Checkpoints: untrusted .pth files in, a network and its config out.

A checkpoint can never run code: it is read with `weights_only`. Geometry is read off the tensors' shapes; what shapes
cannot say comes from the caller's overrides, then from the file's `config` entry, then from defaults.
"""

from __future__ import annotations

import argparse
import io
import os
import pathlib
import pickle
import re
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bundle.errors import CheckpointError, ConfigError, SacvitError, nearest
from ..bundle.files import sha256_of, written_whole
from ..bundle.preprocess import Preprocessing
from .config import HEAD_WIDTH, ModelConfig
from .network import PlainViT, TwoStageViT, VisionTransformer

MAX_CHECKPOINT_BYTES = 4 << 30  # DeiT-B with optimizer state is 1.4 GB
SWITCHES = ("heads", "selection", "alpha", "window", "attention", "downsample")  # what shapes do not say
# What public training scripts leave beside the weights. Both are plain containers: building one runs no code of the file.
WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HARMLESS_TYPES: list[Any] = [argparse.Namespace, pathlib.PosixPath]


@dataclass(frozen=True)
class CalibrationSet:
    """The sample of training images that sacvit-train wrote beside a checkpoint: see `training/calibration_set.py`."""

    path: Path  # where it belongs: beside the checkpoint
    sha256: str  # as the checkpoint has it

    def find(self) -> Path | None:
        """The file, or None if it is missing. Raises CheckpointError if another file lies in its place."""
        if not self.path.is_file():
            return None
        if sha256_of(self.path) != self.sha256:
            raise CheckpointError(
                f"{self.path} is not the calibration set of its checkpoint: the SHA-256 differs. Copy it again from where"
                f" the checkpoint was trained, or give other images with --calib"
            )
        return self.path


def calibration_path(checkpoint: Path) -> Path:
    """Where the calibration set of a checkpoint belongs."""
    return checkpoint.with_suffix(".calib.tar")


@dataclass
class Checkpoint:
    """A loaded two-stage network, in evaluation mode and FP32, with what belongs to it."""

    model: TwoStageViT
    preprocessing: Preprocessing
    sha256: str  # of the file
    path: Path
    labels: list[str] | None = None
    threshold: float | None = None  # eta that was fitted at training, if any
    calibration: CalibrationSet | None = None  # which images to calibrate on, if training left some

    @property
    def config(self) -> ModelConfig:
        return self.model.config


@dataclass
class StateDict:
    """Tensors of a checkpoint by DeiT's names, and the entries that stood beside them."""

    path: Path
    tensors: dict[str, Tensor]
    entries: dict[str, Any] = field(default_factory=dict)

    def shape(self, key: str, dims: int) -> tuple[int, ...]:
        """The shape of a tensor that must be there. Raises CheckpointError, with the nearest name, when it is not."""
        if key not in self.tensors:
            raise CheckpointError(
                f"{self.path} has no tensor {key!r}{nearest(key, self.tensors)}. Expected the state dict of SAC-ViT,"
                f" CF-ViT or LF-ViT, under 'model' or bare; found {len(self.tensors)} tensors"
            )
        found = tuple(self.tensors[key].shape)
        if len(found) != dims:
            raise CheckpointError(f"{self.path}: {key} must have {dims} dimensions, found shape {found}")
        return found


def load_checkpoint(path: str | Path, **overrides: Any) -> Checkpoint:
    """A two-stage network from a SAC-ViT, CF-ViT or LF-ViT checkpoint.

    overrides: any of `heads`, `selection`, `alpha`, `window`, `attention`, `downsample`; None means "as the file says".
    Raises CheckpointError for a file that cannot be used, ConfigError for switches that cannot be meant.
    """
    state = read_state_dict(Path(path))
    if "pos_embed_list.0" not in state.tensors and "pos_embed" in state.tensors:
        raise CheckpointError(
            f"{path} is a plain single-stage ViT (it has pos_embed, and no pos_embed_list): it has no second stage to"
            f" export. Train one from it first: sacvit-train --start {path} --data DIR"
        )
    config = read_config(state, overrides)
    preprocessing = read_preprocessing(state, config)
    model = TwoStageViT(config, preprocessing.mean, preprocessing.std)
    fill(model, state)
    labels, threshold = state.entries.get("labels"), state.entries.get("threshold")
    if labels is not None:
        if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
            raise CheckpointError(f"{path}: 'labels' must be a list of names, found {type(labels).__name__}")
        if len(labels) != config.classes:
            raise CheckpointError(f"{path}: 'labels' must be {config.classes} names, found {len(labels)}")
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if threshold is not None and not (number and 0 <= threshold <= 1):
        raise CheckpointError(f"{path}: 'threshold' must be a number in [0, 1], found {threshold!r}")
    digest = state.entries.get("calibration")
    if digest is not None and not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
        raise CheckpointError(f"{path}: 'calibration' must be the SHA-256 of its calibration set, found {digest!r}")
    calibration = None if digest is None else CalibrationSet(calibration_path(Path(path)), digest)
    return Checkpoint(model.eval(), preprocessing, sha256_of(Path(path)), Path(path), labels, threshold, calibration)


def load_plain(path: str | Path, heads: int | None = None) -> tuple[PlainViT, Preprocessing]:
    """The plain single-stage ViT that sacvit-train --plain writes, or DeiT's: the baseline of benchmarks."""
    state = read_state_dict(Path(path))
    drop_distillation(state)
    config = read_config(state, {"heads": heads}, tables=("pos_embed",))
    preprocessing = read_preprocessing(state, config)
    model = PlainViT(config, preprocessing.mean, preprocessing.std)
    fill(model, state)
    return model.eval(), preprocessing


def start_from(model: VisionTransformer, path: str | Path) -> list[str]:
    """Fills a network with what a checkpoint offers, as the start of training; returns the names left untouched.

    A plain DeiT or timm ViT gives its blocks; its position table is resampled to the grids of `model`. Tensors of other
    shapes (a head for other classes) stay as they were initialised. Raises CheckpointError when no block fits.
    """
    state = read_state_dict(Path(path))
    drop_distillation(state)
    offered = dict(state.tensors)
    wanted = model.state_dict()
    for key in wanted:
        source = "pos_embed" if "pos_embed" in state.tensors else key
        if key.startswith("pos_embed") and source in state.tensors:
            offered[key] = resample_positions(state.path, source, state.tensors[source], wanted[key].shape[1])
    fitting = {key: value for key, value in offered.items() if key in wanted and value.shape == wanted[key].shape}
    if not any(key.startswith("blocks.") and value.ndim == 2 for key, value in fitting.items()):
        raise CheckpointError(f"{path} has no block of width {model.config.width}: it cannot start this model")
    model.load_state_dict(fitting, strict=False)
    return [key for key in wanted if key not in fitting]


def save_checkpoint(path: Path, model: VisionTransformer, preprocessing: Preprocessing, **entries: Any) -> None:
    """Writes weights, config and preprocessing so that `load_checkpoint` reads them back; whole or not at all."""
    content = {
        "model": model.state_dict(),
        "config": model.config.to_dict(),
        "preprocessing": preprocessing.to_dict(),
        **entries,
    }
    write_pth(path, content)


def write_pth(path: Path, content: dict[str, Any]) -> None:
    """Writes a .pth whole or not at all: on a full disk the file before stays. Raises SacvitError with the reason."""
    buffer = io.BytesIO()  # torch turns a failed write into a remark on positions in its archive
    torch.save(content, buffer)
    try:
        with written_whole(path) as partial:
            partial.write_bytes(buffer.getbuffer())
            with partial.open("rb") as file:
                os.fsync(file.fileno())  # before it takes its name: a power cut would leave an empty file
    except OSError as reason:
        kept = "; the file before is kept" if path.exists() else ""
        raise SacvitError(f"{path} cannot be written: {reason.strerror or reason}{kept}") from None


def read_state_dict(path: Path) -> StateDict:
    """The tensors of a .pth file, read without running any of it. Raises CheckpointError."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; expected the .pth file of a trained model")
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; expected the .pth file of a trained model")
    size = path.stat().st_size
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(entry.file_size for entry in archive.infolist()))
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError) as reason:
        raise CheckpointError(f"{path} is damaged: {reason}. Copy it again") from None
    if size > MAX_CHECKPOINT_BYTES:
        raise CheckpointError(f"{path} holds {size >> 20} MiB; the limit is {MAX_CHECKPOINT_BYTES >> 20} MiB")
    try:
        with torch.serialization.safe_globals(HARMLESS_TYPES), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on foreign pickles: our own message follows
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as reason:
        raise CheckpointError(explain_refusal(path, str(reason))) from None
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, OSError, IndexError) as reason:
        first = (str(reason) or type(reason).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint, or was cut short ({size} bytes): {first}. Copy it again"
        ) from None
    return tidy(path, content)


def explain_refusal(path: Path, reason: str) -> str:
    """Our words for torch's: its own advise to load the file without protection."""
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if named:
        return (
            f"{path} refused: it asks to run {named[1]} while loading, which weights never need. Nothing was run."
            f" Have its author save the state dict alone: torch.save({{'model': model.state_dict()}}, ...)"
        )
    detail = reason.partition("WeightsUnpickler error:")[2].strip().split("\n")[0]
    return (
        f"{path} refused: it is no PyTorch checkpoint, is damaged, or holds more than weights"
        f"{f' ({detail})' if detail else ''}. Nothing was run"
    )


def tidy(path: Path, content: Any) -> StateDict:
    """The state dict inside what torch.load gave: under 'model' or 'state_dict', or bare; floats as FP32."""
    entries: dict[str, Any] = {}
    if isinstance(content, dict):
        for wrapper in ("model", "state_dict"):
            if isinstance(content.get(wrapper), dict):
                entries = {key: value for key, value in content.items() if key != wrapper}
                content = content[wrapper]
                break
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a dict of tensors, found {type(content).__name__}")
    tensors = {
        str(key).removeprefix("module."): value.detach()  # DistributedDataParallel's prefix
        for key, value in content.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        found = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise CheckpointError(f"{path} holds no tensors. Expected a state dict, under 'model' or bare; found {found}")
    for key, value in tensors.items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.dtype not in WEIGHT_TYPES:
            found = f"{value.layout} {value.dtype} on {value.device}"
            raise CheckpointError(f"{path}: {key} must be a dense floating-point tensor, found {found}")
    # A stored number can announce itself as a tensor of any size; what counts is what it would unfold to.
    unfolded = sum(4 * value.numel() for value in tensors.values())
    if unfolded > MAX_CHECKPOINT_BYTES:
        raise CheckpointError(f"{path} unfolds to {unfolded >> 20} MiB; the limit is {MAX_CHECKPOINT_BYTES >> 20} MiB")
    for key, value in tensors.items():
        tensors[key] = value.float()
        if not torch.isfinite(tensors[key]).all():
            raise CheckpointError(f"{path}: {key} holds NaN or infinity; training diverged, or the file is damaged")
    return StateDict(path, tensors, entries)


def drop_distillation(state: StateDict) -> None:
    """Removes the second token and head of a distilled DeiT, which this family has no use for."""
    if "dist_token" in state.tensors and "pos_embed" in state.tensors:
        state.shape("pos_embed", 3)
        table = state.tensors["pos_embed"]
        state.tensors["pos_embed"] = torch.cat([table[:, :1], table[:, 2:]], 1)
        for key in ("dist_token", "head_dist.weight", "head_dist.bias"):
            state.tensors.pop(key, None)


def read_config(
    state: StateDict, overrides: dict[str, Any], tables: tuple[str, ...] = ("pos_embed_list.0", "pos_embed_list.1")
) -> ModelConfig:
    """Geometry off the shapes, switches off the overrides, the `config` entry and the defaults, in this order."""
    width, channels, patch, patch_across = state.shape("patch_embed.proj.weight", 4)
    if channels != 3 or patch != patch_across:
        raise CheckpointError(
            f"{state.path}: patch_embed.proj.weight must be (D, 3, P, P), found {(width, channels, patch, patch_across)}"
        )
    numbers = (re.match(r"blocks\.(\d{1,4})\.", key) for key in state.tensors)
    depth = 1 + max((int(number[1]) for number in numbers if number), default=-1)
    hidden = state.shape("blocks.0.mlp.fc1.weight", 2)[0]
    classes = state.shape("head.weight", 2)[0]
    fine = state.shape(tables[-1], 3)[1] - 1
    fine_grid = round(fine**0.5)
    if fine_grid * fine_grid != fine or fine_grid % 2:
        raise CheckpointError(
            f"{state.path}: {tables[-1]} has {fine} patch positions; expected an even square such as 196 (14 x 14)"
        )
    if len(tables) == 2 and state.shape(tables[0], 3)[1] - 1 != fine // 4:
        raise CheckpointError(
            f"{state.path}: {tables[0]} has {state.shape(tables[0], 3)[1] - 1} patch positions; expected {fine // 4}, a"
            f" quarter of the {fine} in {tables[1]}"
        )
    written = state.entries.get("config")
    written = {} if written is None else written
    if not isinstance(written, dict):
        raise CheckpointError(f"{state.path}: 'config' must be a dict, found {type(written).__name__}")
    chosen = {key: written[key] for key in SWITCHES if key in written}
    given = {key: value for key, value in overrides.items() if value is not None}
    for key in given:
        if key not in SWITCHES:
            raise ConfigError(f"no model option {key!r}{nearest(key, SWITCHES)}; there are {', '.join(SWITCHES)}")
    if given.get("selection") == "topk" and "window" not in given:
        chosen.pop("window", None)  # the file's window belongs to the file's selection
    chosen |= given
    if "heads" not in chosen:
        if width % HEAD_WIDTH:
            raise ConfigError(
                f"{state.path} does not say its number of heads, and its width {width} is no multiple of {HEAD_WIDTH}"
                f" (DeiT's width per head). Give --heads"
            )
        chosen["heads"] = width // HEAD_WIDTH
    sizes: dict[str, Any] = {"width": width, "depth": depth, "hidden": hidden, "classes": classes}
    try:
        geometry = ModelConfig(image_size=fine_grid * patch, patch_size=patch, **sizes, **chosen)
    except ConfigError as fault:
        kind = ConfigError if given else CheckpointError  # whose fault it is: an option's, or the file's
        raise kind(f"{state.path}: {fault}") from None
    for key, value in written.items():
        if key not in ModelConfig.__dataclass_fields__:
            raise CheckpointError(
                f"{state.path}: 'config' has an unknown entry {key!r}{nearest(key, ModelConfig.__dataclass_fields__)}"
            )
        if key not in SWITCHES and (type(value) is not int or value != getattr(geometry, key)):
            raise CheckpointError(
                f"{state.path}: 'config' says {key} {value!r}, but the tensors have {getattr(geometry, key)!r}"
            )
    return geometry


def read_preprocessing(state: StateDict, config: ModelConfig) -> Preprocessing:
    written = state.entries.get("preprocessing")
    if written is None:
        return Preprocessing(config.image_size)
    size = written.get("image_size") if isinstance(written, dict) else None
    if not isinstance(written, dict) or type(size) is not int or size != config.image_size:
        raise CheckpointError(f"{state.path}: 'preprocessing' must be a dict for images of {config.image_size} pixels")
    return Preprocessing.from_dict(written)


def fill(model: VisionTransformer, state: StateDict) -> None:
    """Loads the tensors, every one and no other. Raises CheckpointError that names what is wrong."""
    wanted = model.state_dict()
    for key, value in wanted.items():
        found = state.shape(key, value.ndim)
        if found != tuple(value.shape):
            raise CheckpointError(f"{state.path}: {key} must have shape {tuple(value.shape)}, found {found}")
    extra = [key for key in state.tensors if key not in wanted]
    if extra:
        raise CheckpointError(
            f"{state.path} has {len(extra)} tensors that this family does not know, first {extra[0]!r}"
            f"{nearest(extra[0], wanted)}; exporting without them would be another model"
        )
    model.load_state_dict(state.tensors)


def resample_positions(path: Path, key: str, table: Tensor, count: int) -> Tensor:
    """A position table (1, 1+n*n, D) for `count` = 1+m*m places: bicubic, as DeiT does it; the class row stays."""
    places = table.shape[1] - 1 if table.ndim == 3 and len(table) == 1 else -1
    old, new = round(max(0, places) ** 0.5), round((count - 1) ** 0.5)
    if places < 1 or old * old != places:
        raise CheckpointError(f"{path}: {key} must be (1, 1 + n * n, D), found {tuple(table.shape)}")
    if old == new:
        return table
    grid = table[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (new, new), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).reshape(1, new * new, -1)], 1)
