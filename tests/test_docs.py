"""The pages of docs/: what they state about break-even follows from the measured files, and every page is in the navigation."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sacvit.model.config import preset
from sacvit.model.cost import DERIVED_EXIT_RATE, count_cost

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "why-two-stages.md").read_text()
DIGITS = json.loads((ROOT / "docs" / "digits" / "numbers.json").read_text())
TIMES = {row["eta"]: row for row in DIGITS["eta"]}
EE_MS, BOTH_MS, PLAIN_MS = TIMES[0.0]["ms"], TIMES[1.0]["ms"], DIGITS["plain"]["ms"]


def chain_ms(exit_rate: float) -> float:
    return EE_MS + (1 - exit_rate) * (BOTH_MS - EE_MS)


def test_the_worked_example_has_the_measured_times():
    for row in (f"{EE_MS} ms", f"{BOTH_MS} ms, so SAC takes {BOTH_MS - EE_MS:.3f} ms", f"{PLAIN_MS} ms"):
        assert f"| {row} |" in PAGE


def test_the_break_even_of_the_example_is_the_formula_s():
    assert (
        f"p* = ({BOTH_MS} - {PLAIN_MS}) / {BOTH_MS - EE_MS:.3f} = {(BOTH_MS - PLAIN_MS) / (BOTH_MS - EE_MS):.2f}"
        in PAGE
    )


def test_the_example_s_times_and_gain_follow_from_the_exit_rate():
    stored = TIMES[DIGITS["stored_eta"]]
    text = " ".join(PAGE.split())
    predicted = f"the formula gives {chain_ms(stored['exit_rate']):.2f} ms, and {stored['ms']:.2f} ms was measured"
    assert f"{100 * stored['exit_rate']:.0f} % exit: {predicted}. That is {PLAIN_MS / stored['ms']:.2f} times" in text
    assert f"At an exit rate of 30 % the formula gives {chain_ms(0.3):.2f} ms, which is slower" in text
    assert chain_ms(0.3) > PLAIN_MS


def test_counts_of_operations_are_the_cost_model_s():
    macs = DIGITS["megamacs"]
    assert f"({macs['ee']} million for EE, {macs['sac']} for SAC, {macs['plain']} for the plain ViT)" in PAGE
    assert macs["ee"] + macs["sac"] < macs["plain"]
    assert (
        f"{count_cost(preset('deit-s')).speedup_limit(DERIVED_EXIT_RATE):.2f} times fewer multiply-adds at 77 %" in PAGE
    )


def test_gains_on_a_cpu_are_the_measured_ones():
    for result in json.loads((ROOT / "docs" / "measured" / "chain.json").read_text())["results"]:
        assert f"{result['speedup']['median']:.2f}" in PAGE


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r": ([a-z0-9-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")}
