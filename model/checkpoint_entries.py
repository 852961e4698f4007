"""Reads the entries beside the weights: geometry and switches, preprocessing, labels, threshold, calibration set.

Geometry is read from the tensors' shapes; the rest comes from the caller's overrides, then from the file's
`config` entry, then from defaults. Entries of other programs under our names (a hydra `config`, numbers as `labels`) are
reported and ignored; in a file of sacvit, they are refused as damage.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle.errors import CheckpointError, ConfigError, nearest
from ..bundle.files import sha256_of
from ..bundle.preprocess import Preprocessing
from .checkpoint_layouts import StateDict
from .config import ENTRIES, HEAD_WIDTH, MAX_LEVELS, SWITCHES, ModelConfig

logger = logging.getLogger(__name__)
TWO_TABLES = ("pos_embed_list.0", "pos_embed_list.1")  # coarse, fine
ONE_TABLE = "pos_embed"  # also a plain ViT's


@dataclass(frozen=True)
class CalibrationSet:
    """The sample of training images that sacvit-train wrote beside a checkpoint: see `training/calibration_set.py`."""

    path: Path  # its place beside the checkpoint
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
    """The path for the calibration set of a checkpoint."""
    return checkpoint.with_suffix(".calib.tar")


def written_config(state: StateDict) -> dict[str, Any] | None:
    """The `config` in sacvit's form; None where the file has none, or that of another program.

    It is sacvit's if most of its keys are known, so that a misspelt key is reported and not ignored.
    """
    written = state.entries.get("config")
    if not isinstance(written, dict):
        return None
    ours = [key for key in written if key in ModelConfig.__dataclass_fields__]
    return written if 2 * len(ours) >= len(written) else None


def has_one_table(state: StateDict) -> bool:
    return ONE_TABLE in state.tensors and not any(name in state.tensors for name in TWO_TABLES)


def is_plain(state: StateDict) -> bool:
    """Whether these are the tensors of a plain ViT, which has one table and nothing that reuses EE's features."""
    return has_one_table(state) and not any(name.startswith("reuse_block.") for name in state.tensors)


def read_config(state: StateDict, overrides: dict[str, Any]) -> ModelConfig:
    """The geometry from the shapes; the switches from the overrides, the `config` entry and the defaults, in this order."""
    sizes = read_sizes(state)
    written = written_config(state)
    if written is None and state.entries.get("config") is not None:
        logger.info("%s: the entry 'config' is not in sacvit's form and is not used.", state.path)
    written = written or {}
    free = (*ENTRIES, "positions") if is_plain(state) else ENTRIES  # a plain ViT's table is that of no stage
    chosen: dict[str, Any] = {"task": "dense"} if "coarse_head.weight" in state.tensors else {}
    chosen |= {key: written[key] for key in free if key in written}
    given = {key: value for key, value in overrides.items() if value is not None}
    for key in given:
        if key not in SWITCHES:
            raise ConfigError(f"no model option {key!r}{nearest(key, SWITCHES)}; there are {', '.join(SWITCHES)}")
    if given.get("selection") not in (None, "window") and "window" not in given:
        chosen.pop("window", None)  # the file's window belongs to the file's selection
    if given.get("attention") == "global" and "class_cluster" not in given:
        chosen.pop("class_cluster", None)  # and its class token to its clusters
    chosen |= given
    if "heads" not in chosen:
        if sizes["levels"]:
            raise ConfigError(
                f"{state.path} does not say its number of heads, and that of a hierarchical network follows from no rule. Give"
                f" --heads, of the last level"
            )
        if sizes["width"] % HEAD_WIDTH:
            raise ConfigError(
                f"{state.path} does not say its number of heads, and its width {sizes['width']} is no multiple of"
                f" {HEAD_WIDTH} (DeiT's width per head). Give --heads"
            )
        chosen["heads"] = sizes["width"] // HEAD_WIDTH
    try:
        geometry = ModelConfig(**sizes, **chosen)
    except ConfigError as fault:
        kind = ConfigError if given else CheckpointError  # an option's fault, or the file's
        raise kind(f"{state.path}: {fault}") from None
    of_tensors = geometry.to_dict()
    for key, value in written.items():
        if key not in ModelConfig.__dataclass_fields__:
            raise CheckpointError(
                f"{state.path}: 'config' has an unknown entry {key!r}{nearest(key, ModelConfig.__dataclass_fields__)}"
            )
        found = of_tensors[key]
        said = list(value) if isinstance(value, tuple) else value
        if key not in free and repr(said) != repr(found):  # True is not 1
            raise CheckpointError(f"{state.path}: 'config' says {key} {value!r}, but the tensors have {found!r}")
    return geometry


