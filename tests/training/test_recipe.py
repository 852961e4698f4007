"""The paper's loss, phases and schedule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sacvit.bundle.errors import ConfigError
from sacvit.model.config import preset
from sacvit.model.network import PlainViT, TwoStageViT
from sacvit.training import recipe as recipe_module
from sacvit.training.recipe import Recipe, average_decay, decay_groups, learning_rate_at, two_stage_loss

CONFIG = preset("demo", image_size=32, patch_size=8, width=16, depth=4, heads=2, hidden=16, classes=3)


@pytest.fixture
def model() -> TwoStageViT:
    torch.manual_seed(0)
    model = TwoStageViT(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (4, 32, 32, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


LABELS = torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs and batch must be at least 1, found 0 and 128"),
        ({"batch": 0}, "epochs and batch must be at least 1, found 350 and 0"),
        ({"unclustered_epochs": -1}, r"unclustered epochs must lie in 0 \.\. 350 \(the epochs\), found -1"),
        ({"unclustered_epochs": 351}, r"unclustered epochs must lie in 0 \.\. 350 \(the epochs\), found 351"),
        ({"curriculum": -0.1}, r"the curriculum's share must lie in \[0, 1\], found -0.1"),
        ({"curriculum": 1.1}, r"the curriculum's share must lie in \[0, 1\], found 1.1"),
        ({"curriculum": float("nan")}, "the curriculum's share must lie in .*, found nan"),
        ({"warmup_share": 2.0}, r"the warm-up's share must lie in \[0, 1\], found 2.0"),
        ({"weight_decay": -1.0}, "the weight decay must be at least 0, found -1.0"),
        ({"weight_decay": float("nan")}, "the weight decay must be at least 0, found nan"),
        ({"seed": -1}, "the seed must be at least 0, found -1"),
        ({"learning_rate": 0.0}, "the learning rate must be above 0, found 0.0"),
        ({"learning_rate": float("nan")}, "the learning rate must be above 0, found nan"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe(**changes)


def test_the_default_recipe_is_the_paper_s() -> None:
    assert (Recipe().epochs, Recipe().unclustered_epochs) == (350, 200)


def test_the_learning_rate_rises_in_a_line_to_its_peak() -> None:
    recipe = Recipe(learning_rate=1.0, warmup_share=0.04)
    assert [learning_rate_at(recipe, step, 100) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_the_learning_rate_falls_to_one_hundredth() -> None:
    assert learning_rate_at(Recipe(learning_rate=1.0), 100, 100) == pytest.approx(0.01)


def test_the_learning_rate_is_half_way_down_in_the_middle_of_the_cosine() -> None:
    recipe = Recipe(learning_rate=1.0, warmup_share=0.1)
    assert learning_rate_at(recipe, 55, 100) == pytest.approx(0.505)


@settings(max_examples=80, deadline=None)
@given(steps=st.integers(1, 500), share=st.floats(0, 0.5))
def test_the_learning_rate_rises_then_falls_and_stays_above_0(steps: int, share: float) -> None:
    recipe = Recipe(learning_rate=1.0, warmup_share=share)
    rates = [learning_rate_at(recipe, step, steps) for step in range(steps)]
    peak = rates.index(max(rates))
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True) and 0 < min(rates) <= max(rates) <= 1


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
def test_every_parameter_learns(model: TwoStageViT, images: Any, clustered: bool) -> None:
    two_stage_loss(model, images, LABELS, clustered).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("kind", [TwoStageViT, PlainViT])
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
    whole = recipe_module.F.cross_entropy

    def watch(*arguments: Any, **named: Any) -> torch.Tensor:
        seen.append(named)
        return whole(*arguments, **named)

    monkeypatch.setattr(recipe_module.F, "cross_entropy", watch)
    config = preset("demo", image_size=32, patch_size=4, width=16, depth=4, heads=2, hidden=32, classes=5)
    two_stage_loss(TwoStageViT(config), torch.zeros(2, 32, 32, 3, dtype=torch.uint8), torch.tensor([0, 1]), True, 0.1)
    assert seen == [{"label_smoothing": 0.1}]


def test_the_average_s_decay_begins_low_and_ends_at_the_recipe_s() -> None:
    recipe = Recipe(average=0.99)
    assert average_decay(recipe, 0) == 0.1 and average_decay(recipe, 10_000) == 0.99
