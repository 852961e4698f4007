"""What a recipe may be, and its schedules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.errors import ConfigError
from sacvit.training.recipe import Recipe, average_decay, learning_rate_at


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


@given(steps=st.integers(1, 500), share=st.floats(0, 0.5))
def test_the_learning_rate_rises_then_falls_and_stays_above_0(steps: int, share: float) -> None:
    recipe = Recipe(learning_rate=1.0, warmup_share=share)
    rates = [learning_rate_at(recipe, step, steps) for step in range(steps)]
    peak = rates.index(max(rates))
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True) and 0 < min(rates) <= max(rates) <= 1


def test_the_average_s_decay_begins_low_and_ends_at_the_recipe_s() -> None:
    recipe = Recipe(average=0.99)
    assert average_decay(recipe, 0) == 0.1 and average_decay(recipe, 10_000) == 0.99
