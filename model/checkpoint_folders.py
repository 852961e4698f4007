"""Checkpoints that are more than one file: folders of Hugging Face and timm, weights in pieces with an index, config.json.

All of them are untrusted: an index may name only files that lie beside it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..bundle.errors import CheckpointError

MOST_JSON_BYTES = 16 << 20  # an index has a line per tensor, a config one per class
INDEX = re.compile(r".+\.(?:safetensors|bin)\.index\.json")
# Files that a folder may hold, in the order of preference.
NAMES = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")
CONFIG_NAME, PROCESSOR_NAME = "config.json", "preprocessor_config.json"
# Folders of other programs: a file or pattern that identifies them, what it is, what to do.
FOREIGN: tuple[tuple[str, str, str], ...] = (
    ("zero_to_fp32.py", "a checkpoint of DeepSpeed", "Join its files: cd FOLDER && python zero_to_fp32.py . OUT"),
    (
        "*.distcp",
        "a distributed checkpoint of torch",
        "Join its files: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER model.pth",
    ),
    ("saved_model.pb", "a SavedModel of TensorFlow", "Give a PyTorch checkpoint or a .safetensors file"),
)


def files_of(path: Path) -> list[Path]:
    """The files of a checkpoint: the path itself, or what a folder or an index names, the index first.

    Raises CheckpointError for a folder without weights, and for an index that names what is not there.
    """
    if path.is_dir():
        found = next((path / name for name in NAMES if (path / name).is_file()), None)
        if found is None:
            raise CheckpointError(f"{path} is {_describe(path)}")
        path = found
    if not INDEX.fullmatch(path.name) or not path.is_file():
        return [path]
    pieces = sorted(set(_weight_map(path).values()))
    for name in pieces:
        if Path(name).name != name or name.startswith("."):
            raise CheckpointError(f"{path} names {name[:80]!r}; the pieces of a checkpoint lie beside its index")
    if missing := [name for name in pieces if not (path.parent / name).is_file()]:
        raise CheckpointError(
            f"{path} names {len(pieces)} files, of which {len(missing)} are missing, first {missing[0]}. Copy or download"
            f" all of them into its folder"
        )
    return [path, *(path.parent / name for name in pieces)]


def require_whole(index: Path, found: set[str]) -> None:
    """Raises CheckpointError unless the pieces of a checkpoint hold the tensors that its index names."""
    if differing := set(_weight_map(index)) ^ found:
        raise CheckpointError(
            f"{index} and its files do not belong together: {len(differing)} tensors are in only one of them, first"
            f" {min(differing)!r}. Copy or download all of them again"
        )


def read_config_json(weights: Path) -> dict[str, Any]:
    """The values of config.json beside the weights that shapes do not give: the heads, under `config`, the names of the
    classes, and the mean and deviation of the pixels.

    Empty for weights that do not have Hugging Face's name. Raises CheckpointError for a network of another function.
    """
    path = weights.parent / CONFIG_NAME
    if weights.name not in NAMES or not path.is_file():
        return {}
    written = _read_object(path)
    activation = written.get("hidden_act", "gelu")
    if activation != "gelu":
        raise CheckpointError(
            f"{path}: hidden_act is {activation!r}; expected 'gelu', which is what this network computes"
        )
    entries: dict[str, Any] = {}
    heads = written.get("num_attention_heads")
    if type(heads) is int:
        entries["config"] = {"heads": heads}
    names = written.get("id2label", written.get("label_names"))
    if isinstance(names, dict) and set(names) == {str(number) for number in range(len(names))}:
        names = [names[str(number)] for number in range(len(names))]
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        unnamed = [f"LABEL_{number}" for number in range(len(names))]  # transformers' default names
        entries |= {"labels": names} if names != unnamed else {}
    rule = _read_normalisation(written, weights.parent / PROCESSOR_NAME)
    return entries | ({"preprocessing": rule} if rule else {})


def _read_normalisation(config: dict[str, Any], processor: Path) -> dict[str, Any] | None:
    """The size, mean and deviation that Hugging Face or timm stored; None where one of them is missing."""
    timm = config.get("pretrained_cfg")
    if isinstance(timm, dict):
        size = timm.get("input_size")
        found = (size[-1] if isinstance(size, list) and size else None), timm.get("mean"), timm.get("std")
    elif processor.is_file():
        stored = _read_object(processor)
        found = config.get("image_size"), stored.get("image_mean"), stored.get("image_std")
    else:
        return None
    size, mean, std = found
    is_rule = type(size) is int and all(
        isinstance(three, list) and len(three) == 3 and all(type(one) in (int, float) for one in three)
        for three in (mean, std)
    )
    return {"image_size": size, "mean": mean, "std": std} if is_rule else None


def _weight_map(index: Path) -> dict[str, str]:
    names = _read_object(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(f"{index} is no index of a checkpoint: it has no weight_map from tensors to files")
    return names


def _read_object(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_JSON_BYTES + 1)
        if len(content) > MOST_JSON_BYTES:
            raise CheckpointError(f"{path} has more than {MOST_JSON_BYTES >> 20} MiB, which is no configuration")
        found = json.loads(content)
    except (OSError, ValueError, RecursionError) as reason:
        raise CheckpointError(f"{path} is not readable as JSON: {reason}. Copy or download it again") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} must hold an object, found {type(found).__name__}")
    return found


def _describe(folder: Path) -> str:
    """Describes a folder without weights, as the end of a sentence that begins with its name."""
    for pattern, kind, cure in FOREIGN:
        if next(folder.glob(pattern), None) is not None:
            return f"{kind}, not a file of weights. {cure.replace('FOLDER', str(folder))}"
    return f"a folder; expected the .pth or .safetensors file of a trained model, or a folder with {' or '.join(NAMES[1::2])}"
