"""What stands beside the weights: ours is held to its form, another program's is passed over and reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from sacvit.bundle.errors import CheckpointError, ConfigError, SacvitError
from sacvit.model.checkpoint import load_checkpoint, load_plain
from sacvit.model.config import ModelConfig
from sacvit.model.network import PlainViT

Content = dict[str, Any]


# Switches


def test_an_option_goes_before_the_file(content: Content, write: Any) -> None:
    assert load_checkpoint(write(content), alpha=0.25).config.alpha == 0.25


def test_an_option_of_none_leaves_what_the_file_says(content: Content, write: Any) -> None:
    content["config"]["alpha"] = 0.75
    assert load_checkpoint(write(content), alpha=None).config.alpha == 0.75


def test_topk_as_an_option_drops_the_file_s_window(content: Content, write: Any) -> None:
    content["config"] |= {"selection": "window", "window": 1}
    assert load_checkpoint(write(content), selection="topk").config.window is None


def test_global_attention_as_an_option_drops_the_file_s_class_cluster(content: Content, write: Any) -> None:
    content["config"]["class_cluster"] = "both"
    assert load_checkpoint(write(content), attention="global").config.class_cluster == "global"


def test_a_file_without_the_newer_switches_has_the_meaning_that_it_had(content: Content, write: Any) -> None:
    for name in ("positions", "reuse", "class_cluster"):
        del content["config"][name]
    config = load_checkpoint(write(content)).config
    assert (config.positions, config.reuse, config.class_cluster) == ("two", "embeddings", "global")


def test_one_table_is_recognised_without_a_config(new_model: Any, write: Any, config: ModelConfig) -> None:
    tensors = new_model(config=replace(config, positions="one")).state_dict()
    assert load_checkpoint(write(tensors), heads=2).config.positions == "one"


def test_a_plain_network_s_table_says_nothing_about_two_stages(new_model: Any, config: ModelConfig, write: Any) -> None:
    model = new_model(PlainViT)
    path = write({"model": model.state_dict(), "config": config.to_dict()})
    assert load_plain(path)[0].config == config


def test_a_config_of_switches_alone_is_read(content: Content, write: Any) -> None:
    config = load_checkpoint(write({"model": content["model"], "config": {"heads": 4, "alpha": 0.25}})).config
    assert (config.heads, config.alpha) == (4, 0.25)


def test_heads_that_nobody_says_are_asked_for(content: Content, write: Any, refusal: Any) -> None:
    message = refusal(write(content["model"]), ConfigError)
    assert "width 16 is no multiple of 64" in message and "--heads" in message


def test_heads_that_do_not_divide_the_width_are_refused(content: Content, write: Any, refusal: Any) -> None:
    assert "width 16 does not divide into 5 heads" in refusal(write(content), ConfigError, heads=5)


@pytest.mark.parametrize(
    ("entry", "kind", "reason"),
    [
        ({"aplha": 0.5}, CheckpointError, "'config' has an unknown entry 'aplha' (did you mean alpha?)"),
        ({"width": 32}, CheckpointError, "'config' says width 32, but the tensors have 16"),
        ({"classes": "3"}, CheckpointError, "'config' says classes '3', but the tensors have 3"),
        ({"heads": "2"}, CheckpointError, "heads must be a positive whole number, found '2'"),
        ({"alpha": None}, CheckpointError, "alpha must lie in (0, 1], found None"),
        (
            {"selection": ["topk"]},
            CheckpointError,
            "selection must be one of topk, norm, window, uncertain; found ['topk']",
        ),
        ({"window": 1}, CheckpointError, "--window goes with --selection window"),
        ({"positions": "one"}, CheckpointError, "'config' says positions 'one', but the tensors have 'two'"),
        ({"reuse": "keys"}, CheckpointError, "reuse must be one of embeddings, outputs; found 'keys'"),
        ({5: 1}, CheckpointError, "'config' has an unknown entry 5"),
        ({"width": torch.zeros(2)}, CheckpointError, "'config' says width"),
    ],
)
def test_a_config_entry_of_ours_that_cannot_be_meant_is_refused(
    content: Content, write: Any, refusal: Any, entry: dict[Any, Any], kind: type[SacvitError], reason: str
) -> None:
    content["config"] |= entry
    assert reason in refusal(write(content), kind)


# Geometry


def test_grey_patches_are_refused(content: Content, write: Any, refusal: Any) -> None:
    content["model"]["patch_embed.proj.weight"] = torch.zeros(16, 1, 8, 8)
    assert "patch_embed.proj.weight must be (D, 3, P, P), found (16, 1, 8, 8)" in refusal(write(content))


@pytest.mark.parametrize("positions", [15, 17, 9, -1])
def test_an_odd_position_grid_is_refused(content: Content, write: Any, refusal: Any, positions: int) -> None:
    content["model"]["pos_embed_list.1"] = torch.zeros(1, 1 + positions, 16)
    assert f"pos_embed_list.1 has {positions} patch positions; expected an even square" in refusal(write(content))


def test_coarse_and_fine_tables_that_disagree_are_refused(content: Content, write: Any, refusal: Any) -> None:
    content["model"]["pos_embed_list.0"] = torch.zeros(1, 1 + 9, 16)
    assert "pos_embed_list.0 has 9 patch positions; expected 4" in refusal(write(content))


# Entries of ours that do not fit


@pytest.mark.parametrize("rule", [[], {"image_size": 64}, {}, {"image_size": torch.zeros(2)}, 7])
def test_preprocessing_for_another_size_is_refused(content: Content, write: Any, refusal: Any, rule: Any) -> None:
    assert "'preprocessing' must be a dict for images of 32 pixels" in refusal(write(content | {"preprocessing": rule}))


@pytest.mark.parametrize("entry", [{"men": 0}, {5: 1}, {"mean": ["a", "b", "c"]}])
def test_preprocessing_with_a_wrong_entry_is_refused(
    content: Content, write: Any, refusal: Any, entry: dict[Any, Any]
) -> None:
    content["preprocessing"] |= entry
    refusal(write(content), ConfigError)


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "c", "d"], "abc", [1, 2, 3]])
def test_labels_of_ours_that_do_not_fit_are_refused(content: Content, write: Any, refusal: Any, labels: Any) -> None:
    assert "'labels' must be a list of 3 names" in refusal(write(content | {"labels": labels}))


@pytest.mark.parametrize("threshold", [1.5, -0.1, float("nan"), "0.5", True])
def test_a_threshold_of_ours_outside_0_to_1_is_refused(
    content: Content, write: Any, refusal: Any, threshold: Any
) -> None:
    assert "'threshold' must be a number in [0, 1]" in refusal(write(content | {"threshold": threshold}))


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", 7, "A" * 64])
def test_a_calibration_entry_that_is_no_hash_is_refused(
    content: Content, write: Any, refusal: Any, digest: Any
) -> None:
    assert "'calibration' must be the SHA-256" in refusal(write(content | {"calibration": digest}))


# Entries of other programs


@pytest.mark.parametrize(
    "entry",
    [
        {"config": {"lr": 0.1, "depth": 12, "model": "deit", "optimizer": "adamw"}},
        {"config": [1]},
        {"config": "configs/deit.yaml"},
        {"labels": torch.zeros(50, dtype=torch.int64)},
        {"labels": ["a", "b"]},
        {"labels": {0: "cat"}},
        {"threshold": torch.tensor(0.1)},
        {"threshold": 3.5},
        {"preprocessing": {"mean": 0.5}},
        {"calibration": {"temperature": 2}},
    ],
)
def test_an_entry_of_another_program_is_passed_over_and_reported(
    content: Content, write: Any, same_weights: Any, entry: Content, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    loaded = load_checkpoint(write({"model": content["model"]} | entry), heads=2)
    assert same_weights(loaded.model, content["model"])
    assert (loaded.labels, loaded.threshold, loaded.calibration) == (None, None, None)
    assert f"'{next(iter(entry))}' is not" in caplog.text and "model.pth" in caplog.text


def test_names_of_classes_are_taken_from_any_file(content: Content, write: Any) -> None:
    path = write({"model": content["model"], "labels": ["cat", "dog", "owl"]})
    assert load_checkpoint(path, heads=2).labels == ["cat", "dog", "owl"]


# The calibration set beside a checkpoint


def test_a_calibration_set_that_is_missing_is_not_found(content: Content, write: Any) -> None:
    calibration = load_checkpoint(write(content | {"calibration": "0" * 64})).calibration
    assert calibration is not None and calibration.find() is None


def test_another_file_in_the_place_of_the_calibration_set_is_refused(content: Content, write: Any) -> None:
    path = write(content | {"calibration": "0" * 64})
    (path.parent / "model.calib.tar").write_bytes(b"other")
    calibration = load_checkpoint(path).calibration
    assert calibration is not None
    with pytest.raises(CheckpointError, match=r"model\.calib\.tar .* --calib"):
        calibration.find()
