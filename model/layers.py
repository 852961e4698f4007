"""Transformer layers whose parameter names are DeiT's, so that public state dicts load unchanged."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ClassCluster

LAYER_NORM_EPS = 1e-6  # timm's and DeiT's, not torch's 1e-5


class SelfAttention(nn.Module):
    """Multi-head attention, and beside it the class token's attention row when it is asked for."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None, want_class_row: bool) -> tuple[Tensor, Tensor | None]:
        """x: (B, N, D), class token first; mask: (N, N) bool, True where a query (row) may look at a key.

        A mask of N + 1 rows asks for the class token twice: with the first row and with the last one. It gets the mean.

        Returns the mixed tokens (B, N, D) and, if wanted, the class token's attention to the N - 1 patches,
        (B, H, N-1), detached: it selects blocks, and a selection has no gradient.
        """
        batch, count, width = x.shape
        qkv = self.qkv(x).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, N, D/H)
        if mask is not None and len(mask) > count:
            asked = torch.cat([query, query[:, :, :1]], 2)
            mixed = F.scaled_dot_product_attention(asked, key, value, attn_mask=mask)
            mixed = torch.cat([(mixed[:, :, :1] + mixed[:, :, -1:]) / 2, mixed[:, :, 1:-1]], 2)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        if not want_class_row:
            return out, None
        with torch.no_grad():
            scores = (query[:, :, :1] * (width // self.heads) ** -0.5) @ key.transpose(-1, -2)  # (B, H, 1, N)
            return out, scores.softmax(-1)[:, :, 0, 1:]


def cluster_mask(targets: int, non_targets: int, class_cluster: ClassCluster) -> Tensor:
    """What each of [class, targets, non-targets] sees, (N, N) bool; a patch sees its cluster.

    global: every patch sees the class token, which sees all. target: the class token is one of the target cluster. both: it is
    one of each cluster; its row of the target cluster comes first, that of the other one is row N + 1.
    """
    cluster = torch.tensor([1] * (1 + targets) + [2] * non_targets)
    mask = cluster[:, None] == cluster[None]
    if class_cluster == "target":
        return mask
    mask[:, 0] = True
    if class_cluster == "both":
        second = cluster == 2
        second[0] = True
        return torch.cat([mask, second[None]])
    mask[0] = True
    return mask


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))  # erf GELU, as in DeiT
        return out


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, hidden)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, want_class_row: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        mixed, class_row = self.attn(self.norm1(x), mask, want_class_row)
        x = x + mixed
        return x + self.mlp(self.norm2(x)), class_row


def initialise(module: nn.Module) -> None:
    """DeiT's start: truncated-normal 0.02 weights, zero biases. For `nn.Module.apply`."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def by_block(fine: Tensor, grid: int) -> Tensor:
    """(B, 4*G*G, D) row-major on the fine grid -> (B, G*G, 4, D): the 2 x 2 fine tokens of each coarse block."""
    width = fine.shape[-1]
    cells = fine.view(-1, grid, 2, grid, 2, width).permute(0, 1, 3, 2, 4, 5)
    return cells.reshape(-1, grid * grid, 4, width)


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """tokens: (B, N, D), index: (B, K) -> (B, K, D)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
