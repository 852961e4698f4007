"""What writes the embedding of each family of networks: from pixels to the tokens of blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...bundle.precision import Form
from ...bundle.preprocess import Preprocessing
from ...model.config import Family, ModelConfig
from .builder import Array, GraphBuilder
from .patches import Tokens, patch_strips, patches_of_blocks, patches_of_image
from .projections import Weights
from .windows import target_strips, windows_of_blocks, windows_of_image


class EmbeddingWriter(NamedTuple):
    """`of_image` embeds every block of an image, of the half or the full size; `of_blocks` the targets, whose pixels are cut
    out of the full image as strips of p pixels: `strips` says which, (G*G, strips) int32."""

    of_image: Callable[[GraphBuilder, str, int, ModelConfig, Weights, Preprocessing, Form], Tokens]
    of_blocks: Callable[[GraphBuilder, str, ModelConfig, Weights, Preprocessing, Form], Tokens]
    strips: Callable[[ModelConfig], Array]


EMBEDDINGS: dict[Family, EmbeddingWriter] = {
    "vit": EmbeddingWriter(patches_of_image, patches_of_blocks, patch_strips),
    "hierarchical": EmbeddingWriter(windows_of_image, windows_of_blocks, target_strips),
}
