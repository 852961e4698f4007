"""Converts tensors of timm, torchvision and Hugging Face to those of this network, by names and, where it is exact, by
arithmetic.

Tensors of a function that this network lacks are refused by name: without them, another model would be exported.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace

import torch
from torch import Tensor

from ..bundle.errors import CheckpointError
from .checkpoint_layouts import StateDict
from .config import MAX_CHECKPOINT_BYTES

logger = logging.getLogger(__name__)

WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

HUGGING_FACE: tuple[tuple[str, str], ...] = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.distillation_token", "dist_token"),
    (r"embeddings\.mask_token", "mask_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embed.proj.\1"),
    (r"encoder\.layer\.(\d+)\.layernorm_before\.(weight|bias)", r"blocks.\1.norm1.\2"),
    (r"encoder\.layer\.(\d+)\.layernorm_after\.(weight|bias)", r"blocks.\1.norm2.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)", r"blocks.\1.attn.\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (r"encoder\.layer\.(\d+)\.output\.dense\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
    (r"layernorm\.(weight|bias)", r"norm.\1"),
    (r"(?:cls_)?classifier\.(weight|bias)", r"head.\1"),
    (r"distillation_classifier\.(weight|bias)", r"head_dist.\1"),
)
TORCHVISION: tuple[tuple[str, str], ...] = (
    (r"class_token", "cls_token"),
    (r"encoder\.pos_embedding", "pos_embed"),
    (r"conv_proj\.(weight|bias)", r"patch_embed.proj.\1"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
    (r"encoder\.ln\.(weight|bias)", r"norm.\1"),
    (r"heads\.head\.(weight|bias)", r"head.\1"),
)

# Tensors that inference does not read, and the reason.
UNUSED: tuple[tuple[str, str], ...] = (
    (r"mask_token", "it stands for masked patches in pre-training"),
    (r"decoder_(?:embed|pos_embed|blocks|norm|pred)\b", "it belongs to the decoder of a masked autoencoder"),
    (r"pooler\.", "classification does not use Hugging Face's pooler"),
    (r"n_averaged", "it counts the averaged steps"),
    (r"(?:criterion|loss|loss_fn)\.", "it belongs to the training loss"),
)

# Tensors of networks with another function, what that is, and what to do.
PLAIN_CURE = "Use the weights of a plain DeiT or ViT of the same size"
REFUSED: tuple[tuple[str, str, str], ...] = (
    (
        r"(?:.*\.)?_flat_param$",
        "a part of FSDP's flattened parameters, which have neither names nor shapes",
        "Gather them where the model was trained: torch.distributed.checkpoint.state_dict.get_model_state_dict with"
        " StateDictOptions(full_state_dict=True), then torch.save",
    ),
    (
        r"patch_embed\.(?:conv|bn)\d|aux_head\.",
        "LV-ViT's convolutional stem and auxiliary head",
        "CF-ViT with an LV-ViT backbone is not supported. Use the DeiT variant of CF-ViT or LF-ViT, whose patch_embed is"
        " one convolution",
    ),
    (
        r"dist_token|head_dist\.",
        "the distillation token and head of a distilled DeiT",
        "Its answer is the mean of two heads, and its blocks were trained with the second token: without both it would be"
        " another network. Use the DeiT of the same size without distillation, such as deit_small_patch16_224",
    ),
    (r".*\.attn\.[qk]_norm\.", "normalised queries and keys", PLAIN_CURE),
    (r".*(?:relative_position|rel_pos)", "relative positions, as BEiT has them", PLAIN_CURE),
    (r"reg_token|register_tokens|storage_tokens", "register tokens", PLAIN_CURE),
    (r"norm_pre\.|fc_norm\.|attn_pool\.", "a norm or a pooling that this network does not have", PLAIN_CURE),
    (r"pre_logits\.", "another layer in front of the head", PLAIN_CURE),
    (r"stages\.|layers\.\d|features\.\d|conv1\.|layer\d\.", "another architecture", PLAIN_CURE),
)


def adapt(state: StateDict) -> StateDict:
    """The checkpoint with the tensors of this family, in FP32. Raises CheckpointError for tensors that cannot be converted
    exactly."""
    path, tensors = state.path, {rename(key): value for key, value in state.tensors.items()}
    for pattern, what, cure in REFUSED:
        if found := next((key for key in tensors if re.match(pattern, key)), None):
            raise CheckpointError(f"{path} has {found!r}: {what}. {cure}")
    for pattern, reason in UNUSED:
        if unused := [key for key in tensors if re.match(pattern, key)]:
            more = f" and {len(unused) - 1} like it are" if unused[1:] else " is"
            logger.info("%s: %s%s not used, because %s.", path, unused[0], more, reason)
            tensors = {key: value for key, value in tensors.items() if key not in unused}
    adapted = replace(state, tensors=as_fp32(replace(state, tensors=tensors)))
    join_query_key_value(adapted)
    add_missing_bias(adapted)
    fold_layer_scale(adapted)
    add_class_position(adapted)
    return adapted


def rename(key: str) -> str:
    """DeiT's name for a tensor of Hugging Face's or torchvision's; other names are unchanged."""
    for pattern, name in (*HUGGING_FACE, *TORCHVISION):
        if match := re.fullmatch(pattern, key):
            return match.expand(name)
    return key


