"""Geometry and switches: what fits together is accepted, what does not is refused with the numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.errors import ConfigError
from sacvit.model.config import ATTENTION_DECAY, FIRST_ATTENTION_BLOCK, PRESETS, ModelConfig, preset

SIZES = ("image_size", "patch_size", "width", "depth", "heads", "hidden", "classes")


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    """Any config that can be meant."""
    patch, grid, heads = draw(st.sampled_from([4, 8, 14, 16])), draw(st.integers(2, 12)), draw(st.integers(1, 8))
    window = draw(st.none() | st.integers(1, grid))
    attention = draw(st.sampled_from(["clustered", "global"]))
    return ModelConfig(
        image_size=2 * patch * grid,
        patch_size=patch,
        width=heads * draw(st.integers(1, 64)),
        depth=draw(st.integers(4, 24)),
        heads=heads,
        hidden=draw(st.integers(1, 4096)),
        classes=draw(st.integers(1, 1000)),
        selection="topk" if window is None else "window",
        alpha=draw(st.floats(0.01, 0.75)),  # of a 2 x 2 grid: three targets, one is left
        window=window,
        attention=attention,
        downsample=draw(st.sampled_from(["bilinear", "area"])),
        positions=draw(st.sampled_from(["two", "one"])),
        reuse=draw(st.sampled_from(["embeddings", "outputs"])),
        class_cluster=draw(st.sampled_from(["global", "target", "both"] if attention == "clustered" else ["global"])),
    )


@given(config=configs())
def test_a_config_survives_json(config: ModelConfig) -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(config=configs())
def test_targets_and_non_targets_are_all_blocks(config: ModelConfig) -> None:
    assert config.targets + config.non_targets == config.blocks == config.grid**2


@given(config=configs())
def test_targets_are_alpha_of_the_candidates_rounded_up(config: ModelConfig) -> None:
    candidates = (config.window or config.grid) ** 2
    assert 0 <= config.targets - candidates * config.alpha < 1


@given(config=configs())
def test_attention_weights_are_the_recursion_written_out(config: ModelConfig) -> None:
    count = config.depth - FIRST_ATTENTION_BLOCK
    written_out = []
    for chosen in range(count):  # the recursion over a single 1 gives the weight of its block
        value = 0.0
        for block in range(count):
            value = ATTENTION_DECAY * value + (1 - ATTENTION_DECAY) * (block == chosen)
        written_out.append(value)
    assert config.attention_weights == pytest.approx(written_out, rel=1e-12)  # rounding of the power


def test_deit_s_has_the_sizes_of_the_design() -> None:
    config = preset("deit-s")
    sizes = (config.grid, config.blocks, config.targets, config.non_targets, config.ee_tokens, config.sac_tokens)
    assert sizes == (7, 49, 25, 24, 50, 125)


def test_the_coarse_image_has_half_the_side() -> None:
    assert [preset("deit-s", image_size=size).coarse_size for size in (224, 288)] == [112, 144]


def test_a_head_is_64_wide_in_every_deit_preset() -> None:
    assert [PRESETS[name].head_width for name in ("deit-ti", "deit-s", "deit-b")] == [64, 64, 64]


@pytest.mark.parametrize(
    ("name", "value"), [*((name, 0) for name in SIZES), *(("width", value) for value in (-1, 1.5, "16", None, True))]
)
def test_a_size_that_is_no_positive_whole_number_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a positive whole number, found {value!r}"):
        ModelConfig(**{name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 4096}, "image_size 4096 is beyond the limit of 2048"),
        ({"width": 6144}, "width 6144 is beyond the limit of 4096"),
        ({"hidden": 40_000}, "hidden 40000 is beyond the limit of 32768"),
        ({"depth": 65}, "depth 65 is beyond the limit of 64"),
        ({"classes": 100_001}, "classes 100001 is beyond the limit of 100000"),
        ({"image_size": 240}, r"image size 240 is no multiple of two patches \(32\)"),
        ({"patch_size": 15}, r"image size 224 is no multiple of two patches \(30\)"),
        ({"heads": 5}, "width 384 does not divide into 5 heads; give the right --heads"),
        ({"depth": 3}, "depth 3 is too small: class attention is gathered from block 3 on"),
        ({"selection": "best"}, "selection must be one of topk, norm, window, uncertain; found 'best'"),
        ({"attention": "local"}, "attention must be one of clustered, global; found 'local'"),
        ({"downsample": "cubic"}, "downsample must be one of bilinear, area; found 'cubic'"),
        ({"positions": "three"}, "positions must be one of two, one; found 'three'"),
        ({"reuse": "keys"}, "reuse must be one of embeddings, outputs; found 'keys'"),
        ({"class_cluster": "none"}, "class_cluster must be one of global, target, both; found 'none'"),
        (
            {"class_cluster": "both", "attention": "global"},
            "--class-cluster both goes with --attention clustered; with global attention there are no clusters",
        ),
        ({"alpha": 0}, r"alpha must lie in \(0, 1\], found 0"),
        ({"alpha": 1.01}, r"alpha must lie in \(0, 1\], found 1.01"),
        ({"alpha": float("nan")}, r"alpha must lie in \(0, 1\], found nan"),
        ({"alpha": True}, r"alpha must lie in \(0, 1\], found True"),
        ({"alpha": "0.5"}, r"alpha must lie in \(0, 1\], found '0.5'"),
        ({"selection": "window"}, r"needs --window m with 1 <= m <= 7 \(the coarse grid\), found None"),
        ({"selection": "window", "window": 0}, "1 <= m <= 7 .*, found 0"),
        ({"selection": "window", "window": 8}, "1 <= m <= 7 .*, found 8"),
        ({"selection": "window", "window": 5.0}, "1 <= m <= 7 .*, found 5.0"),
        ({"selection": "window", "window": True}, "1 <= m <= 7 .*, found True"),
        ({"window": 5}, "--window goes with --selection window; with topk it would have no effect"),
        ({"alpha": 1}, "alpha 1 makes every one of the 49 blocks a target: .* Give a smaller --alpha"),
        ({"selection": "window", "window": 7, "alpha": 0.99}, "makes every one of the 49 blocks a target"),
    ],
)
def test_sizes_and_switches_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**changes)


def test_a_window_may_have_every_block_as_target() -> None:
    assert ModelConfig(selection="window", window=5, alpha=1).targets == 25


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={name: st.one_of(st.integers(-3, 5000), st.none(), st.text(max_size=3)) for name in SIZES}
        | {
            "alpha": st.one_of(st.floats(), st.text(max_size=3), st.none()),
            "window": st.one_of(st.integers(-3, 20), st.floats(), st.text(max_size=3)),
            "selection": st.sampled_from(["topk", "window", "", None, 3]),
        },
    )
)
def test_any_entries_give_a_usable_config_or_a_config_error(changes: dict[str, Any]) -> None:
    try:
        config = ModelConfig(**changes)
    except ConfigError:
        return
    assert config.targets >= 1 and config.non_targets >= 1 and config.head_width >= 1 and config.grid >= 1


def test_an_unknown_entry_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown entry 'widht' \(did you mean width\?\)"):
        ModelConfig.from_dict({"widht": 3})


def test_a_preset_can_be_changed() -> None:
    assert preset("deit-ti", classes=10) == replace(PRESETS["deit-ti"], classes=10)


def test_an_unknown_preset_is_refused_with_the_nearest_name_and_all_names() -> None:
    with pytest.raises(ConfigError, match=r"no preset 'deit-l' \(did you mean deit-\w+\?\); there are deit-ti, deit-s"):
        preset("deit-l")
