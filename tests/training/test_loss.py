"""The paper's loss, and which weights decay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from sacvit.model.config import ModelConfig, preset
from sacvit.model.network import PlainViT, TwoStageViT
from sacvit.training import loss as loss_module
from sacvit.training.loss import decay_groups, two_stage_loss

CONFIG = preset("demo", image_size=32, patch_size=8, width=16, depth=4, heads=2, hidden=16, classes=3)


def new_model(config: ModelConfig) -> TwoStageViT:
    torch.manual_seed(0)
    model = TwoStageViT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def model() -> TwoStageViT:
    return new_model(CONFIG)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (4, 32, 32, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


LABELS = torch.tensor([0, 1, 2, 1])


def test_the_clustered_loss_is_sac_s_cross_entropy_and_ee_s_divergence(model: TwoStageViT, images: Any) -> None:
    ee = model.ee(images)
    sac = model.sac(images, ee.target_index, ee.target_context, ee.non_target)
    divergence = (sac.softmax(-1) * (sac.log_softmax(-1) - ee.logits.log_softmax(-1))).sum(-1).mean()
    torch.testing.assert_close(two_stage_loss(model, images, LABELS, True), F.cross_entropy(sac, LABELS) + divergence)


def test_the_unclustered_loss_takes_every_block_as_target(model: TwoStageViT, images: Any) -> None:
    ee, context = model.ee_of_all_blocks(images)
    sac = model.sac_of_all_blocks(images, context)
    divergence = (sac.softmax(-1) * (sac.log_softmax(-1) - ee.log_softmax(-1))).sum(-1).mean()
    torch.testing.assert_close(two_stage_loss(model, images, LABELS, False), F.cross_entropy(sac, LABELS) + divergence)


@pytest.mark.parametrize("clustered", [True, False])
def test_the_teacher_is_detached(
    model: TwoStageViT, images: Any, clustered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(F, "cross_entropy", lambda logits, labels, **named: logits.sum() * 0)  # the distillation alone
    two_stage_loss(model, images, LABELS, clustered).backward()
    assert model.pos_embed_list[1].grad is not None and not model.pos_embed_list[1].grad.any()  # only SAC uses it


@pytest.mark.parametrize("clustered", [True, False])
@pytest.mark.parametrize("changes", [{}, {"positions": "one"}, {"reuse": "outputs", "class_cluster": "both"}], ids=str)
def test_every_parameter_learns(images: Any, clustered: bool, changes: dict[str, str]) -> None:
    model = new_model(replace(CONFIG, **changes))
    two_stage_loss(model, images, LABELS, clustered).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def one_table(config: ModelConfig) -> TwoStageViT:
    return TwoStageViT(replace(config, positions="one"))


@pytest.mark.parametrize("kind", [TwoStageViT, PlainViT, one_table])
def test_only_matrices_decay(kind: Any) -> None:
    model = kind(CONFIG)
    decayed = {id(p) for p in decay_groups(model, 0.05)[0]["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in decayed}
    assert names == {
        name
        for name, _ in model.named_parameters()
        if name.endswith(("proj.weight", "qkv.weight", "fc1.weight", "fc2.weight", "head.weight"))
    }


def test_every_parameter_is_in_one_group() -> None:
    model = TwoStageViT(CONFIG)
    grouped = [id(p) for group in decay_groups(model, 0.05) for p in group["params"]]
    assert sorted(grouped) == sorted(map(id, model.parameters()))


def test_the_groups_carry_their_decay() -> None:
    assert [group["weight_decay"] for group in decay_groups(TwoStageViT(CONFIG), 0.05)] == [0.05, 0.0]


def test_label_smoothing_is_torch_s_of_the_sac_side(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    whole = loss_module.F.cross_entropy

    def watch(*arguments: Any, **named: Any) -> torch.Tensor:
        seen.append(named)
        return whole(*arguments, **named)

    monkeypatch.setattr(loss_module.F, "cross_entropy", watch)
    config = preset("demo", image_size=32, patch_size=4, width=16, depth=4, heads=2, hidden=32, classes=5)
    two_stage_loss(TwoStageViT(config), torch.zeros(2, 32, 32, 3, dtype=torch.uint8), torch.tensor([0, 1]), True, 0.1)
    assert seen == [{"label_smoothing": 0.1}]
