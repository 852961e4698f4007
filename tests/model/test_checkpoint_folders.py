"""Folders and pieces of Hugging Face are read as one checkpoint, and what is missing or foreign is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sacvit.model.checkpoint import Start, load_checkpoint, start_from
from sacvit.model.checkpoint_folders import MOST_JSON_BYTES

INDEX = "model.safetensors.index.json"
PIECES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def weights(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    return content["model"]


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """A checkpoint in two pieces, and a config.json with what shapes do not say."""
    from safetensors.torch import save_file

    names = sorted(weights)
    places = {name: PIECES[number % 2] for number, name in enumerate(names)}
    for piece in PIECES:
        save_file({name: weights[name] for name in names if places[name] == piece}, tmp_path / piece)
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    config(tmp_path, num_attention_heads=2, id2label={"2": "owl", "0": "cat", "1": "dog"})
    return tmp_path


def config(folder: Path, **entries: Any) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "vit", **entries}))


@pytest.mark.parametrize("given", ["", INDEX])
def test_a_checkpoint_in_pieces_loads_by_its_folder_and_by_its_index(
    folder: Path, weights: Any, same_weights: Any, given: str
) -> None:
    assert same_weights(load_checkpoint(folder / given).model, weights)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_with_one_file_loads(tmp_path: Path, weights: Any, same_weights: Any, name: str) -> None:
    from safetensors.torch import save_file

    save_file(weights, tmp_path / name) if name.startswith("model") else torch.save(weights, tmp_path / name)
    config(tmp_path, num_attention_heads=2)
    assert same_weights(load_checkpoint(tmp_path).model, weights)


def test_names_of_classes_are_taken_in_the_order_of_their_numbers(folder: Path) -> None:
    assert load_checkpoint(folder).labels == ["cat", "dog", "owl"]


def test_names_of_classes_of_timm_are_taken(folder: Path) -> None:
    config(folder, num_attention_heads=2, label_names=["a", "b", "c"])
    assert load_checkpoint(folder).labels == ["a", "b", "c"]


@pytest.mark.parametrize("names", [{"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, {"0": "cat", "2": "owl"}, None])
def test_names_that_nobody_gave_are_none(folder: Path, names: Any) -> None:
    config(folder, num_attention_heads=2, id2label=names)
    assert load_checkpoint(folder).labels is None


@pytest.mark.parametrize("program", ["hugging face", "timm"])
def test_mean_and_deviation_are_taken(folder: Path, program: str) -> None:
    rule = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    if program == "timm":
        config(folder, num_attention_heads=2, pretrained_cfg={"input_size": [3, 32, 32], **rule})
    else:
        config(folder, num_attention_heads=2, image_size=32)
        processor = {"image_mean": rule["mean"], "image_std": rule["std"]}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    found = load_checkpoint(folder).preprocessing
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_a_start_with_other_heads_is_refused(folder: Path, new_model: Any) -> None:
    assert start_from(new_model(), folder) == Start([], [])
    config(folder, num_attention_heads=4)
    with pytest.raises(Exception, match="has 4 attention heads, this model 2"):
        start_from(new_model(), folder)


def test_another_activation_is_refused(folder: Path, refusal: Any) -> None:
    config(folder, hidden_act="quick_gelu")
    assert "config.json: hidden_act is 'quick_gelu'" in refusal(folder)


def test_every_piece_counts_for_the_digest(folder: Path, weights: Any) -> None:
    from safetensors.torch import load_file, save_file

    before = load_checkpoint(folder).sha256
    tensors = load_file(folder / PIECES[1])
    save_file({name: value + 1 for name, value in tensors.items()}, folder / PIECES[1])
    assert load_checkpoint(folder).sha256 != before


def test_a_missing_piece_is_named(folder: Path, refusal: Any) -> None:
    (folder / PIECES[1]).unlink()
    assert f"1 are missing, first {PIECES[1]}" in refusal(folder)


def test_an_index_of_other_files_is_refused(folder: Path, refusal: Any) -> None:
    places = json.loads((folder / INDEX).read_text())["weight_map"]
    (folder / INDEX).write_text(json.dumps({"weight_map": places | {"pooler.weight": PIECES[0]}}))
    assert "do not belong together: 1 tensors are in only one of them, first 'pooler.weight'" in refusal(folder)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", ".hidden"])
def test_an_index_may_name_only_files_beside_it(folder: Path, refusal: Any, name: str) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"head.weight": name}}))
    assert INDEX in refusal(folder)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"weight_map": {"a": 1}}', "[" * 100_000, " " * (MOST_JSON_BYTES + 1)]
)
def test_an_index_that_is_none_is_refused(folder: Path, refusal: Any, text: str) -> None:
    (folder / INDEX).write_text(text)
    assert INDEX in refusal(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [("zero_to_fp32.py", "DeepSpeed"), ("__0_0.distcp", "dcp_to_torch"), ("saved_model.pb", "TensorFlow")],
)
def test_a_folder_of_another_program_is_called_what_it_is(tmp_path: Path, refusal: Any, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"")
    message = refusal(tmp_path)
    assert str(tmp_path) in message and words in message
