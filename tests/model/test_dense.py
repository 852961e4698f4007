"""Dense prediction: which token answers for which cell, what is unsure, and which checkpoints are of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sacvit.bundle.errors import ConfigError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.model.checkpoint import load_checkpoint, load_plain, start_from
from sacvit.model.config import ModelConfig, preset
from sacvit.model.dense import NETWORKS, DensePlainViT, DenseTwoStageViT, block_doubt
from sacvit.model.network import TwoStageViT
from sacvit.model.write_checkpoint import save_checkpoint

CONFIG = preset("demo", image_size=64, patch_size=8, width=16, depth=4, heads=2, hidden=24, classes=3, task="dense")
CELL = torch.arange(64.0).view(8, 8)  # the number of each cell of the fine grid, row-major


@pytest.fixture
def model(new_model: Any) -> Any:
    return new_model(DenseTwoStageViT, config=CONFIG)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 64, 64, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def by_hand(answers: torch.Tensor) -> torch.Tensor:
    """(G*G, 4) by block and cell of the block -> (2G, 2G), with loops."""
    cells = torch.empty(8, 8)
    for block in range(16):
        for place in range(4):
            cells[2 * (block // 4) + place // 2, 2 * (block % 4) + place % 2] = answers[block, place]
    return cells


def let_heads_read_the_first_channel(model: Any) -> None:
    """Class 0 of a cell is the first channel of its fine token, or of its coarse token with the cell's place added."""
    for head in (model.head, model.coarse_head):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    model.head.weight.data[0, 0] = 1
    model.coarse_head.weight.data[[0, 3, 6, 9], 0] = 1
    model.coarse_head.bias.data[[0, 3, 6, 9]] = torch.arange(4.0)


def test_a_coarse_token_answers_for_the_2_x_2_cells_of_its_block(model: Any) -> None:
    let_heads_read_the_first_channel(model)
    tokens = torch.zeros(1, 17, 16)
    tokens[0, 1:, 0] = 4 * torch.arange(16.0)
    found = model.coarse_answer(tokens)[0, :, :, 0]
    assert torch.equal(found, by_hand(torch.arange(64.0).view(16, 4)))


def test_sac_puts_fine_and_coarse_answers_back_in_the_order_of_the_image(model: Any) -> None:
    let_heads_read_the_first_channel(model)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))[None]
    targets, others = order[:, :8], order[:, 8:]
    fine = (4 * targets[0, :, None] + torch.arange(4)).flatten()  # each cell's number in the order of blocks
    tokens = torch.zeros(1, 1 + 32 + 8, 16)
    tokens[0, 1:, 0] = torch.cat([fine, 4 * others[0]]).float()
    found = model.fine_answer(tokens, targets, others)[0, :, :, 0]
    assert torch.equal(found, by_hand(torch.arange(64.0).view(16, 4)))


def test_both_stages_answer_for_every_cell(model: Any, images: torch.Tensor) -> None:
    ee = model.ee(images)
    assert ee.logits.shape == model.sac(images, *ee.handed).shape == (3, 8, 8, 3)


def test_the_order_of_the_targets_moves_no_answer(model: Any, images: torch.Tensor) -> None:
    ee = model.ee(images)
    turned = (ee.target_index.flip(1), ee.target_context.flip(1), ee.non_target.flip(1), ee.non_target_index.flip(1))
    torch.testing.assert_close(model.sac(images, *turned), model.sac(images, *ee.handed), atol=1e-5, rtol=0)


