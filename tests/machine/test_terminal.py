"""What other people's text may not do to a terminal."""

from __future__ import annotations

import pytest

from sacvit.machine.terminal import terminal_safe


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\nb", "bell\x07", "\u202egnp.exe", "half\ud800", "\x9b2J", "a\rb"])
def test_a_character_that_steers_a_terminal_is_replaced(text: str) -> None:
    assert terminal_safe(text).isprintable()


def test_letters_of_any_script_stay() -> None:
    assert terminal_safe("Schraube, 螺丝, гайка é") == "Schraube, 螺丝, гайка é"
