"""Names of other libraries become ours, and what another network computes is taken in exactly or refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sacvit.bundle.errors import CheckpointError
from sacvit.model.checkpoint_layouts import StateDict
from sacvit.model.checkpoint_names import adapt
from sacvit.model.network import PlainViT

Tensors = dict[str, Tensor]


def adapted(tensors: Tensors) -> Tensors:
    return adapt(StateDict(Path("a.pth"), tensors)).tensors


def refused(tensors: Tensors) -> str:
    with pytest.raises(CheckpointError) as fault:
        adapted(tensors)
    assert "a.pth" in str(fault.value)
    return str(fault.value)


def answers(model: nn.Module) -> Tensor:
    """Logits for some images, in FP64."""
    images = torch.arange(2 * 32 * 32 * 3).remainder(251).to(torch.uint8).view(2, 32, 32, 3)
    with torch.no_grad():
        return model.double()(images)


def loaded(model: nn.Module, tensors: Tensors) -> nn.Module:
    model.load_state_dict(tensors)
    return model


# LayerScale


class Scaled(nn.Module):
    """A branch of a block with LayerScale behind it, as timm and DeiT III compute it."""

    def __init__(self, branch: nn.Module, gamma: Tensor) -> None:
        super().__init__()
        self.branch, self.gamma = branch, gamma

    def forward(self, *arguments: Any) -> Any:
        out = self.branch(*arguments)
        return (out[0] * self.gamma, out[1]) if isinstance(out, tuple) else out * self.gamma


@pytest.mark.parametrize("names", [("ls1.gamma", "ls2.gamma"), ("gamma_1", "gamma_2")])
def test_a_network_with_layer_scale_gives_the_same_answers(
    plain: Tensors, new_model: Any, names: tuple[str, str]
) -> None:
    original, tensors = new_model(PlainViT), dict(plain)
    for number, block in enumerate(original.blocks):
        gammas = torch.randn(2, 16)
        tensors |= {f"blocks.{number}.{name}": gamma for name, gamma in zip(names, gammas, strict=True)}
        block.attn, block.mlp = Scaled(block.attn, gammas[0].double()), Scaled(block.mlp, gammas[1].double())
    folded = answers(loaded(new_model(PlainViT), adapted(tensors)))
    assert (folded - answers(original)).abs().max() < 1e-5  # the folded weights are rounded to FP32
    assert (folded - answers(new_model(PlainViT))).abs().max() > 0.1


def test_a_layer_scale_of_another_shape_is_refused(plain: Tensors) -> None:
    assert "blocks.1.ls1.gamma" in refused(plain | {"blocks.1.ls1.gamma": torch.ones(17)})


def test_a_layer_scale_without_its_layer_is_refused(plain: Tensors) -> None:
    assert "blocks.9.attn.proj.bias" in refused(plain | {"blocks.9.gamma_1": torch.ones(16)})


# Hugging Face


def hugging_face(plain: Tensors, family: str) -> Tensors:
    """The same network by the names of transformers' ViTForImageClassification or DeiTForImageClassification."""
    renamed: Tensors = {}
    inside = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    outside = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm": "layernorm",
    }
    for key, value in plain.items():
        match = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", key)
        if match is None:
            stem, _, kind = key.rpartition(".") if key.endswith(("weight", "bias")) else (key, "", "")
            dot = f".{kind}" if kind else ""
            renamed[f"classifier{dot}" if stem == "head" else f"{family}.{outside[stem]}{dot}"] = value
        elif match[2] == "attn.qkv":
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[f"{family}.encoder.layer.{match[1]}.attention.attention.{name}.{match[3]}"] = part
        else:
            renamed[f"{family}.encoder.layer.{match[1]}.{inside[match[2]]}.{match[3]}"] = value
    return renamed


@pytest.mark.parametrize("family", ["vit", "deit"])
def test_names_of_hugging_face_become_ours(plain: Tensors, family: str) -> None:
    from sacvit.model.checkpoint_layouts import PREFIX, strip

    tensors = hugging_face(plain, family) | {f"{family}.pooler.dense.weight": torch.ones(16, 16)}
    found = adapted(strip(PREFIX, Path("a.pth"), tensors))
    assert found.keys() == plain.keys() and all(torch.equal(found[key], plain[key]) for key in plain)


# torchvision


def torchvision(plain: Tensors, hidden: tuple[str, str]) -> Tensors:
    """The same network by the names of torchvision's VisionTransformer. hidden: of the two layers of an MLP."""
    block = "encoder.layers.encoder_layer_"
    names = {
        "cls_token": "class_token",
        "pos_embed": "encoder.pos_embedding",
        "patch_embed.proj.": "conv_proj.",
        "norm.": "encoder.ln.",
        "head.": "heads.head.",
    }
    inside = {
        "norm1.": "ln_1.",
        "norm2.": "ln_2.",
        "attn.qkv.": "self_attention.in_proj_",
        "attn.proj.": "self_attention.out_proj.",
        "mlp.fc1.": f"mlp.{hidden[0]}.",
        "mlp.fc2.": f"mlp.{hidden[1]}.",
    }
    names |= {
        f"blocks.{number}.{ours}": f"{block}{number}.{name}" for number in range(4) for ours, name in inside.items()
    }
    starts = {key: next(ours for ours in names if key.startswith(ours)) for key in plain}
    return {key.replace(starts[key], names[starts[key]], 1): value for key, value in plain.items()}


