"""The geometry and the switches of a two-stage vision transformer, and the presets.

More than 250 lines: each size and switch stands beside its help, its checks and what follows from it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

from ..bundle.errors import ConfigError, nearest

Task = Literal["classify", "dense"]
Family = Literal["vit", "hierarchical"]
Selection = Literal["topk", "norm", "window", "uncertain"]
Attention = Literal["clustered", "global"]
Downsample = Literal["bilinear", "area"]
Positions = Literal["two", "one"]
Reuse = Literal["embeddings", "outputs"]
ClassCluster = Literal["global", "target", "both"]
Weights = Literal["raw", "ema"]  # of a checkpoint: as they were trained, or their exponential moving average
# What the names and shapes of a checkpoint's tensors do not say. `positions` is read from the names.
SWITCHES = ("heads", "selection", "alpha", "window", "attention", "downsample", "reuse", "class_cluster")
# Of a checkpoint's config. The weights are for one task, so that it is no option of an export.
ENTRIES = (*SWITCHES, "task")

CHOICES: dict[str, Any] = {
    "task": Task, "selection": Selection, "attention": Attention, "downsample": Downsample, "positions": Positions,
    "reuse": Reuse, "class_cluster": ClassCluster,
}  # fmt: skip
FAMILY_NAMES: dict[Family, str] = {"vit": "ViT", "hierarchical": "hierarchical network"}
FIRST_ATTENTION_BLOCK = 3  # of a ViT, class attention counts from this block on; CF-ViT's public code, `if i > 2`
ATTENTION_DECAY = 0.99  # beta; arXiv 2203.03821, section 3.2
HEAD_WIDTH = 64  # DeiT's width per head, for checkpoints that do not say
MAX_SIDE, MAX_WIDTH, MAX_DEPTH, MAX_CLASSES = 2048, 4096, 64, 100_000  # far above any ViT, against forged files
MAX_LEVELS = 4  # before the last one; Swin and Hiera have three
MAX_CHECKPOINT_BYTES = 4 << 30  # DeiT-B with optimizer state is 1.4 GB
MAX_GRID = 32  # coarse blocks along a side: 4 097 fine tokens, whose mask alone has 67 MB


class LevelShape(NamedTuple):
    """One level of window attention in a hierarchical network."""

    width: int
    heads: int
    hidden: int
    depth: int  # transformer blocks

    @property
    def head_width(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class ModelConfig:
    """The network's geometry and switches. Sizes are pixels and counts; `hidden` is the MLP's inner width.

    levels: of a hierarchical network, the transformer blocks in each level of window attention; () is a ViT. `width`, `depth`,
    `heads` and `hidden` are then those of the last level, whose tokens have `patch_size` pixels, as a ViT's. Each level before
    has tokens of half the side, half the width, half the heads and half the hidden width of the next one.

    Raises ConfigError when the sizes do not fit together.
    """

    image_size: int = 224
    patch_size: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    hidden: int = 1536
    classes: int = 1000
    levels: tuple[int, ...] = ()
    # The help is that of the options of sacvit-train.
    task: Task = field(
        default="classify",
        metadata={
            "help": "What the network answers. classify: one class per image; dense: one class per cell of the fine grid."
        },
    )
    selection: Selection = field(
        default="topk",
        metadata={
            "help": "How target blocks are selected. topk: the most attended, as SAC-ViT and CF-ViT; norm: those with the"
            " largest features; window: LF-ViT; uncertain: the blocks whose EE answers are least sure, with --task dense."
        },
    )
    alpha: float = field(default=0.5, metadata={"help": "Share of the blocks, or of the window, that become targets."})
    window: int | None = field(
        default=None, metadata={"help": "Side of the window in blocks, with --selection window."}
    )
    attention: Attention = field(
        default="clustered", metadata={"help": "What patches attend to. clustered: SAC-ViT; global: CF-ViT, LF-ViT."}
    )
    downsample: Downsample = field(
        default="bilinear",
        metadata={"help": "How the coarse image is made. bilinear: the public weights; area: cheap."},
    )
    positions: Positions = field(
        default="two",
        metadata={
            "help": "Position tables. two: one learned table for each grid; one: a fine table, whose 2 x 2 means are the"
            " coarse one."
        },
    )
    reuse: Reuse = field(
        default="embeddings",
        metadata={"help": "What SAC gets of a non-target block: EE's input embedding, or EE's normed output feature."},
    )
    class_cluster: ClassCluster = field(
        default="global",
        metadata={
            "help": "What SAC's class token attends to, with --attention clustered. global: all tokens in one softmax;"
            " target: the target cluster, so that non-targets do not reach it; both: each cluster in a softmax of its own,"
            " and the mean of the two."
        },
    )

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size", "width", "depth", "heads", "hidden", "classes"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} must be a positive whole number, found {value!r}")
        for name, limit in (
            ("image_size", MAX_SIDE), ("width", MAX_WIDTH), ("hidden", 8 * MAX_WIDTH), ("depth", MAX_DEPTH),
            ("classes", MAX_CLASSES),
        ):  # fmt: skip
            if getattr(self, name) > limit:
                raise ConfigError(f"{name} {getattr(self, name)} is beyond the limit of {limit}")
        self._require_levels()
        block = 2 * self.patch_size
        if self.image_size % block:
            raise ConfigError(
                f"windows of {block} x {block} pixels do not divide an image of {self.image_size} x {self.image_size}. Give an"
                f" --image-size that is a multiple of {block}"
                if self.levels
                else f"image size {self.image_size} is no multiple of two patches ({block}): the coarse and the fine grid would"
                f" not line up"
            )
        if self.grid > MAX_GRID:
            raise ConfigError(
                f"{self.grid} x {self.grid} coarse blocks are beyond the limit of {MAX_GRID} x {MAX_GRID}"
            )
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} does not divide into {self.heads} heads; give the right --heads")
        if self.depth < 2:
            raise ConfigError(
                f"depth {self.depth} is too small: of the last block the class token alone is computed, so there must be two"
            )
        if self.depth <= self.first_attention_block:
            raise ConfigError(
                f"depth {self.depth} is too small: class attention is gathered from block {self.first_attention_block} on"
            )
        for name, kind in CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} must be one of {', '.join(get_args(kind))}; found {getattr(self, name)!r}")
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, (int, float)) or not 0 < self.alpha <= 1:
            raise ConfigError(f"alpha must lie in (0, 1], found {self.alpha!r}")
        if self.selection == "uncertain" and self.task != "dense":
            raise ConfigError(
                "--selection uncertain needs --task dense: a classifier's EE stage has no answer for a block"
            )
        if self.selection == "window":
            if not isinstance(self.window, int) or isinstance(self.window, bool) or not 1 <= self.window <= self.grid:
                raise ConfigError(
                    f"selection window needs --window m with 1 <= m <= {self.grid} (the coarse grid), found {self.window}"
                )
        elif self.window is not None:
            raise ConfigError(f"--window goes with --selection window; with {self.selection} it would have no effect")
        if self.class_cluster != "global" and self.attention != "clustered":
            raise ConfigError(
                f"--class-cluster {self.class_cluster} goes with --attention clustered; with {self.attention} attention there"
                f" are no clusters"
            )
        if self.non_targets < 1:
            raise ConfigError(
                f"alpha {self.alpha} makes every one of the {self.blocks} blocks a target: no non-target token is left,"
                f" and a buffer cannot be empty. Give a smaller --alpha"
            )

    def _require_levels(self) -> None:
        """Also turns a list, as JSON has it, into a tuple."""
        found = self.levels
        if not isinstance(found, tuple | list) or not all(
            type(count) is int and 1 <= count <= MAX_DEPTH for count in found
        ):
            raise ConfigError(
                f"levels must be a list of numbers of transformer blocks from 1 to {MAX_DEPTH}, found {found!r}"
            )
        object.__setattr__(self, "levels", tuple(found))  # frozen
        if len(found) > MAX_LEVELS:
            raise ConfigError(f"{len(found)} levels are beyond the limit of {MAX_LEVELS}")
        parts = 1 << len(found)
        for name in ("patch_size", "width", "heads", "hidden"):
            if getattr(self, name) % parts:
                raise ConfigError(
                    f"{name} {getattr(self, name)} is no multiple of {parts}: {len(found)} levels halve it {len(found)} times"
                )

    @property
    def family(self) -> Family:
        return "hierarchical" if self.levels else "vit"

    @property
    def level_shapes(self) -> tuple[LevelShape, ...]:
        """The levels before the last one, from the smallest tokens on."""
        halvings = range(len(self.levels), 0, -1)
        return tuple(
            LevelShape(self.width >> n, self.heads >> n, self.hidden >> n, depth)
            for n, depth in zip(halvings, self.levels, strict=True)
        )

    @property
    def first_patch(self) -> int:
        """Side in pixels of the patches that the embedding projects; of a ViT, P."""
        return self.patch_size >> len(self.levels)

    @property
    def window_side(self) -> int:
        """Tokens along a side of SAC's window in the first level. EE's has half of it."""
        return 2 << len(self.levels)

    @property
    def first_attention_block(self) -> int:
        """The first block whose class attention counts. The blocks of the levels before the last one come earlier and count as
        blocks of the network."""
        return max(0, FIRST_ATTENTION_BLOCK - sum(self.levels))

    @property
    def grid(self) -> int:
        """G: blocks along a side of the coarse grid; the fine grid has 2 G."""
        return self.image_size // (2 * self.patch_size)

    @property
    def blocks(self) -> int:
        """G * G: coarse blocks of an image."""
        return self.grid * self.grid

    @property
    def targets(self) -> int:
        """M: target blocks, each of which brings four fine tokens."""
        candidates = self.window * self.window if self.window else self.blocks
        return math.ceil(candidates * self.alpha)

    @property
    def non_targets(self) -> int:
        """U: blocks that stay coarse."""
        return self.blocks - self.targets

    @property
    def cells(self) -> int:
        """Cells along a side of the fine grid, 2 G."""
        return 2 * self.grid

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def coarse_size(self) -> int:
        """Side of the image that the EE stage embeds, in pixels."""
        return self.image_size // 2

    @property
    def ee_tokens(self) -> int:
        return self.blocks + 1

    @property
    def sac_tokens(self) -> int:
        return 4 * self.targets + 1 + self.non_targets

    @property
    def attention_weights(self) -> tuple[float, ...]:
        """The weight of each block's class attention in the sum, for blocks first_attention_block .. depth-1.

        The recursion g = beta*g + (1-beta)*a, started at 0, written out.
        """
        count = self.depth - self.first_attention_block
        return tuple((1 - ATTENTION_DECAY) * ATTENTION_DECAY ** (count - 1 - i) for i in range(count))

    def to_dict(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        return asdict(self) | {"levels": list(self.levels)}

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> ModelConfig:
        """The config that `to_dict` wrote. Raises ConfigError with the name of an unknown entry."""
        for key in entries:
            if key not in cls.__dataclass_fields__:
                raise ConfigError(
                    f"the model config has an unknown entry {key!r}{nearest(key, cls.__dataclass_fields__)}"
                )
        return cls(**entries)


# width, depth and heads: DeiT, arXiv 2012.12877, table 1. hierarchical-s: the first three levels of Swin-T, arXiv 2103.14030,
# with two blocks more in the last, so that it has the width and the number of blocks of DeiT-S. demo..: of
# this repository.
PRESETS = {
    "deit-ti": ModelConfig(width=192, heads=3, hidden=768),
    "deit-s": ModelConfig(),
    "deit-b": ModelConfig(width=768, heads=12, hidden=3072),
    "hierarchical-s": ModelConfig(depth=8, heads=12, levels=(2, 2)),
    "demo": ModelConfig(image_size=64, patch_size=8, width=96, depth=6, heads=3, hidden=384, classes=10),
    "demo-hierarchical": ModelConfig(
        image_size=64, patch_size=8, width=96, depth=4, heads=4, hidden=384, classes=10, levels=(1, 1)
    ),
    "demo-96": ModelConfig(image_size=96, patch_size=8, width=64, depth=5, heads=2, hidden=256, classes=2),
}


def preset(name: str, **changes: Any) -> ModelConfig:
    """A config of the preset table with some entries changed. Raises ConfigError for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}{nearest(name, PRESETS)}; there are {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
