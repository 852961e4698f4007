"""A checkpoint becomes the network that was trained, or the start of another training; what does not fit is named."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sacvit.bundle.errors import CheckpointError, ConfigError
from sacvit.bundle.files import sha256_of
from sacvit.bundle.preprocess import Preprocessing
from sacvit.model.checkpoint import load_checkpoint, load_plain, resample_positions, start_from
from sacvit.model.config import ModelConfig, preset
from sacvit.model.network import PlainViT
from sacvit.model.write_checkpoint import save_checkpoint

Content = dict[str, Any]


def resampled(table: torch.Tensor, count: int) -> torch.Tensor:
    return resample_positions(Path("a.pth"), "pos_embed", table, count)


# What loads


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_saved_model_comes_back_bit_by_bit(tmp_path: Path, new_model: Any, same_weights: Any, name: str) -> None:
    model = new_model()
    save_checkpoint(tmp_path / name, model, Preprocessing(32))
    assert same_weights(load_checkpoint(tmp_path / name).model, model.state_dict())


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"attention": "global", "alpha": 0.3},
        {"selection": "window", "window": 1},
        {"downsample": "area"},
        {"positions": "one"},
        {"reuse": "outputs", "class_cluster": "both"},
    ],
)
def test_a_saved_model_comes_back_with_its_switches(
    tmp_path: Path, new_model: Any, config: ModelConfig, switches: dict[str, Any]
) -> None:
    config = replace(config, **switches)
    save_checkpoint(tmp_path / "a.pth", new_model(config=config), Preprocessing(32))
    assert load_checkpoint(tmp_path / "a.pth").config == config


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_preprocessing_labels_threshold_and_calibration_set_come_back(
    tmp_path: Path, new_model: Any, name: str
) -> None:
    rule = Preprocessing(32, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3), "stretch")
    entries = {"labels": ["a", "b", "é"], "threshold": 0.25, "calibration": "0" * 64}
    save_checkpoint(tmp_path / name, new_model(), rule, **entries)
    loaded = load_checkpoint(tmp_path / name)
    assert (loaded.preprocessing, loaded.labels, loaded.threshold) == (rule, ["a", "b", "é"], 0.25)
    assert loaded.calibration is not None and loaded.calibration.path == tmp_path / "a.calib.tar"


def test_the_network_normalises_by_the_file_s_mean_and_deviation(tmp_path: Path, new_model: Any) -> None:
    save_checkpoint(tmp_path / "a.pth", new_model(), Preprocessing(32, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)))
    model = load_checkpoint(tmp_path / "a.pth").model
    assert torch.equal(torch.cat([model.mean, model.std]).flatten(), torch.tensor([0.5, 0.4, 0.3, 0.1, 0.2, 0.3]))


def test_the_digest_is_the_file_s(content: Content, write: Any) -> None:
    path = write(content)
    assert load_checkpoint(path).sha256 == sha256_of(path)


def test_a_loaded_network_is_in_evaluation_mode(content: Content, write: Any) -> None:
    assert not load_checkpoint(write(content)).model.training


def test_a_bare_state_dict_loads(content: Content, write: Any, same_weights: Any) -> None:
    assert same_weights(load_checkpoint(write(content["model"]), heads=2).model, content["model"])


def test_heads_are_counted_at_64_a_head_where_the_file_does_not_say(write: Any, new_model: Any) -> None:
    config = preset("demo", image_size=32, width=128, heads=2, depth=4, hidden=8, classes=3)
    assert load_checkpoint(write(new_model(config=config).state_dict())).config.heads == 2


def test_the_wanted_weights_are_loaded(content: Content, write: Any, new_model: Any, same_weights: Any) -> None:
    average = new_model(seed=1).state_dict()
    path = write(content | {"model_ema": average})
    assert same_weights(load_checkpoint(path, weights="ema").model, average)
    assert same_weights(load_checkpoint(path, weights="raw").model, content["model"])


@pytest.mark.parametrize("golden_geometry", [(224, 16, 48, 6, 3, 192, 10)])
def test_geometry_is_read_off_the_shapes(golden: Any, golden_geometry: tuple[int, ...]) -> None:
    config = load_checkpoint(golden.checkpoint, **golden.options).config
    names = ("image_size", "patch_size", "width", "depth", "heads", "hidden", "classes")
    assert tuple(getattr(config, name) for name in names) == golden_geometry


# Files of the public CF-ViT and LF-ViT, as their training scripts save them


def of_main_deit(tensors: dict[str, torch.Tensor]) -> Content:
    """`checkpoint.pth` of main_deit.py of both: model, optimizer, schedule, average, loss scaler, arguments."""
    arguments = argparse.Namespace(
        model="cf_deit_small",
        lr=np.float64(5e-4),
        output_dir=Path("/output/cf_deit"),
        input_size_list=[112, 224],
        device="cuda",
        opt_betas=None,
        distributed=True,
        gpu=0,
    )
    moments = {"step": torch.tensor(4.0), "exp_avg": torch.zeros(3), "exp_avg_sq": torch.ones(3)}
    return {
        "model": tensors,
        "optimizer": {"state": {0: moments}, "param_groups": [{"lr": 1e-5, "betas": (0.9, 0.999), "params": [0]}]},
        "lr_scheduler": {"base_values": [5e-4], "t_initial": 300, "metric": None, "_step_count": 1},
        "epoch": 299,
        "model_ema": {key: value * 0 for key, value in tensors.items()},
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 0},
        "args": arguments,
    }


def of_timm(tensors: dict[str, torch.Tensor]) -> Content:
    """`model_best.pth.tar` of timm's CheckpointSaver, which their other script uses."""
    return {
        "epoch": 299,
        "arch": "cf_deit_small",
        "state_dict": {f"module.{key}": value for key, value in tensors.items()},
        "optimizer": {"state": {}, "param_groups": []},
        "version": 2,
        "args": argparse.Namespace(model="cf_deit_small", model_ema=True),
        "amp_scaler": {"scale": 65536.0},
        "state_dict_ema": {key: value * 0 for key, value in tensors.items()},
        "metric": np.float64(80.8),
    }