@pytest.mark.parametrize("hidden", [("0", "3"), ("linear_1", "linear_2")])
def test_names_of_torchvision_become_ours(plain: Tensors, hidden: tuple[str, str]) -> None:
    found = adapted(torchvision(plain, hidden))
    assert found.keys() == plain.keys() and all(torch.equal(found[key], plain[key]) for key in plain)


def test_a_key_that_is_missing_beside_query_and_value_is_named(plain: Tensors) -> None:
    tensors = hugging_face(plain, "vit")
    tensors = {
        key.removeprefix("vit."): value
        for key, value in tensors.items()
        if "layer.2.attention.attention.key" not in key
    }
    assert "blocks.2.attn.key.weight" in refused(tensors)


# What is filled in


def test_a_network_without_query_key_value_bias_has_zeros_there(plain: Tensors) -> None:
    found = adapted({key: value for key, value in plain.items() if not key.endswith("qkv.bias")})
    assert all(torch.equal(found[f"blocks.{number}.attn.qkv.bias"], torch.zeros(48)) for number in range(4))


def test_a_single_missing_bias_is_not_filled_in(plain: Tensors) -> None:
    del plain["blocks.2.attn.qkv.bias"]
    assert "blocks.2.attn.qkv.bias" not in adapted(plain)


def test_a_class_token_without_a_position_gets_zeros(plain: Tensors) -> None:
    found = adapted(plain | {"pos_embed": plain["pos_embed"][:, 1:]})["pos_embed"]
    assert torch.equal(found[:, 1:], plain["pos_embed"][:, 1:]) and not found[:, 0].any()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_point_type_becomes_fp32(plain: Tensors, kind: torch.dtype) -> None:
    found = adapted({key: value.to(kind) for key, value in plain.items()})
    assert all(torch.equal(found[key], plain[key].to(kind).float()) for key in plain)


# What is not used, and what is refused


@pytest.mark.parametrize(
    "name", ["mask_token", "pooler.dense.weight", "n_averaged", "criterion.weight", "decoder_blocks.0.norm1.bias"]
)
def test_what_no_inference_reads_is_left_out_and_named(
    plain: Tensors, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert adapted(plain | {name: torch.tensor(3)}).keys() == plain.keys()
    assert name in caplog.text and "a.pth" in caplog.text


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("patch_embed.conv1.weight", "LV-ViT"),
        ("patch_embed.bn1.num_batches_tracked", "LV-ViT"),
        ("aux_head.weight", "LV-ViT"),
        ("dist_token", "without distillation"),
        ("head_dist.weight", "without distillation"),
        ("distillation_classifier.weight", "without distillation"),
        ("blocks.0.attn.q_norm.weight", "plain DeiT"),
        ("blocks.3.attn.k_norm.bias", "plain DeiT"),
        ("blocks.0.attn.relative_position_bias_table", "plain DeiT"),
        ("reg_token", "plain DeiT"),
        ("fc_norm.weight", "plain DeiT"),
        ("layer1.0.conv1.weight", "plain DeiT"),
        ("blocks.0._flat_param", "FSDP"),
    ],
)
def test_a_tensor_of_another_function_is_refused_with_a_cure(plain: Tensors, name: str, what: str) -> None:
    assert what in refused(plain | {name: torch.ones(1, dtype=torch.int64)})


def test_weights_that_zero_stage_3_left_elsewhere_are_refused_with_the_script_that_joins_them(plain: Tensors) -> None:
    tensors = {key: value if key.startswith("norm") else torch.empty(0) for key, value in plain.items()}
    assert "zero_to_fp32.py" in refused(tensors)


DENSE = "head.weight must be a dense floating-point tensor, found "


@pytest.mark.parametrize(
    ("strange", "reason"),
    [
        pytest.param(lambda head: head.to_sparse(), DENSE + "torch.sparse_coo", id="sparse"),
        pytest.param(lambda head: head.to(torch.float8_e4m3fn), DENSE + "torch.strided torch.float8", id="float8"),
        pytest.param(lambda head: head.to("meta"), DENSE + "torch.strided torch.float32 on meta", id="meta"),
        pytest.param(lambda head: head.int(), DENSE + "torch.strided torch.int32", id="integers"),
        pytest.param(lambda head: head.double() * 1e300, "head.weight holds NaN or infinity", id="infinite as FP32"),
        pytest.param(lambda head: head * float("nan"), "head.weight holds NaN or infinity", id="NaN"),
        pytest.param(
            lambda head: torch.zeros(1).expand(1 << 50), f"unfolds to {4 << 30} MiB; the limit is 4096", id="4 PiB"
        ),
    ],
)
def test_a_tensor_of_a_strange_kind_is_refused(plain: Tensors, strange: Any, reason: str) -> None:
    assert reason in refused(plain | {"head.weight": strange(plain["head.weight"])})
