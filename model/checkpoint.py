"""Networks from checkpoints: as they were trained, or as the start of another training."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bundle.errors import CheckpointError, ConfigError, nearest
from ..bundle.files import sha256_of_all
from ..bundle.preprocess import Preprocessing
from .checkpoint_entries import (
    CalibrationSet,
    is_plain,
    read_calibration,
    read_config,
    read_labels,
    read_preprocessing,
    read_threshold,
    written_config,
)
from .checkpoint_folders import files_of
from .checkpoint_layouts import StateDict
from .config import ModelConfig, Weights
from .dense import NETWORKS
from .network import PlainViT, TwoStageViT, VisionTransformer
from .read_checkpoint import read_state_dict

logger = logging.getLogger(__name__)

TABLES = (
    "pos_embed",
    "pos_embed_list.1",
    "pos_embed_list.0",
)  # names of position tables, after the table's own
HEADS = ("head.", "coarse_head.")
MAY_BE_NEW = (*HEADS, "reuse_block.")  # new for other classes, another task, or a second stage
CURE = "Give the --preset and --image-size that the checkpoint has"


@dataclass
class Checkpoint:
    """A loaded two-stage network, in evaluation mode and FP32, with what belongs to it."""

    model: TwoStageViT
    preprocessing: Preprocessing
    sha256: str  # of the file, or of all its pieces
    path: Path  # of the file, or of the index of its pieces
    labels: list[str] | None = None
    threshold: float | None = None  # eta that was fitted at training, if any
    calibration: CalibrationSet | None = None  # the images to calibrate on, if training stored some
    bytes: int = 0  # of the file and its pieces

    @property
    def config(self) -> ModelConfig:
        return self.model.config


def load_checkpoint(path: str | Path, *, weights: Weights | None = None, **overrides: Any) -> Checkpoint:
    """A two-stage network from a SAC-ViT, CF-ViT or LF-ViT checkpoint.

    weights: "raw" or "ema", for a file that has both; None takes the raw ones and logs a warning where there are others.
    overrides: any of SWITCHES in model/config.py; None means "as the file says".
    Raises CheckpointError for a file that cannot be used, ConfigError for switches that contradict each other.
    """
    path = Path(path)
    files = files_of(path)
    state = read_state_dict(path, weights)
    if is_plain(state):
        raise CheckpointError(
            f"{path} is a plain single-stage ViT (it has pos_embed, and no reuse_block): it has no second stage to"
            f" export. Train one from it first: sacvit-train --start {path} --data DIR"
        )
    config = read_config(state, overrides)
    preprocessing = read_preprocessing(state, config)
    model = filled(NETWORKS[config.task].two_stage, config, preprocessing, state)
    return Checkpoint(
        model=model,
        preprocessing=preprocessing,
        sha256=sha256_of_all(files),
        path=files[0],
        labels=read_labels(state, config.classes),
        threshold=read_threshold(state),
        calibration=read_calibration(state),
        bytes=sum(file.stat().st_size for file in files),
    )


def load_plain(path: str | Path, heads: int | None = None) -> tuple[PlainViT, Preprocessing]:
    """The plain single-stage ViT that sacvit-train --plain writes, or DeiT's: the baseline of benchmarks."""
    state = read_state_dict(Path(path))
    config = read_config(state, {"heads": heads})
    preprocessing = read_preprocessing(state, config)
    return filled(NETWORKS[config.task].plain, config, preprocessing, state), preprocessing


Network = TypeVar("Network", bound=VisionTransformer)


def filled(network: type[Network], config: ModelConfig, preprocessing: Preprocessing, state: StateDict) -> Network:
    """A network with these tensors, in evaluation mode.

    First they are compared with one that has no memory: the config of a small forged file may ask for a hundred gigabytes.
    """
    with torch.device("meta"):
        require_tensors(network(config).state_dict(), state)
    model = network(config, preprocessing.mean, preprocessing.std)
    model.load_state_dict(state.tensors)
    return model.eval()


def fill(model: VisionTransformer, state: StateDict) -> None:
    """Loads exactly the network's tensors. Raises CheckpointError with the names of missing or additional ones."""
    require_tensors(model.state_dict(), state)
    model.load_state_dict(state.tensors)