@pytest.mark.parametrize("script", [of_main_deit, of_timm])
def test_files_of_the_public_scripts_give_the_authors_answers(golden: Any, write: Any, script: Any) -> None:
    tensors = torch.load(golden.checkpoint, weights_only=True)["model"]
    model = load_checkpoint(write(script(tensors)), weights="raw", **golden.options).model
    images = torch.from_numpy(golden.image_u8)
    with torch.no_grad():
        ee = model.ee(images)
        sac = model.sac(images, ee.target_index, ee.target_context, ee.non_target)
    assert np.abs(ee.logits.numpy() - golden.coarse_logits).max() < 1e-4
    assert np.abs(sac.numpy() - golden.fine_logits).max() < 1e-4


# What does not fit


def test_a_missing_tensor_is_refused_with_the_nearest_name(content: Content, write: Any, refusal: Any) -> None:
    content["model"]["head.bais"] = content["model"].pop("head.bias")
    assert "has no tensor 'head.bias' (did you mean head.bais?)" in refusal(write(content))


@pytest.mark.parametrize("key", ["patch_embed.proj.weight", "pos_embed_list.0", "blocks.2.attn.qkv.bias", "norm.bias"])
def test_a_missing_tensor_is_refused_by_its_name(content: Content, write: Any, refusal: Any, key: str) -> None:
    del content["model"][key]
    assert f"has no tensor {key!r}" in refusal(write(content))


@pytest.mark.parametrize("key", ["norm.wieght", "blocks.0.attn.temperature", "blocks.1.adapter.weight"])
def test_a_tensor_that_is_unknown_is_refused_by_its_name(content: Content, write: Any, refusal: Any, key: str) -> None:
    content["model"][key] = torch.zeros(16)
    assert repr(key) in refusal(write(content))


def test_a_tensor_of_another_shape_is_refused_with_both_shapes(content: Content, write: Any, refusal: Any) -> None:
    content["model"]["blocks.1.attn.proj.weight"] = torch.zeros(16, 17)
    assert "blocks.1.attn.proj.weight must have shape (16, 16), found (16, 17)" in refusal(write(content))


def test_a_tensor_of_another_number_of_dimensions_is_refused(content: Content, write: Any, refusal: Any) -> None:
    content["model"]["norm.weight"] = torch.zeros(1, 16)
    assert "norm.weight must have 1 dimensions, found shape (1, 16)" in refusal(write(content))


def test_a_plain_vit_is_refused_with_the_command_that_trains_from_it(write: Any, plain: Any, refusal: Any) -> None:
    message = refusal(write(plain))
    assert re.search(r"is a plain single-stage ViT .*: sacvit-train --start .*model\.pth --data", message)


# Plain networks


def test_a_plain_vit_loads_as_the_baseline(tmp_path: Path, new_model: Any, same_weights: Any) -> None:
    model = new_model(PlainViT)
    save_checkpoint(tmp_path / "a.pth", model, Preprocessing(32))
    assert same_weights(load_plain(tmp_path / "a.pth")[0], model.state_dict())