def test_with_every_block_a_target_the_answers_stand_in_the_order_of_the_image(
    model: Any, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_heads_read_the_first_channel(model)
    tokens = torch.zeros(3, 65, 16)
    tokens[:, 1:, 0] = torch.arange(64.0)
    monkeypatch.setattr(model, "fine_pass", lambda *_: tokens)
    found = model.sac_of_all_blocks(images, torch.zeros(3, 16, 16))
    assert torch.equal(found[2, :, :, 0], by_hand(torch.arange(64.0).view(16, 4)))


def test_confidence_is_that_of_the_least_sure_cell(model: Any, images: torch.Tensor) -> None:
    ee = model.ee(images)
    surest = ee.logits.softmax(-1).max(-1).values
    assert ee.confidence.tolist() == pytest.approx([float(image.detach().min()) for image in surest])


def test_the_doubt_about_a_block_is_that_of_its_least_sure_cell() -> None:
    logits = torch.randn(2, 8, 8, 3, generator=torch.Generator().manual_seed(3))
    sure = logits.softmax(-1).max(-1).values
    for block in range(16):
        cells = sure[:, 2 * (block // 4) : 2 * (block // 4) + 2, 2 * (block % 4) : 2 * (block % 4) + 2]
        assert block_doubt(logits)[:, block].tolist() == pytest.approx((1 - cells.flatten(1).min(1).values).tolist())


def test_unsure_blocks_become_the_targets(new_model: Any, images: torch.Tensor) -> None:
    model = new_model(DenseTwoStageViT, config=replace(CONFIG, selection="uncertain"))
    ee = model.ee(images)
    doubt = block_doubt(ee.logits)
    assert torch.equal(ee.target_index, doubt.argsort(dim=1, descending=True, stable=True)[:, :8])
    assert not torch.equal(ee.target_index, ee.class_attention.flatten(1).argsort(1, descending=True)[:, :8])


def test_the_plain_network_answers_for_every_cell_in_the_order_of_the_image(new_model: Any) -> None:
    model = new_model(DensePlainViT, config=CONFIG)
    torch.nn.init.zeros_(model.head.weight)
    model.head.weight.data[0, 0] = 1
    tokens = torch.zeros(1, 65, 16)
    tokens[0, 1:, 0] = CELL.flatten()
    torch.nn.init.zeros_(model.head.bias)
    assert torch.equal(model.answer(tokens)[0, :, :, 0], CELL)


def test_selection_by_doubt_is_refused_for_a_classifier() -> None:
    with pytest.raises(ConfigError, match="--task dense"):
        ModelConfig(selection="uncertain")


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="task must be one of classify, dense"):
        ModelConfig(task="segment")  # type: ignore[arg-type]


# Checkpoints


def test_a_checkpoint_keeps_its_task(model: Any, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.pth", model, Preprocessing(64))
    loaded = load_checkpoint(tmp_path / "model.pth")
    assert type(loaded.model) is DenseTwoStageViT and loaded.config == CONFIG


def test_bare_weights_with_a_coarse_head_are_dense(model: Any, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    assert load_checkpoint(tmp_path / "bare.pth", heads=2).config.task == "dense"


def test_a_plain_dense_checkpoint_keeps_its_task(new_model: Any, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "plain.pth", new_model(DensePlainViT, config=CONFIG), Preprocessing(64))
    assert type(load_plain(tmp_path / "plain.pth")[0]) is DensePlainViT


def test_a_checkpoint_without_a_task_is_a_classifier(config: ModelConfig, new_model: Any, tmp_path: Path) -> None:
    entries = {key: value for key, value in config.to_dict().items() if key != "task"}
    torch.save({"model": new_model(config=config).state_dict(), "config": entries}, tmp_path / "old.pth")
    assert load_checkpoint(tmp_path / "old.pth").config == config


def test_a_classifier_s_weights_with_the_task_dense_are_refused_by_the_missing_head(
    config: ModelConfig, new_model: Any, write: Any, refusal: Any
) -> None:
    content = {"model": new_model(config=config).state_dict(), "config": config.to_dict() | {"task": "dense"}}
    assert "coarse_head.weight" in refusal(write(content))


def test_a_classifier_starts_a_dense_network_without_its_coarse_head(
    config: ModelConfig, new_model: Any, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "model.pth", new_model(config=config), Preprocessing(32))
    started = new_model(DenseTwoStageViT, config=replace(config, task="dense"))
    assert start_from(started, tmp_path / "model.pth").initialised == ["coarse_head.weight", "coarse_head.bias"]


def test_every_task_has_its_networks() -> None:
    assert NETWORKS["classify"].two_stage is TwoStageViT and set(NETWORKS) == {"classify", "dense"}