def as_fp32(state: StateDict) -> dict[str, Tensor]:
    """The tensors in FP32. Raises CheckpointError for one that is not a dense floating-point tensor, or not finite."""
    empty = [key for key, value in state.tensors.items() if not value.numel()]
    if 2 * len(empty) > len(state.tensors):
        raise CheckpointError(
            f"{state.path}: {empty[0]} and {len(empty) - 1} more tensors have no elements. In a checkpoint of DeepSpeed's ZeRO"
            f" stage 3 the weights lie in the files of the optimizer beside it. Join them with the script that DeepSpeed left"
            f" there: python zero_to_fp32.py DIR OUT"
        )
    for key, value in state.tensors.items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.dtype not in WEIGHT_TYPES:
            found = f"{value.layout} {value.dtype} on {value.device}"
            raise CheckpointError(f"{state.path}: {key} must be a dense floating-point tensor, found {found}")
    # A single stored number can claim to be a tensor of any size; its expanded size is checked.
    unfolded = sum(4 * value.numel() for value in state.tensors.values())
    if unfolded > MAX_CHECKPOINT_BYTES:
        raise CheckpointError(
            f"{state.path} unfolds to {unfolded >> 20} MiB; the limit is {MAX_CHECKPOINT_BYTES >> 20} MiB"
        )
    converted = {key: value.float() for key, value in state.tensors.items()}
    for key, value in converted.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(
                f"{state.path}: {key} holds NaN or infinity; training diverged, or the file is damaged"
            )
    return converted


def join_query_key_value(state: StateDict) -> None:
    """Joins Hugging Face's three matrices to DeiT's single one, one below the other."""
    first = re.compile(r"(blocks\.\d+\.attn\.)query\.(weight|bias)")
    for match in [match for key in state.tensors if (match := first.fullmatch(key))]:
        attention, kind = match[1], match[2]
        parts = [f"{attention}{part}.{kind}" for part in ("query", "key", "value")]
        for part in parts:
            state.shape(part, 2 if kind == "weight" else 1)
        state.tensors[f"{attention}qkv.{kind}"] = torch.cat([state.tensors.pop(part) for part in parts])


def add_missing_bias(state: StateDict) -> None:
    """A ViT that was built with qkv_bias=False has zeros there. Where only some blocks lack it, the file is damaged."""
    weights = [key for key in state.tensors if re.fullmatch(r"blocks\.\d+\.attn\.qkv\.weight", key)]
    biases = [key.replace("weight", "bias") for key in weights]
    if not any(bias in state.tensors for bias in biases):
        for weight, bias in zip(weights, biases, strict=True):
            state.tensors[bias] = torch.zeros(len(state.tensors[weight]))


def fold_layer_scale(state: StateDict) -> None:
    """Folds LayerScale, which multiplies each branch's output by a vector, into the branch's last layer.

    gamma * (W x + b) = (diag(gamma) W) x + gamma * b. timm names the vectors ls1.gamma and ls2.gamma, DeiT III gamma_1
    and gamma_2.
    """
    scale = re.compile(r"(blocks\.\d+\.)(?:ls(?P<timm>[12])\.gamma|gamma_(?P<deit>[12]))")
    for match in [match for key in state.tensors if (match := scale.fullmatch(key))]:
        branch = {"1": "attn.proj", "2": "mlp.fc2"}[match["timm"] or match["deit"]]
        weight, bias = f"{match[1]}{branch}.weight", f"{match[1]}{branch}.bias"
        state.shape(bias, 1)
        rows = (state.shape(weight, 2)[0],)
        if tuple(state.tensors[match[0]].shape) != rows:
            found = tuple(state.tensors[match[0]].shape)
            raise CheckpointError(f"{state.path}: {match[0]} must have shape {rows}, found {found}")
        gamma = state.tensors.pop(match[0])
        state.tensors[weight] = state.tensors[weight] * gamma[:, None]
        state.tensors[bias] = state.tensors[bias] * gamma


def add_class_position(state: StateDict) -> None:
    """Adds a row of zeros to DeiT III's table of n x n rows, which has no position for the class token."""
    if "pos_embed" in state.tensors and len(state.tensors["pos_embed"].shape) == 3:
        table = state.tensors["pos_embed"]
        if is_square(table.shape[1]) and not is_square(table.shape[1] - 1):
            state.tensors["pos_embed"] = torch.cat([torch.zeros_like(table[:, :1]), table], 1)


def is_square(count: int) -> bool:
    return count > 0 and round(count**0.5) ** 2 == count