def read_sizes(state: StateDict) -> dict[str, Any]:
    """The sizes in tensors' shapes and, of a network with two stages, the number of its position tables."""
    tables = (ONE_TABLE,) if has_one_table(state) else TWO_TABLES
    first_width, channels, first_patch, across = state.shape("patch_embed.proj.weight", 4)
    if channels != 3 or first_patch != across:
        raise CheckpointError(
            f"{state.path}: patch_embed.proj.weight must be (D, 3, P, P), found {(first_width, channels, first_patch, across)}"
        )
    levels = read_levels(state)
    patch = first_patch << len(levels)
    fine = state.shape(tables[-1], 3)[1] - 1
    fine_grid = round(max(fine, 0) ** 0.5)
    if fine_grid * fine_grid != fine or fine_grid % 2:
        raise CheckpointError(
            f"{state.path}: {tables[-1]} has {fine} patch positions; expected an even square such as 196 (14 x 14)"
        )
    if len(tables) == 2 and state.shape(tables[0], 3)[1] - 1 != fine // 4:
        raise CheckpointError(
            f"{state.path}: {tables[0]} has {state.shape(tables[0], 3)[1] - 1} patch positions; expected {fine // 4}, a"
            f" quarter of the {fine} in {tables[1]}"
        )
    sizes = {
        "image_size": fine_grid * patch,
        "patch_size": patch,
        "width": first_width << len(levels),
        "depth": count_of(state, r"blocks\.(\d{1,4})\."),
        "levels": levels,
        "hidden": state.shape("blocks.0.mlp.fc1.weight", 2)[0],
        "classes": state.shape("head.weight", 2)[0],
    }
    return sizes if is_plain(state) else sizes | {"positions": "two" if tables == TWO_TABLES else "one"}


def read_levels(state: StateDict) -> tuple[int, ...]:
    """The number of blocks in each level of a hierarchical network; () of a ViT."""
    count = min(count_of(state, r"patch_embed\.levels\.(\d{1,4})\."), MAX_LEVELS + 1)  # the config refuses more
    return tuple(count_of(state, rf"patch_embed\.levels\.{level}\.blocks\.(\d{{1,4}})\.") for level in range(count))


def count_of(state: StateDict, numbered: str) -> int:
    """One more than the largest number in the names that begin so; 0 where there is none."""
    found = (re.match(numbered, key) for key in state.tensors)
    return 1 + max((int(number[1]) for number in found if number), default=-1)


def read_preprocessing(state: StateDict, config: ModelConfig) -> Preprocessing:
    """The rule that is stored with the weights, else ImageNet's."""

    def fits(written: Any) -> bool:
        size = written.get("image_size") if isinstance(written, dict) else None
        return type(size) is int and size == config.image_size

    wanted = f"a dict for images of {config.image_size} pixels"
    written = own_entry(state, "preprocessing", fits, wanted)
    return Preprocessing(config.image_size) if written is None else Preprocessing.from_dict(written)


def read_labels(state: StateDict, classes: int) -> list[str] | None:
    """The names of the classes, where the file has them."""

    def fits(labels: Any) -> bool:
        return isinstance(labels, list) and len(labels) == classes and all(isinstance(name, str) for name in labels)

    labels: list[str] | None = own_entry(state, "labels", fits, f"a list of {classes} names")
    return labels


def read_threshold(state: StateDict) -> float | None:
    """The gate's eta that training fitted."""

    def fits(threshold: Any) -> bool:
        return isinstance(threshold, int | float) and not isinstance(threshold, bool) and 0 <= threshold <= 1

    threshold: float | None = own_entry(state, "threshold", fits, "a number in [0, 1]")
    return threshold


def read_calibration(state: StateDict) -> CalibrationSet | None:
    """The calibration set that training left."""

    def fits(digest: Any) -> bool:
        return isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) is not None

    digest = own_entry(state, "calibration", fits, "the SHA-256 of the calibration set")
    return None if digest is None else CalibrationSet(calibration_path(state.path), digest)


def own_entry(state: StateDict, key: str, fits: Callable[[Any], bool], wanted: str) -> Any:
    """An entry that has the form `wanted`; None where there is none, or one of another program.

    Raises CheckpointError for another form in a file that sacvit wrote.
    """
    value = state.entries.get(key)
    if value is None or fits(value):
        return value
    found = repr(value)[:40] if isinstance(value, str | int | float) else type(value).__name__
    found += f" of {len(value)}" if isinstance(value, list) else ""
    if written_config(state) is not None:
        raise CheckpointError(f"{state.path}: {key!r} must be {wanted}, found {found}")
    logger.warning("%s: the entry %r is not used. It is not %s, but %s.", state.path, key, wanted, found)
    return None
