"""Damage for the results that pages are made of."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

JUNK = [None, True, -1, 0, 1e300, float("nan"), 10**400, "", "x", "<b>", [], {}, [1], {"a": 1}]


@pytest.fixture
def spoilt() -> Callable[[Any, Random], Any]:
    """A copy of some JSON with one value somewhere replaced by JUNK or removed."""

    def spoil(content: Any, choose: Random) -> Any:
        content = copy.deepcopy(content)
        place = content
        while True:
            key = choose.choice(list(place) if isinstance(place, dict) else list(range(len(place))))
            if isinstance(place[key], dict | list) and place[key] and choose.random() < 0.9:
                place = place[key]
            elif choose.random() < 0.3:
                del place[key]
                return content
            else:
                place[key] = choose.choice(JUNK)
                return content

    return spoil
