"""The geometry and the switches of a two-stage vision transformer, and the presets."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from ..bundle.errors import ConfigError, nearest

Task = Literal["classify", "dense"]
Selection = Literal["topk", "window", "uncertain"]
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
FIRST_ATTENTION_BLOCK = 3  # class attention counts from this block on; CF-ViT's public code, `if i > 2`
ATTENTION_DECAY = 0.99  # beta; arXiv 2203.03821, section 3.2
HEAD_WIDTH = 64  # DeiT's width per head, for checkpoints that do not say
MAX_SIDE, MAX_WIDTH, MAX_DEPTH, MAX_CLASSES = 2048, 4096, 64, 100_000  # far above any ViT, against forged files
MAX_CHECKPOINT_BYTES = 4 << 30  # DeiT-B with optimizer state is 1.4 GB
MAX_GRID = 32  # coarse blocks along a side: 4 097 fine tokens, whose mask alone has 67 MB


@dataclass(frozen=True)
class ModelConfig:
    """The network's geometry and switches. Sizes are pixels and counts; `hidden` is the MLP's inner width.

    Raises ConfigError when the sizes do not fit together.
    """

    image_size: int = 224
    patch_size: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    hidden: int = 1536
    classes: int = 1000
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
            "help": "How target blocks are selected. topk: SAC-ViT, CF-ViT; window: LF-ViT; uncertain: the blocks whose EE"
            " answers are least sure, with --task dense."
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
        if self.image_size % (2 * self.patch_size):
            raise ConfigError(
                f"image size {self.image_size} is no multiple of two patches ({2 * self.patch_size}): the coarse and the"
                f" fine grid would not line up"
            )
        if self.grid > MAX_GRID:
            raise ConfigError(
                f"{self.grid} x {self.grid} coarse blocks are beyond the limit of {MAX_GRID} x {MAX_GRID}"
            )
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} does not divide into {self.heads} heads; give the right --heads")
        if self.depth <= FIRST_ATTENTION_BLOCK:
            raise ConfigError(
                f"depth {self.depth} is too small: class attention is gathered from block {FIRST_ATTENTION_BLOCK} on"
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
            raise ConfigError("--window goes with --selection window; with topk it would have no effect")
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
        """The weight of each block's class attention in the sum, for blocks FIRST_ATTENTION_BLOCK .. depth-1.

        The recursion g = beta*g + (1-beta)*a, started at 0, written out.
        """
        count = self.depth - FIRST_ATTENTION_BLOCK
        return tuple((1 - ATTENTION_DECAY) * ATTENTION_DECAY ** (count - 1 - i) for i in range(count))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> ModelConfig:
        """The config that `to_dict` wrote. Raises ConfigError with the name of an unknown entry."""
        for key in entries:
            if key not in cls.__dataclass_fields__:
                raise ConfigError(
                    f"the model config has an unknown entry {key!r}{nearest(key, cls.__dataclass_fields__)}"
                )
        return cls(**entries)


PRESETS = {  # width, depth and heads: DeiT, arXiv 2012.12877, table 1; demo, demo-96: the examples of this repository
    "deit-ti": ModelConfig(width=192, heads=3, hidden=768),
    "deit-s": ModelConfig(),
    "deit-b": ModelConfig(width=768, heads=12, hidden=3072),
    "demo": ModelConfig(image_size=64, patch_size=8, width=96, depth=6, heads=3, hidden=384, classes=10),
    "demo-96": ModelConfig(image_size=96, patch_size=8, width=64, depth=5, heads=2, hidden=256, classes=2),
}


def preset(name: str, **changes: Any) -> ModelConfig:
    """A config of the preset table with some entries changed. Raises ConfigError for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}{nearest(name, PRESETS)}; there are {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
