"""Finds the weights in files of training scripts: wrappers, averages of weights, prefixes of wrapped modules."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..bundle.errors import CheckpointError, ConfigError, nearest
from .config import Weights
from .pickled_values import Array, Foreign

logger = logging.getLogger(__name__)

# In DINO and similar methods, the teacher is the moving average of the student.
RAW = ("model", "state_dict", "model_state_dict", "net", "network", "module", "weights", "student")
EMA = (
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema",
    "ema_model",
    "average",
    "teacher",
)
EMA_PREFIX = re.compile(r"(?:model_ema|ema_model|ema|teacher)\.")
# Prefixes that torch, Lightning and DeepSpeed put around a module or a part of it: DistributedDataParallel, torch.compile,
# activation checkpoints, FSDP, Fabric.
WRAPPER = re.compile(
    r"(?:(?<=\.)|^)(?:module|_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module|_forward_module)\."
)
PREFIX = re.compile(
    r"^(?:model\.|student\.|backbone\.|net\.|network\.|vit\.|deit\.)+"
)  # scripts, detectors, Hugging Face
MOST_LEVELS = 4  # of wrappers inside wrappers


@dataclass
class StateDict:
    """Tensors of a checkpoint by DeiT's names, and the entries beside them."""

    path: Path
    tensors: dict[str, Tensor]
    entries: dict[str, Any] = field(default_factory=dict)

    def shape(self, key: str, dims: int) -> tuple[int, ...]:
        """The shape of a required tensor. Raises CheckpointError with the nearest name when it is missing."""
        if key not in self.tensors:
            raise CheckpointError(
                f"{self.path} has no tensor {key!r}{nearest(key, self.tensors)}. Expected the state dict of SAC-ViT,"
                f" CF-ViT or LF-ViT, under 'model' or bare; found {len(self.tensors)} tensors"
            )
        found = tuple(self.tensors[key].shape)
        if len(found) != dims:
            raise CheckpointError(f"{self.path}: {key} must have {dims} dimensions, found shape {found}")
        return found


def find_weights(path: Path, content: Any, weights: Weights | None = None) -> StateDict:
    """The tensors of one of the state dicts in a file, without prefixes, and all entries beside it.

    weights: which ones to take where a file has both; None takes the raw ones and logs that there are others.
    Raises CheckpointError where there are no tensors, or not the wanted ones.
    """
    if weights not in (None, "raw", "ema"):
        raise ConfigError(f"--weights must be raw or ema, found {weights!r}")
    if isinstance(content, Foreign):
        content = {"model": content}
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a dict of tensors, found {type(content).__name__}")
    raw, ema = (find_wrapper(content, names) for names in (RAW, EMA))
    if raw is None and ema is None:
        raw = "", content
    tensors, average = ({} if one is None else strip(WRAPPER, path, tensors_of(one[1])) for one in (raw, ema))
    inside = {key: start.end() for key in tensors if (start := EMA_PREFIX.match(key))}
    if inside and not average:
        average = {key[end:]: tensors[key] for key, end in inside.items()}
        tensors = {key: value for key, value in tensors.items() if key not in inside}
    if not tensors and not average:
        objects = [value.name for value in content.values() if isinstance(value, Foreign)]
        found = ", ".join(map(repr, list(content)[:5])) or "nothing"
        found += f", with an object of {objects[0]}" if objects else ""
        raise CheckpointError(f"{path} holds no tensors. Expected a state dict, under 'model' or bare; found {found}")
    choice: Weights = weights or ("raw" if tensors else "ema")
    taken = tensors if choice == "raw" else average
    if not taken:
        kind, other = ("raw weights", "--weights ema") if choice == "raw" else ("EMA weights", "--weights raw")
        raise CheckpointError(f"{path} holds no {kind}, which --weights {choice} asks for. Give {other}")
    if weights is None and tensors and average:
        logger.warning(
            "%s holds raw weights and their exponential moving average (EMA). The raw weights are used. Give --weights"
            " raw or --weights ema to choose.",
            path,
        )
    elif weights is None and average:
        logger.info("%s holds only the moving average (EMA) of the weights, which is used.", path)
    wrapper = (raw if choice == "raw" else ema) or raw or ("", content)
    entries = {str(key): value for key, value in content.items() if wrapper[0] and key != wrapper[0]}
    return StateDict(path, strip(PREFIX, path, taken), entries)


def find_wrapper(content: dict[Any, Any], names: tuple[str, ...]) -> tuple[str, dict[Any, Any]] | None:
    """The first of the entries `names` that holds tensors, itself or in inner wrappers, and the dict with them."""
    for name in names:
        inner = content.get(name)
        for _ in range(MOST_LEVELS):
            if isinstance(inner, Foreign):  # a whole network, as torch.save(model) pickles it
                inner = inner.tensors()
            if not isinstance(inner, dict):
                break
            if tensors_of(inner):
                return name, inner
            inner = next((inner[key] for key in RAW if isinstance(inner.get(key), dict)), None)
    return None


def tensors_of(content: dict[Any, Any]) -> dict[str, Tensor]:
    """The entries that are tensors or arrays of numbers."""
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    arrays = ((str(key), value.tensor()) for key, value in content.items() if isinstance(value, Array))
    return tensors | {key: value for key, value in arrays if value is not None}


def strip(part: re.Pattern[str], path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without a part of their names. Raises CheckpointError where two get the same name."""
    named: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for key, value in tensors.items():
        name = part.sub("", key)
        if name in named:
            raise CheckpointError(
                f"{path}: {key!r} and {origins[name]!r} are both {name!r} without their prefixes. Save the state dict of"
                f" one network alone"
            )
        named[name], origins[name] = value.detach(), key
    return named