def test_a_distilled_deit_is_refused_as_the_baseline_and_as_a_start(write: Any, plain: Any, new_model: Any) -> None:
    path = write(plain | {"dist_token": torch.ones(1, 1, 16), "head_dist.weight": torch.ones(3, 16)})
    for use in (lambda: load_plain(path, 2), lambda: start_from(new_model(), path)):
        with pytest.raises(CheckpointError, match=r"model\.pth has .*without distillation"):
            use()


# The start of training


def test_a_start_fills_every_tensor_that_fits(write: Any, new_model: Any, same_weights: Any) -> None:
    model, source = new_model(seed=1), new_model(seed=2)
    start = start_from(model, write(source.state_dict()))
    assert (start.initialised, start.unused) == ([], []) and same_weights(model, source.state_dict())


def test_a_plain_start_names_what_stays_as_initialised(write: Any, plain: Any, new_model: Any) -> None:
    assert start_from(new_model(), write(plain)).initialised == [f"reuse_block.{name}" for name in (
        "0.weight", "0.bias", "1.fc1.weight", "1.fc1.bias", "1.fc2.weight", "1.fc2.bias",
    )]  # fmt: skip


def test_a_network_with_layer_scale_starts_a_plain_one_with_its_answers(write: Any, plain: Any, new_model: Any) -> None:
    """The fold itself is tested beside `fold_layer_scale`; here, that --start goes through it."""
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    original = new_model(PlainViT)
    with torch.no_grad():
        for number, block in enumerate(original.blocks):
            for branch, name in ((block.attn.proj, "ls1.gamma"), (block.mlp.fc2, "ls2.gamma")):
                plain[f"blocks.{number}.{name}"] = torch.full((16,), 0.5)
                branch.weight *= 0.5
                branch.bias *= 0.5
        model = new_model(PlainViT, seed=9)
        start_from(model, write(plain))
        assert (model(images) - original(images)).abs().max() < 1e-5


def test_a_start_of_another_normalisation_has_the_answers_of_the_original_network(
    tmp_path: Path, new_model: Any
) -> None:
    """Google's ViT takes pixels of mean and deviation 0.5."""
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    half = Preprocessing(32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    original = new_model(PlainViT)
    original.mean.fill_(0.5)
    original.std.fill_(0.5)
    save_checkpoint(tmp_path / "google.pth", original, half)
    model = new_model(PlainViT, seed=9)
    start_from(model, tmp_path / "google.pth")
    with torch.no_grad():
        assert (model(images) - original(images)).abs().max() < 1e-4  # the patch embedding is rounded to FP32


def test_a_plain_start_gives_both_tables(write: Any, plain: Any, new_model: Any) -> None:
    model = new_model(seed=1)
    start_from(model, write(plain))
    assert torch.equal(model.pos_embed_list[1], plain["pos_embed"])
    assert torch.equal(model.pos_embed_list[0], resampled(plain["pos_embed"], 5))


def test_a_plain_start_gives_one_table_as_it_is(write: Any, plain: Any, new_model: Any, config: ModelConfig) -> None:
    model = new_model(seed=1, config=replace(config, positions="one"))
    start_from(model, write(plain))
    assert torch.equal(model.pos_embed, plain["pos_embed"])


def test_one_table_starts_from_the_finer_of_two(write: Any, new_model: Any, config: ModelConfig) -> None:
    model, source = new_model(config=replace(config, positions="one")), new_model(seed=1)
    start = start_from(model, write(source.state_dict()))
    assert torch.equal(model.pos_embed, source.pos_embed_list[1])
    assert (start.initialised, start.unused) == ([], ["pos_embed_list.0"])


def test_two_tables_start_from_one(write: Any, new_model: Any, config: ModelConfig) -> None:
    model, source = new_model(), new_model(seed=1, config=replace(config, positions="one"))
    assert start_from(model, write(source.state_dict())).initialised == []
    assert torch.equal(model.pos_embed_list[1], source.pos_embed)
    assert torch.equal(model.pos_embed_list[0], resampled(source.pos_embed, 5))


def test_a_two_stage_start_of_a_plain_network_names_what_it_does_not_use(write: Any, new_model: Any) -> None:
    model, source = new_model(PlainViT), new_model(seed=1)
    start = start_from(model, write(source.state_dict()))
    assert torch.equal(model.pos_embed, source.pos_embed_list[1]) and start.initialised == []
    assert {name.partition(".")[0] for name in start.unused} == {"pos_embed_list", "reuse_block"}


@pytest.mark.parametrize("key", ["pos_embed", "pos_embed_list.1"])
def test_a_start_of_another_image_size_resamples_its_tables(
    write: Any, plain: Any, new_model: Any, config: ModelConfig, key: str
) -> None:
    model = new_model(config=replace(config, image_size=64))
    tensors = plain if key == "pos_embed" else new_model(seed=1).state_dict()
    assert all(name.startswith("reuse_block") for name in start_from(model, write(tensors)).initialised)
    assert torch.equal(model.pos_embed_list[1], resampled(tensors[key], 65))


def test_a_start_with_other_classes_leaves_the_head(write: Any, new_model: Any, config: ModelConfig) -> None:
    other = new_model(config=replace(config, classes=5)).state_dict()
    start = start_from(new_model(), write(other))
    assert start.initialised == start.unused == ["head.weight", "head.bias"]


def test_a_start_without_a_head_leaves_the_head(write: Any, plain: Any, new_model: Any) -> None:
    tensors = {key: value for key, value in plain.items() if not key.startswith("head.")}
    assert start_from(new_model(PlainViT), write(tensors)).initialised == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    "change", [{"width": 32}, {"width": 32, "hidden": 48}, {"hidden": 48}, {"depth": 5}, {"depth": 6}, {"heads": 4}]
)
def test_a_start_of_another_geometry_is_refused_with_a_cure(
    write: Any, new_model: Any, config: ModelConfig, change: dict[str, int]
) -> None:
    other = replace(config, **change)
    model = new_model(config=replace(config, depth=5) if change == {"depth": 6} else config)
    with pytest.raises(CheckpointError, match=r"model\.pth .*--preset"):
        start_from(model, write({"model": new_model(config=other).state_dict(), "config": other.to_dict()}))


