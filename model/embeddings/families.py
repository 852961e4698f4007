"""The families of networks: they differ in how pixels become the tokens of the blocks that both stages share."""

from __future__ import annotations

from ..config import Family, ModelConfig
from .patches import PatchEmbed
from .windows import WindowEmbed

FAMILIES: dict[Family, type[PatchEmbed] | type[WindowEmbed]] = {"vit": PatchEmbed, "hierarchical": WindowEmbed}


def embedding_of(config: ModelConfig) -> PatchEmbed | WindowEmbed:
    """The module of the config's family. `forward` embeds a whole image, `of_blocks` some blocks of it."""
    return FAMILIES[config.family](config)
