"""Weights are found in every wrapper and behind every prefix, and which of two sets is taken is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from sacvit.bundle.errors import CheckpointError, ConfigError
from sacvit.model.checkpoint_layouts import EMA, PREFIX, RAW, find_weights, strip
from sacvit.model.pickled_values import Array

PATH = Path("a.pth")
WEIGHTS = {"head.weight": torch.ones(2), "blocks.0.attn.proj.bias": torch.ones(3)}
AVERAGE = {key: value * 2 for key, value in WEIGHTS.items()}


def head(content: Any, weights: Any = None) -> float:
    """The value that tells WEIGHTS from AVERAGE."""
    state = find_weights(PATH, content, weights)
    assert state.tensors.keys() == WEIGHTS.keys()
    return float(state.tensors["head.weight"][0])


@pytest.mark.parametrize("name", [*RAW, *EMA])
def test_weights_are_found_in_every_wrapper(name: str) -> None:
    assert head({"epoch": 3, name: WEIGHTS}) == 1


def test_weights_are_found_without_a_wrapper_and_in_nested_ones() -> None:
    assert head(WEIGHTS) == 1
    assert head({"ema": {"module": WEIGHTS, "decay": 0.99}}) == 1
    assert head({"state_dict": {"model": WEIGHTS}}) == 1


def test_entries_beside_the_wrapper_are_kept() -> None:
    assert find_weights(PATH, {"model": WEIGHTS, "epoch": 3, "model_ema": AVERAGE}).entries == {
        "epoch": 3,
        "model_ema": AVERAGE,
    }


@pytest.mark.parametrize("ema", [{"model_ema": AVERAGE}, {"ema": {"module": AVERAGE}}, {"state_dict_ema": AVERAGE}])
def test_of_raw_weights_and_their_average_the_wanted_ones_are_taken(ema: Any) -> None:
    both = {"model": WEIGHTS} | ema
    assert (head(both, "raw"), head(both, "ema")) == (1, 2)


@pytest.mark.parametrize(("raw", "ema"), [("model.", "ema_model.module."), ("student.backbone.", "teacher.backbone.")])
def test_an_average_inside_the_same_state_dict_is_told_apart(raw: str, ema: str) -> None:
    both = {f"{raw}{key}": value for key, value in WEIGHTS.items()}
    both |= {f"{ema}{key}": value for key, value in AVERAGE.items()}
    assert (head({"state_dict": both}, "raw"), head({"state_dict": both}, "ema")) == (1, 2)


def test_an_average_that_is_passed_over_is_reported_with_the_option(caplog: pytest.LogCaptureFixture) -> None:
    assert head({"model": WEIGHTS, "model_ema": AVERAGE}) == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "a.pth" in record.getMessage() and "--weights ema" in record.getMessage()


def test_nothing_is_reported_where_there_is_no_choice(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert head({"model": WEIGHTS, "model_ema": None}) == 1 and caplog.records == []


@pytest.mark.parametrize(("name", "wanted"), [("model", "ema"), ("model_ema", "raw")])
def test_weights_that_are_not_there_are_refused_with_the_other_option(name: str, wanted: Any) -> None:
    other = {"ema": "raw", "raw": "ema"}[wanted]
    with pytest.raises(CheckpointError, match=rf"a\.pth holds no .*Give --weights {other}"):
        find_weights(PATH, {name: WEIGHTS}, wanted)


def test_an_unknown_kind_of_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match="--weights"):
        find_weights(PATH, WEIGHTS, "best")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.backbone.", "model.module.vit."],
)
def test_prefixes_are_dropped_in_any_order_and_number(prefix: str) -> None:
    assert head({"model": {prefix + key: value for key, value in WEIGHTS.items()}}) == 1


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ("", "_checkpoint_wrapped_module."),
        ("_fsdp_wrapped_module.", "_fsdp_wrapped_module._orig_mod."),
        ("_forward_module.model.", ""),
        ("module.", "module."),
    ],
)
def test_wrappers_of_inner_modules_are_dropped(outside: str, inside: str) -> None:
    wrapped = {outside + key.replace("blocks.0.", f"blocks.0.{inside}"): value for key, value in WEIGHTS.items()}
    assert head({"model": wrapped}) == 1


def test_a_prefix_inside_a_name_stays() -> None:
    named = strip(PREFIX, PATH, {"head.model.weight": torch.zeros(1), "models": torch.zeros(1)})
    assert list(named) == ["head.model.weight", "models"]


def test_two_networks_that_get_the_same_names_are_refused_by_both() -> None:
    with pytest.raises(CheckpointError, match=r"a\.pth: 'model\.head' and 'net\.head' are both 'head'"):
        strip(PREFIX, PATH, {"net.head": torch.zeros(1), "model.head": torch.zeros(1)})


def test_arrays_of_numpy_are_weights_too() -> None:
    array = Array()
    array.values = torch.ones(2).numpy()
    assert head({"model": {"head.weight": array, "blocks.0.attn.proj.bias": array}}) == 1


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1, 2], "list"),
        (torch.zeros(3), "Tensor"),
        ({}, "nothing"),
        ({"epoch": 3, "model": "deit"}, "'epoch', 'model'"),
        ({"model": {"width": 3}}, "'model'"),
        ({"model_ema": None}, "'model_ema'"),
    ],
)
def test_what_holds_no_tensors_is_refused_with_what_it_holds(content: Any, found: str) -> None:
    with pytest.raises(CheckpointError, match=rf"a\.pth .*found {found}"):
        find_weights(PATH, content)