def test_a_start_of_a_shallower_network_is_refused(write: Any, new_model: Any, config: ModelConfig) -> None:
    with pytest.raises(CheckpointError, match=r"model\.pth has no tensor 'blocks\.4"):
        start_from(new_model(config=replace(config, depth=5)), write(new_model().state_dict()))


def test_a_start_with_an_unknown_tensor_is_refused_by_its_name(write: Any, plain: Any, new_model: Any) -> None:
    with pytest.raises(CheckpointError, match=r"model\.pth .*'blocks\.0\.attn\.temperature'"):
        start_from(new_model(), write(plain | {"blocks.0.attn.temperature": torch.ones(2)}))


@pytest.mark.parametrize("size", [(2, 17, 16), (17,), (1, 8, 16)])
def test_a_start_whose_position_table_is_no_square_grid_is_refused(
    write: Any, plain: Any, new_model: Any, size: tuple[int, ...]
) -> None:
    with pytest.raises(CheckpointError, match=rf"pos_embed.*found.* {re.escape(str(size))}"):
        start_from(new_model(), write(plain | {"pos_embed": torch.zeros(size)}))


def test_a_start_takes_the_wanted_weights(write: Any, new_model: Any, same_weights: Any) -> None:
    raw, average, model = new_model(seed=1), new_model(seed=2), new_model()
    path = write({"model": raw.state_dict(), "average": average.state_dict()})
    start_from(model, path, "ema")
    assert same_weights(model, average.state_dict())


def test_resampling_to_the_same_grid_changes_nothing() -> None:
    table = torch.randn(1, 17, 4)
    assert resampled(table, 17) is table


def test_resampling_keeps_the_class_row() -> None:
    table = torch.randn(1, 17, 4)
    assert torch.equal(resampled(table, 5)[:, 0], table[:, 0])


def test_resampling_keeps_rows_and_columns_apart() -> None:
    rows = torch.arange(4.0).repeat_interleave(4)
    table = torch.cat([torch.zeros(1), rows]).view(1, 17, 1)
    grid = resampled(table, 65)[0, 1:, 0].view(8, 8)
    assert torch.allclose(grid, grid[:, :1].expand(8, 8), atol=1e-5) and bool((grid.diff(dim=0) > 0).all())


def test_an_unknown_option_is_refused_with_the_nearest_name(content: Content, write: Any, refusal: Any) -> None:
    assert "'head' (did you mean heads?)" in refusal(write(content), ConfigError, head=2)


def test_a_small_file_cannot_ask_for_a_network_of_gigabytes(
    new_model: Any, write: Any, refusal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a width of thousands and many blocks, the file holds next to nothing: no memory is taken before that is seen."""
    weights = dict(new_model().state_dict())
    weights["patch_embed.proj.weight"] = torch.zeros(2048, 3, 8, 8)
    weights["blocks.0.mlp.fc1.weight"] = torch.zeros(4096, 1)
    weights["blocks.7.norm1.weight"] = torch.zeros(1)
    path, devices = write(weights), set()
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: devices.add(tensor.device.type))
    assert "must have shape" in refusal(path, heads=64)
    assert devices == {"meta"}
