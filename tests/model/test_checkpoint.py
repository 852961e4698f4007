"""Checkpoints are untrusted: what is whole loads as it was, what is not is refused with the telling part named."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import random
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sacvit.bundle.errors import CheckpointError, ConfigError, SacvitError
from sacvit.bundle.files import sha256_of
from sacvit.bundle.preprocess import Preprocessing
from sacvit.model import checkpoint
from sacvit.model.checkpoint import (
    load_checkpoint,
    load_plain,
    resample_positions,
    save_checkpoint,
    start_from,
    write_pth,
)
from sacvit.model.config import ModelConfig, preset
from sacvit.model.network import PlainViT, TwoStageViT

CONFIG = preset("demo", image_size=32, patch_size=8, width=16, depth=4, heads=2, hidden=24, classes=3)
Content = dict[str, Any]


def new_model(kind: Any = TwoStageViT, config: ModelConfig = CONFIG, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return kind(config)


@pytest.fixture
def content() -> Content:
    """What save_checkpoint writes, to be changed by a test."""
    return {
        "model": dict(new_model().state_dict()),
        "config": CONFIG.to_dict(),
        "preprocessing": Preprocessing(32).to_dict(),
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    def write(content: Any) -> Path:
        path = tmp_path / "model.pth"
        torch.save(content, path)
        return path

    return write


def whole_file(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def refusal(path: Path, kind: type[SacvitError] = CheckpointError, **options: Any) -> str:
    with pytest.raises(kind) as fault:
        load_checkpoint(path, **options)
    assert type(fault.value) is kind
    return str(fault.value)


def resampled(table: torch.Tensor, count: int) -> torch.Tensor:
    return resample_positions(Path("a.pth"), "pos_embed", table, count)


def same_weights(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
    found = model.state_dict()
    return found.keys() == tensors.keys() and all(torch.equal(found[key], tensors[key]) for key in found)


# What loads


def test_a_saved_model_comes_back_bit_by_bit(tmp_path: Path) -> None:
    model = new_model()
    save_checkpoint(tmp_path / "a.pth", model, Preprocessing(32))
    assert same_weights(load_checkpoint(tmp_path / "a.pth").model, model.state_dict())


@pytest.mark.parametrize(
    "switches",
    [{}, {"attention": "global", "alpha": 0.3}, {"selection": "window", "window": 1}, {"downsample": "area"}],
)
def test_a_saved_model_comes_back_with_its_switches(tmp_path: Path, switches: dict[str, Any]) -> None:
    config = ModelConfig(**(CONFIG.to_dict() | switches))
    save_checkpoint(tmp_path / "a.pth", new_model(config=config), Preprocessing(32))
    assert load_checkpoint(tmp_path / "a.pth").config == config


def test_preprocessing_labels_and_threshold_come_back(tmp_path: Path) -> None:
    rule = Preprocessing(32, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3), "stretch")
    save_checkpoint(tmp_path / "a.pth", new_model(), rule, labels=["a", "b", "c"], threshold=0.25)
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert (loaded.preprocessing, loaded.labels, loaded.threshold) == (rule, ["a", "b", "c"], 0.25)


def test_the_network_normalises_by_the_file_s_mean_and_deviation(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pth", new_model(), Preprocessing(32, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)))
    model = load_checkpoint(tmp_path / "a.pth").model
    assert torch.equal(torch.cat([model.mean, model.std]).flatten(), torch.tensor([0.5, 0.4, 0.3, 0.1, 0.2, 0.3]))


def test_the_digest_is_the_file_s(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pth", new_model(), Preprocessing(32))
    assert load_checkpoint(tmp_path / "a.pth").sha256 == sha256_of(tmp_path / "a.pth")


def test_a_loaded_network_is_in_evaluation_mode(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pth", new_model(), Preprocessing(32))
    assert not load_checkpoint(tmp_path / "a.pth").model.training


def test_a_bare_state_dict_loads(content: Content, write: Any) -> None:
    assert same_weights(load_checkpoint(write(content["model"]), heads=2).model, content["model"])


def test_weights_under_state_dict_load(content: Content, write: Any) -> None:
    loaded = load_checkpoint(write({"state_dict": content["model"], "epoch": 3}), heads=2)
    assert same_weights(loaded.model, content["model"])


def test_the_prefix_of_distributed_training_is_dropped(content: Content, write: Any) -> None:
    prefixed = {f"module.{key}": value for key, value in content["model"].items()}
    assert same_weights(load_checkpoint(write({"model": prefixed}), heads=2).model, content["model"])


def test_half_weights_load_as_fp32(content: Content, write: Any) -> None:
    halves = {key: value.half() for key, value in content["model"].items()}
    loaded = load_checkpoint(write(content | {"model": halves}))
    assert same_weights(loaded.model, {key: value.float() for key, value in halves.items()})


def test_the_old_file_format_of_torch_loads(content: Content, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert same_weights(load_checkpoint(tmp_path / "a.pth").model, content["model"])


def test_the_arguments_that_cf_vit_s_public_files_carry_do_no_harm(content: Content, write: Any) -> None:
    arguments = argparse.Namespace(lr=1e-3, output_dir=Path("/checkpoints"), resume="", model="deit_small")
    loaded = load_checkpoint(write({"model": content["model"], "args": arguments, "epoch": 299}), heads=2)
    assert same_weights(loaded.model, content["model"])


def test_heads_are_counted_at_64_a_head_where_the_file_does_not_say(write: Any) -> None:
    config = preset("demo", image_size=32, width=128, heads=2, depth=4, hidden=8, classes=3)
    assert load_checkpoint(write(new_model(config=config).state_dict())).config.heads == 2


def test_an_option_goes_before_the_file(content: Content, write: Any) -> None:
    assert load_checkpoint(write(content), alpha=0.25).config.alpha == 0.25


def test_an_option_of_none_leaves_what_the_file_says(content: Content, write: Any) -> None:
    content["config"]["alpha"] = 0.75
    assert load_checkpoint(write(content), alpha=None).config.alpha == 0.75


def test_topk_as_an_option_drops_the_file_s_window(content: Content, write: Any) -> None:
    content["config"] |= {"selection": "window", "window": 1}
    assert load_checkpoint(write(content), selection="topk").config.window is None


@pytest.mark.parametrize("golden_geometry", [(224, 16, 48, 6, 3, 192, 10)])
def test_geometry_is_read_off_the_shapes(golden: Any, golden_geometry: tuple[int, ...]) -> None:
    config = load_checkpoint(golden.checkpoint, **golden.options).config
    names = ("image_size", "patch_size", "width", "depth", "heads", "hidden", "classes")
    assert tuple(getattr(config, name) for name in names) == golden_geometry


# Files that are no checkpoints


def test_a_missing_file_is_refused_with_what_is_wanted(tmp_path: Path) -> None:
    assert re.search(r"gone\.pth does not exist; expected the \.pth file", refusal(tmp_path / "gone.pth"))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path} is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.3, 0.5, 0.9, 0.999, 0.99999])
def test_a_truncated_file_is_refused_as_damaged(content: Content, tmp_path: Path, share: float) -> None:
    whole = whole_file(content)
    (tmp_path / "a.pth").write_bytes(whole[: int(share * len(whole))])
    assert re.search(r"a\.pth is not a PyTorch checkpoint, or (was cut short|is damaged)", refusal(tmp_path / "a.pth"))


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_a_truncated_file_of_the_old_format_is_refused(content: Content, tmp_path: Path, share: float) -> None:
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[: int(share * len(whole))])
    assert "a.pth is not a PyTorch checkpoint, or was cut short" in refusal(tmp_path / "a.pth")


FOREIGN = {
    "empty": b"",
    "text": b"these are no weights\n" * 9,
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "json": b'{"model": 1}',
    "zip": b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.pth").write_bytes(FOREIGN[name])
    assert re.search(r"a\.pth .*is (no|not a) PyTorch checkpoint", refusal(tmp_path / "a.pth"))


@pytest.mark.parametrize("name", FOREIGN)
def test_a_refusal_never_recommends_loading_unsafely(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.pth").write_bytes(FOREIGN[name])
    assert "weights_only" not in refusal(tmp_path / "a.pth")


def test_a_file_above_the_size_limit_is_refused(content: Content, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content["optimizer"] = torch.zeros(1 << 19)
    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINT_BYTES", 1 << 20)
    assert re.search(r"model\.pth holds 2 MiB; the limit is 1 MiB", refusal(write(content)))


def test_a_file_of_the_size_limit_loads(content: Content, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(content)
    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINT_BYTES", path.stat().st_size)
    assert load_checkpoint(path).config == CONFIG


def test_an_archive_that_announces_giant_entries_is_refused_before_it_is_unpacked(
    content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bytearray(whole_file(content))
    at, announced = whole.find(b"PK\x01\x02"), 0
    while at >= 0:
        whole[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)  # the uncompressed size
        at, announced = whole.find(b"PK\x01\x02", at + 1), announced + 1
    (tmp_path / "a.pth").write_bytes(whole)
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("it was loaded"))
    assert f"holds {announced * 0xFFFFFFF0 >> 20} MiB; the limit is 4096 MiB" in refusal(tmp_path / "a.pth")


def test_a_compressed_bomb_is_refused_by_its_announced_size(
    content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(3 << 20))
    assert (tmp_path / "a.pth").stat().st_size < 1 << 20
    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINT_BYTES", 1 << 20)
    assert "holds 3 MiB; the limit is 1 MiB" in refusal(tmp_path / "a.pth")


class CreatesFile:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def malicious_files(content: Content, victim: Path) -> dict[str, bytes]:
    old_format = io.BytesIO()
    torch.save(content | {"x": CreatesFile(victim)}, old_format, _use_new_zipfile_serialization=False)
    return {
        "beside the weights": whole_file(content | {"x": CreatesFile(victim)}),
        "among the weights": whole_file(content["model"] | {"x": CreatesFile(victim)}),
        "in the old format": old_format.getvalue(),
        "as a bare pickle": pickle.dumps(CreatesFile(victim), protocol=2),
    }


PLACES = ("beside the weights", "among the weights", "in the old format", "as a bare pickle")


@pytest.mark.parametrize("place", PLACES)
def test_a_malicious_checkpoint_runs_nothing(content: Content, tmp_path: Path, place: str) -> None:
    (tmp_path / "a.pth").write_bytes(malicious_files(content, tmp_path / "victim")[place])
    refusal(tmp_path / "a.pth")
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("place", PLACES[:3])
def test_a_malicious_checkpoint_is_refused_by_the_name_of_its_callable(
    content: Content, tmp_path: Path, place: str
) -> None:
    (tmp_path / "a.pth").write_bytes(malicious_files(content, tmp_path / "victim")[place])
    wanted = r"a\.pth refused: it asks to run (io|_io|builtins|__builtin__)\.open while loading.* Nothing was run"
    assert re.search(wanted, refusal(tmp_path / "a.pth"))


def test_the_malicious_pickle_would_work_without_the_guard(content: Content, tmp_path: Path) -> None:
    whole = malicious_files(content, tmp_path / "victim")["beside the weights"]
    torch.load(io.BytesIO(whole), weights_only=False)["x"].close()
    assert (tmp_path / "victim").exists()


@pytest.mark.filterwarnings("ignore")  # torch's, on what a changed byte made of the pickle
def test_no_changed_byte_causes_another_error_than_ours(content: Content, tmp_path: Path) -> None:
    whole, chance, path = whole_file(content), random.Random(1), tmp_path / "a.pth"
    faults = []
    for _ in range(120):
        changed = bytearray(whole)
        for _ in range(chance.choice([1, 4])):
            changed[chance.choice([chance.randrange(2000), chance.randrange(len(whole))])] = chance.randrange(256)
        path.write_bytes(changed)
        try:
            load_checkpoint(path)
        except SacvitError:
            continue
        except Exception as fault:
            faults.append(repr(fault))
    assert faults == []


def with_directory_field(content: Content, offset: int, value: bytes) -> bytes:
    whole = bytearray(whole_file(content))
    at = whole.find(b"PK\x01\x02") + offset
    whole[at : at + len(value)] = value
    return bytes(whole)


def test_an_archive_of_an_unknown_zip_version_is_refused(content: Content, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(with_directory_field(content, 6, b"\xff"))
    refusal(tmp_path / "a.pth")


def test_an_archive_of_several_disks_is_refused(content: Content, tmp_path: Path) -> None:
    whole = bytearray(whole_file(content))
    locator = whole.find(b"PK\x06\x07")
    assert locator > 0
    whole[locator + 16] = 9  # the number of disks
    (tmp_path / "a.pth").write_bytes(whole)
    refusal(tmp_path / "a.pth")


# Dicts that are no weights of this family


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([1, 2], "must hold a dict of tensors, found list"),
        (torch.zeros(3), "must hold a dict of tensors, found Tensor"),
        ({}, "holds no tensors. Expected a state dict, under 'model' or bare; found nothing"),
        ({"epoch": 3, "model": "deit"}, "holds no tensors. Expected a state dict, under 'model' or bare; found epoch,"),
        ({"model": {"width": 3}}, "holds no tensors. Expected a state dict, under 'model' or bare; found width"),
    ],
)
def test_what_holds_no_tensors_is_refused_with_what_it_holds(write: Any, given: Any, reason: str) -> None:
    assert reason in refusal(write(given))


def test_a_missing_tensor_is_refused_with_the_nearest_name(content: Content, write: Any) -> None:
    content["model"]["head.bais"] = content["model"].pop("head.bias")
    assert "has no tensor 'head.bias' (did you mean head.bais?)" in refusal(write(content))


@pytest.mark.parametrize("key", ["patch_embed.proj.weight", "pos_embed_list.0", "blocks.2.attn.qkv.bias", "norm.bias"])
def test_a_missing_tensor_is_refused_by_its_name(content: Content, write: Any, key: str) -> None:
    del content["model"][key]
    assert f"has no tensor {key!r}" in refusal(write(content))


def test_an_extra_tensor_is_refused_with_the_nearest_name(content: Content, write: Any) -> None:
    content["model"]["norm.wieght"] = torch.zeros(16)
    wanted = "has 1 tensors that this family does not know, first 'norm.wieght' (did you mean norm.weight?)"
    assert wanted in refusal(write(content))


def test_a_tensor_of_another_shape_is_refused_with_both_shapes(content: Content, write: Any) -> None:
    content["model"]["blocks.1.attn.proj.weight"] = torch.zeros(16, 17)
    wanted = "blocks.1.attn.proj.weight must have shape (16, 16), found (16, 17)"
    assert wanted in refusal(write(content))


def test_a_tensor_of_another_number_of_dimensions_is_refused(content: Content, write: Any) -> None:
    content["model"]["norm.weight"] = torch.zeros(1, 16)
    assert "norm.weight must have 1 dimensions, found shape (1, 16)" in refusal(write(content))


def test_grey_patches_are_refused(content: Content, write: Any) -> None:
    content["model"]["patch_embed.proj.weight"] = torch.zeros(16, 1, 8, 8)
    assert "patch_embed.proj.weight must be (D, 3, P, P), found (16, 1, 8, 8)" in refusal(write(content))


@pytest.mark.parametrize("positions", [15, 17, 9])
def test_an_odd_position_grid_is_refused(content: Content, write: Any, positions: int) -> None:
    content["model"]["pos_embed_list.1"] = torch.zeros(1, 1 + positions, 16)
    wanted = f"pos_embed_list.1 has {positions} patch positions; expected an even square such as 196 (14 x 14)"
    assert wanted in refusal(write(content))


def test_coarse_and_fine_tables_that_disagree_are_refused(content: Content, write: Any) -> None:
    content["model"]["pos_embed_list.0"] = torch.zeros(1, 1 + 9, 16)
    wanted = "pos_embed_list.0 has 9 patch positions; expected 4, a quarter of the 16 in pos_embed_list.1"
    assert wanted in refusal(write(content))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(content: Content, write: Any, value: float) -> None:
    content["model"]["blocks.3.mlp.fc2.bias"][5] = value
    assert "blocks.3.mlp.fc2.bias holds NaN or infinity; training diverged" in refusal(write(content))


DENSE = "head.weight must be a dense floating-point tensor, found "


@pytest.mark.parametrize(
    ("strange", "reason"),
    [
        pytest.param(lambda head: head.to_sparse(), DENSE + "torch.sparse_coo torch.float32 on cpu", id="sparse"),
        pytest.param(
            lambda head: head.to(torch.float8_e4m3fn), DENSE + "torch.strided torch.float8_e4m3fn on cpu", id="float8"
        ),
        pytest.param(lambda head: head.to("meta"), DENSE + "torch.strided torch.float32 on meta", id="meta"),
        pytest.param(lambda head: head.int(), DENSE + "torch.strided torch.int32 on cpu", id="integers"),
        pytest.param(lambda head: head.double() * 1e300, "head.weight holds NaN or infinity", id="infinite as FP32"),
        pytest.param(
            lambda head: torch.zeros(1).expand(1 << 50),
            f"model.pth unfolds to {4 << 30} MiB; the limit is 4096 MiB",
            id="4 bytes that announce 4 PiB",
        ),
    ],
)
def test_a_tensor_of_a_strange_kind_is_refused(content: Content, write: Any, strange: Any, reason: str) -> None:
    content["model"]["head.weight"] = strange(content["model"]["head.weight"])
    assert reason in refusal(write(content))


def test_heads_that_nobody_says_are_asked_for(content: Content, write: Any) -> None:
    message = refusal(write(content["model"]), ConfigError)
    assert "does not say its number of heads, and its width 16 is no multiple of 64" in message


def test_heads_that_do_not_divide_the_width_are_refused(content: Content, write: Any) -> None:
    assert "width 16 does not divide into 5 heads" in refusal(write(content), ConfigError, heads=5)


def test_an_unknown_option_is_refused_with_the_nearest_name(content: Content, write: Any) -> None:
    message = refusal(write(content), ConfigError, head=2)
    assert "no model option 'head' (did you mean heads?); there are heads, selection, alpha" in message


@pytest.mark.parametrize(
    ("entry", "kind", "reason"),
    [
        ({"aplha": 0.5}, CheckpointError, "'config' has an unknown entry 'aplha' (did you mean alpha?)"),
        ({"width": 32}, CheckpointError, "'config' says width 32, but the tensors have 16"),
        ({"classes": "3"}, CheckpointError, "'config' says classes '3', but the tensors have 3"),
        ({"heads": "2"}, CheckpointError, "heads must be a positive whole number, found '2'"),
        ({"alpha": None}, CheckpointError, "alpha must lie in (0, 1], found None"),
        ({"selection": ["topk"]}, CheckpointError, "selection must be one of topk, window; found ['topk']"),
        ({"window": 1}, CheckpointError, "--window goes with --selection window"),
    ],
)
def test_a_config_entry_that_cannot_be_meant_is_refused(
    content: Content, write: Any, entry: dict[str, Any], kind: type[SacvitError], reason: str
) -> None:
    content["config"] |= entry
    assert reason in refusal(write(content), kind)


@pytest.mark.parametrize(
    ("place", "entry"),
    [
        ("config", {5: 1}),
        ("config", {"width": torch.zeros(2)}),
        ("preprocessing", {5: 1}),
        ("preprocessing", {"mean": ["a", "b", "c"]}),
        ("preprocessing", {"image_size": torch.zeros(2)}),
    ],
)
def test_an_entry_of_a_strange_type_is_refused(content: Content, write: Any, place: str, entry: dict[Any, Any]) -> None:
    content[place] |= entry
    with pytest.raises(SacvitError):
        load_checkpoint(write(content))


def test_a_config_that_is_no_dict_is_refused(content: Content, write: Any) -> None:
    assert "'config' must be a dict, found list" in refusal(write(content | {"config": [1]}))


@pytest.mark.parametrize("rule", [[], {"image_size": 64}, {}])
def test_preprocessing_for_another_size_is_refused(content: Content, write: Any, rule: Any) -> None:
    message = refusal(write(content | {"preprocessing": rule}))
    assert "'preprocessing' must be a dict for images of 32 pixels" in message


def test_preprocessing_with_an_unknown_entry_is_refused(content: Content, write: Any) -> None:
    content["preprocessing"]["men"] = 0
    message = refusal(write(content), ConfigError)
    assert "preprocessing has an unknown entry 'men' (did you mean mean?)" in message


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["a", "b"], "'labels' must be 3 names, found 2"),
        (["a", "b", "c", "d"], "'labels' must be 3 names, found 4"),
        ("abc", "'labels' must be a list of names, found str"),
        ([1, 2, 3], "'labels' must be a list of names, found list"),
    ],
)
def test_labels_that_do_not_fit_are_refused(content: Content, write: Any, labels: Any, reason: str) -> None:
    assert reason in refusal(write(content | {"labels": labels}))


@pytest.mark.parametrize("threshold", [1.5, -0.1, float("nan"), "0.5"])
def test_a_threshold_outside_0_to_1_is_refused(content: Content, write: Any, threshold: Any) -> None:
    message = refusal(write(content | {"threshold": threshold}))
    assert f"'threshold' must be a number in [0, 1], found {threshold!r}" in message


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", 7, "A" * 64])
def test_a_calibration_entry_that_is_no_hash_is_refused(content: Content, write: Any, digest: Any) -> None:
    assert "'calibration' must be the SHA-256" in refusal(write(content | {"calibration": digest}))


# The calibration set beside a checkpoint


def test_a_calibration_set_that_is_missing_is_not_found(content: Content, write: Any) -> None:
    loaded = load_checkpoint(write(content | {"calibration": "0" * 64}))
    assert loaded.calibration is not None and loaded.calibration.find() is None


def test_another_file_in_the_place_of_the_calibration_set_is_refused(content: Content, write: Any) -> None:
    path = write(content | {"calibration": "0" * 64})
    (path.parent / "model.calib.tar").write_bytes(b"other")
    calibration = load_checkpoint(path).calibration
    assert calibration is not None
    with pytest.raises(CheckpointError, match=r"model\.calib\.tar .* --calib"):
        calibration.find()


# Plain networks


def test_a_plain_vit_is_refused_with_the_command_that_trains_from_it(write: Any) -> None:
    message = refusal(write(new_model(PlainViT).state_dict()))
    assert re.search(r"is a plain single-stage ViT .*: sacvit-train --start .*model\.pth --data", message)


def test_a_plain_vit_loads_as_the_baseline(tmp_path: Path) -> None:
    model = new_model(PlainViT)
    save_checkpoint(tmp_path / "a.pth", model, Preprocessing(32))
    assert same_weights(load_plain(tmp_path / "a.pth")[0], model.state_dict())


def distilled() -> dict[str, torch.Tensor]:
    tensors = dict(new_model(PlainViT).state_dict())
    table = tensors["pos_embed"]
    tensors["pos_embed"] = torch.cat([table[:, :1], torch.full((1, 1, 16), 9.0), table[:, 1:]], 1)
    return tensors | {"dist_token": torch.ones(1, 1, 16), "head_dist.weight": torch.ones(3, 16)}


def test_a_distilled_deit_loads_without_its_second_token(write: Any) -> None:
    model, _ = load_plain(write(distilled()), heads=2)
    assert same_weights(model, new_model(PlainViT).state_dict())


def test_a_start_fills_every_tensor_that_fits(write: Any) -> None:
    model, source = new_model(seed=1), new_model(seed=2)
    assert start_from(model, write(source.state_dict())) == [] and same_weights(model, source.state_dict())


def test_a_plain_start_names_what_stays_untouched(write: Any) -> None:
    untouched = start_from(new_model(), write(new_model(PlainViT).state_dict()))
    assert untouched == [f"reuse_block.{name}" for name in (
        "0.weight", "0.bias", "1.fc1.weight", "1.fc1.bias", "1.fc2.weight", "1.fc2.bias",
    )]  # fmt: skip


def test_a_plain_start_gives_the_fine_table_unchanged(write: Any) -> None:
    model, plain = new_model(), new_model(PlainViT, seed=1)
    start_from(model, write(plain.state_dict()))
    assert torch.equal(model.pos_embed_list[1], plain.pos_embed)


def test_a_plain_start_gives_the_coarse_table_resampled(write: Any) -> None:
    model, plain = new_model(), new_model(PlainViT, seed=1)
    start_from(model, write(plain.state_dict()))
    assert torch.equal(model.pos_embed_list[0], resampled(plain.pos_embed, 5))


def test_a_start_of_another_image_size_resamples_both_tables(write: Any) -> None:
    larger = preset("demo", **(CONFIG.to_dict() | {"image_size": 64}))
    model, plain = new_model(config=larger), new_model(PlainViT, seed=1)
    start_from(model, write(plain.state_dict()))
    wanted = [resampled(plain.pos_embed, count) for count in (17, 65)]
    assert all(torch.equal(a, b) for a, b in zip(model.pos_embed_list, wanted, strict=True))


def test_a_start_with_other_classes_leaves_the_head(write: Any) -> None:
    other = preset("demo", **(CONFIG.to_dict() | {"classes": 5}))
    untouched = start_from(new_model(), write(new_model(config=other).state_dict()))
    assert untouched == ["head.weight", "head.bias"]


@pytest.mark.parametrize("hidden", [48, 24])  # with 24 the bias of fc1 fits, and nothing else
def test_a_start_of_another_width_is_refused(write: Any, hidden: int) -> None:
    other = preset("demo", **(CONFIG.to_dict() | {"width": 32, "hidden": hidden}))
    with pytest.raises(CheckpointError, match="has no block of width 16: it cannot start this model"):
        start_from(new_model(), write(new_model(config=other).state_dict()))


def test_a_two_stage_start_of_another_image_size_resamples_its_tables(write: Any) -> None:
    larger = preset("demo", **(CONFIG.to_dict() | {"image_size": 64}))
    assert start_from(new_model(config=larger), write(new_model().state_dict())) == []


@pytest.mark.parametrize("size", [(2, 16), (17,), (1, 9, 16)])
def test_a_start_whose_position_table_is_no_square_grid_is_refused(write: Any, size: tuple[int, ...]) -> None:
    tensors = new_model(PlainViT).state_dict() | {"pos_embed": torch.zeros(size)}
    wanted = rf"pos_embed\S* must be \(1, 1 \+ n \* n, D\), found {re.escape(str(size))}"
    with pytest.raises(CheckpointError, match=wanted):
        start_from(new_model(), write(tensors))


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


# Writing


def test_a_failed_save_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pth"
    save_checkpoint(path, new_model(), Preprocessing(32))
    earlier = path.read_bytes()

    def fail(self: Path, content: Any) -> int:
        with self.open("wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(
        SacvitError, match=r"a\.pth cannot be written: No space left on device; the file before is kept"
    ):
        save_checkpoint(path, new_model(seed=1), Preprocessing(32))
    assert path.read_bytes() == earlier and list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut in between would leave an empty file, and the one before gone."""
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *rest, real=real, name=name: [done.append(name), real(*rest)])
    write_pth(tmp_path / "last.pth", {"epoch": 1})
    assert done == ["fsync", "replace"]
