"""Costs against the papers' numbers, and against the modules that do the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sacvit.bundle.stage_record import DENSE_HAND_OFF, HAND_OFF
from sacvit.model.config import ModelConfig, preset
from sacvit.model.cost import DERIVED_EXIT_RATE, count_cost
from sacvit.model.dense import NETWORKS
from sacvit.model.network import PlainViT, TwoStageViT

HIERARCHICAL = [
    preset("demo", width=32, heads=4, depth=3, hidden=48, levels=(1, 2)),
    preset("demo", levels=(2,), heads=4, depth=3, attention="global", downsample="area"),
]
CONFIGS = [
    preset("demo"),
    preset("demo", attention="global", alpha=0.3, downsample="area"),
    preset("demo", selection="window", window=3, alpha=0.88, classes=77),
    preset("demo", width=32, heads=2, depth=4, hidden=40, patch_size=4, image_size=40),
    preset("demo", class_cluster="target", reuse="outputs"),
    preset("demo", class_cluster="both"),
    preset("demo", task="dense", alpha=0.3),
]


def two_stage(config: ModelConfig) -> TwoStageViT:
    return NETWORKS[config.task].two_stage(config)


def plain(config: ModelConfig) -> PlainViT:
    return NETWORKS[config.task].plain(config)


def layer_macs(model: nn.Module, run: Any) -> int:
    """MACs of every linear layer and convolution that `run` passes through."""
    total = 0

    def count(module: nn.Module, args: Any, out: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += out.numel() * module.in_features
        elif isinstance(module, nn.Conv2d):
            total += out.numel() * module.weight[0].numel()

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return total


def parameter_bytes(model: nn.Module, *unused: str) -> int:
    """FP32 bytes of the parameters whose names do not begin with `unused`."""
    return 4 * sum(value.numel() for name, value in model.named_parameters() if not name.startswith(unused or ("-",)))


def handed_names(config: ModelConfig) -> tuple[str, ...]:
    return DENSE_HAND_OFF if config.task == "dense" else HAND_OFF


def blank(config: ModelConfig) -> torch.Tensor:
    return torch.zeros(1, config.image_size, config.image_size, 3, dtype=torch.uint8)


def test_deit_s_has_the_4_6_g_of_its_paper() -> None:
    assert round(count_cost(preset("deit-s")).plain.macs / 1e9, 1) == 4.6


def test_the_ee_stage_of_deit_s_has_1_1_g() -> None:
    assert round(count_cost(preset("deit-s")).ee.macs / 1e9, 1) == 1.1


def test_the_speedup_limit_of_deit_s_at_exit_rate_0_77_is_2_63() -> None:
    assert round(count_cost(preset("deit-s")).speedup_limit(0.77), 2) == 2.63


def test_at_the_derived_exit_rate_the_chain_of_deit_s_saves_what_the_paper_reports() -> None:
    cost = count_cost(preset("deit-s"))
    assert round(1 - cost.chain_macs(DERIVED_EXIT_RATE) / cost.plain.macs, 2) == 0.62
    needed = 1 - ((1 - 0.62) * cost.plain.macs - cost.ee.macs) / cost.sac.macs
    assert round(needed, 2) == DERIVED_EXIT_RATE


def test_the_share_of_sac_that_the_mask_hides_is_the_one_that_code_and_docs_state() -> None:
    hidden = 1 - count_cost(preset("deit-s")).sac.macs / count_cost(preset("deit-s", attention="global")).sac.macs
    root = Path(__file__).parent.parent.parent
    for path in ("model/cost.py", "docs/graphs.md"):
        assert f"{hidden:.2%}".replace("%", " %") in (root / path).read_text()


def test_when_every_image_exits_the_chain_costs_the_ee_stage() -> None:
    cost = count_cost(preset("deit-s"))
    assert cost.chain_macs(1) == cost.ee.macs


def test_when_no_image_exits_the_chain_costs_both_stages() -> None:
    cost = count_cost(preset("deit-s"))
    assert cost.chain_macs(0) == cost.ee.macs + cost.sac.macs


@pytest.mark.parametrize("config", CONFIGS)
def test_the_ee_stage_counts_its_layers_its_attention_and_two_macs_for_each_interpolated_value(
    config: ModelConfig,
) -> None:
    model = two_stage(config)
    layers = layer_macs(model, lambda: model.ee(blank(config)))
    attention = config.depth * 2 * config.ee_tokens**2 * config.width
    class_row = (config.depth - 3) * config.ee_tokens * config.width
    half = config.coarse_size
    interpolated = 3 * half * config.image_size + 3 * half * half  # values after the rows, and after the columns
    assert count_cost(config).ee.macs == layers + attention + class_row + 2 * interpolated


@pytest.mark.parametrize("config", CONFIGS)
def test_the_sac_stage_counts_its_layers_with_the_reuse_mlp_and_the_attended_pairs(config: ModelConfig) -> None:
    model = two_stage(config)
    with torch.no_grad():
        ee = model.ee(blank(config))
    layers = layer_macs(
        model, lambda: model.sac(blank(config), *ee.handed)
    )  # the torch module embeds every fine patch; the graph only those of the targets
    spared = 4 * config.non_targets * 3 * config.patch_size**2 * config.width
    fine, others = 4 * config.targets, config.non_targets
    hidden = {  # pairs of tokens that do not see each other; with "both" the class token sees itself twice
        "global": 2 * fine * others,
        "target": 2 * (fine + 1) * others,
        "both": 2 * fine * others - 1,
    }[config.class_cluster]
    pairs = (fine + others + 1) ** 2 - (hidden if config.attention == "clustered" else 0)
    assert count_cost(config).sac.macs == layers - spared + config.depth * 2 * pairs * config.width


def window_macs(config: ModelConfig, tokens: int) -> int:
    """Of attention inside one window of tokens x tokens in the first level."""
    return sum(
        depth * 2 * (tokens // 2**level) ** 4 * config.width // 2 ** (len(config.levels) - level)
        for level, depth in enumerate(config.levels)
    )


@pytest.mark.parametrize("config", HIERARCHICAL)
def test_the_ee_stage_of_a_hierarchical_network_counts_the_attention_inside_its_windows(config: ModelConfig) -> None:
    model = two_stage(config)
    layers = layer_macs(model, lambda: model.ee(blank(config)))
    attention = config.depth * 2 * config.ee_tokens**2 * config.width
    class_row = (config.depth - config.first_attention_block) * config.ee_tokens * config.width
    windows = config.blocks * window_macs(config, 2 ** len(config.levels))
    half = config.coarse_size
    interpolated = 3 * half * config.image_size + 3 * half * half
    assert count_cost(config).ee.macs == layers + attention + class_row + windows + 2 * interpolated


@pytest.mark.parametrize("config", HIERARCHICAL)
def test_the_sac_stage_of_a_hierarchical_network_computes_the_windows_of_its_targets_alone(config: ModelConfig) -> None:
    model = two_stage(config)
    with torch.no_grad():
        ee = model.ee(blank(config))
    layers = layer_macs(model, lambda: model.sac(blank(config), *ee.handed))
    fine, others = 4 * config.targets, config.non_targets
    pairs = (fine + others + 1) ** 2 - (2 * fine * others if config.attention == "clustered" else 0)
    windows = config.targets * window_macs(config, 2 * 2 ** len(config.levels))
    assert count_cost(config).sac.macs == layers + windows + config.depth * 2 * pairs * config.width


@pytest.mark.parametrize("config", HIERARCHICAL)
def test_the_full_hierarchical_network_counts_every_window(config: ModelConfig) -> None:
    model = plain(config)
    layers = layer_macs(model, lambda: model(blank(config)))
    attention = config.depth * 2 * (4 * config.blocks + 1) ** 2 * config.width
    windows = config.blocks * window_macs(config, 2 * 2 ** len(config.levels))
    assert count_cost(config).plain.macs == layers + attention + windows


@pytest.mark.parametrize("config", CONFIGS)
def test_the_plain_vit_counts_its_layers_and_its_attention(config: ModelConfig) -> None:
    model = plain(config)
    layers = layer_macs(model, lambda: model(blank(config)))
    attention = config.depth * 2 * (4 * config.blocks + 1) ** 2 * config.width
    assert count_cost(config).plain.macs == layers + attention


@pytest.mark.parametrize("config", [*CONFIGS, *HIERARCHICAL])
def test_the_plain_vit_s_weight_bytes_are_its_parameters(config: ModelConfig) -> None:
    assert count_cost(config).plain.weight_bytes == parameter_bytes(plain(config))


@pytest.mark.parametrize("config", CONFIGS)
def test_the_ee_stage_s_weight_bytes_leave_out_the_fine_table_and_the_reuse_mlp(config: ModelConfig) -> None:
    unused = ("pos_embed_list.1", "reuse_block", *["head."] * (config.task == "dense"))
    wanted = parameter_bytes(two_stage(config), *unused)
    assert count_cost(config).ee.weight_bytes == wanted


@pytest.mark.parametrize("config", [*CONFIGS, *HIERARCHICAL])
def test_the_sac_stage_s_weight_bytes_leave_out_the_coarse_table(config: ModelConfig) -> None:
    assert count_cost(config).sac.weight_bytes == parameter_bytes(two_stage(config), "pos_embed_list.0")


@pytest.mark.parametrize("config", CONFIGS)
def test_the_ee_stage_s_output_bytes_are_those_of_its_graph(config: ModelConfig) -> None:
    with torch.no_grad():
        ee = two_stage(config).ee(blank(config))
    names = ("logits", "confidence", "class_attention", *handed_names(config))
    assert count_cost(config).ee.output_bytes == 4 * sum(getattr(ee, name).numel() for name in names)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_sac_stage_reads_the_image_its_row_and_what_ee_hands_off(config: ModelConfig) -> None:
    with torch.no_grad():
        ee = two_stage(config).ee(blank(config))
    hand_off = 4 * sum(getattr(ee, name).numel() for name in handed_names(config))
    assert count_cost(config).sac.input_bytes == blank(config).numel() + 4 + hand_off