def require_tensors(wanted: dict[str, Tensor], state: StateDict) -> None:
    """Raises CheckpointError for tensors that are missing, additional or of another shape."""
    for key, value in wanted.items():
        found = state.shape(key, value.ndim)
        if found != tuple(value.shape):
            raise CheckpointError(f"{state.path}: {key} must have shape {tuple(value.shape)}, found {found}")
    extra = [key for key in state.tensors if key not in wanted]
    if extra:
        raise CheckpointError(
            f"{state.path} has {len(extra)} tensors that this family does not know, first {extra[0]!r}"
            f"{nearest(extra[0], wanted)}; without them it would be another network"
        )


@dataclass(frozen=True)
class Start:
    """Names of tensors that the checkpoint lacks, and of those that were not used."""

    initialised: list[str]
    unused: list[str]


def start_from(model: VisionTransformer, path: str | Path, weights: Weights | None = None) -> Start:
    """Fills a network with what a checkpoint offers; the rest stays as it was initialised.

    A plain DeiT or timm ViT gives everything but the reuse block; position tables are resampled to the grids of `model`. A
    network of another mean and deviation, as Google's ViT, is changed to take the pixels of `model`.
    A head for other classes is made anew. Raises CheckpointError where anything else does not fit: with missing or random
    blocks, the network would not be the trained one.
    """
    state = read_state_dict(Path(path), weights)
    heads = (written_config(state) or {}).get("heads", model.config.heads)
    if heads != model.config.heads:
        raise CheckpointError(f"{path} has {heads!r} attention heads, this model {model.config.heads}. {CURE}")
    renormalise(state, model)
    wanted, offered, used = model.state_dict(), dict[str, Tensor](), set[str]()
    for key, value in wanted.items():
        source = key
        if key.startswith("pos_embed"):
            source = next((name for name in (key, *TABLES) if name in state.tensors), key)
        if source not in state.tensors and key.startswith(MAY_BE_NEW):
            continue
        state.shape(source, value.ndim)
        found = state.tensors[source]
        if key.startswith("pos_embed"):
            found = resample_positions(state.path, source, found, value.shape[1])
        if found.shape != value.shape:
            if key.startswith(HEADS):
                continue
            shapes = f"must have shape {tuple(value.shape)}, found {tuple(found.shape)}"
            raise CheckpointError(f"{path} cannot start this model: {key} {shapes}. {CURE}")
        offered[key] = found
        used.add(source)
    unused = [key for key in state.tensors if key not in used]
    for key in unused:
        if not key.startswith((*MAY_BE_NEW, "pos_embed")):
            raise CheckpointError(
                f"{path} cannot start this model: {key!r} is unknown to it{nearest(key, wanted)}, and without it the"
                f" network would be another one. {CURE}"
            )
    model.load_state_dict(offered, strict=False)
    return Start([key for key in wanted if key not in offered], unused)


def renormalise(state: StateDict, model: VisionTransformer) -> None:
    """Folds the difference between the file's mean and deviation and the model's into the patch embedding.

    w (x - m) / s + b = w (t / s) (x - n) / t + b + w (n - m) / s, summed over the pixels of a patch.
    """
    written = state.entries.get("preprocessing")
    names = ("patch_embed.proj.weight", "patch_embed.proj.bias")
    if not isinstance(written, dict) or not all(name in state.tensors for name in names):
        return
    try:
        rule = Preprocessing.from_dict(written)
    except ConfigError:  # of another program
        return
    mean, std = (torch.tensor(three).view(1, 3, 1, 1) for three in (rule.mean, rule.std))
    weight, bias = (state.tensors[name] for name in names)
    if weight.ndim != 4 or weight.shape[1] != 3 or (torch.equal(mean, model.mean) and torch.equal(std, model.std)):
        return
    state.tensors[names[0]] = weight * model.std / std
    state.tensors[names[1]] = bias + (weight * (model.mean - mean) / std).sum((1, 2, 3))
    logger.info("%s: its mean and deviation are folded into the patch embedding, for those of this run.", state.path)


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
