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


def test_the_tables_of_where_clustering_fails_are_the_measured_ones():
    numbers = json.loads((ROOT / "docs" / "digits" / "failing.json").read_text())
    page = (ROOT / "docs" / "where-clustering-fails.md").read_text()

    def shown(one: dict[str, float], sign: str = "") -> str:
        return "{:{s}.1f} ({:{s}.1f} to {:{s}.1f})".format(*(100 * one[k] for k in ("value", "low", "high")), s=sign)

    rows = [
        [f"{100 * one['least']:g} to {100 * one['most']:g} %", one["scenes"]]
        + [shown(one[name]) for name in ("ee_top1", "sac_top1", "oracle_top1")]
        + [shown(one["oracle_gain"], "+")]
        for one in numbers["by_share"]
    ]
    stages = ("EE", "SAC, random", "SAC, attention", "SAC, leave-one-out", "SAC, oracle")
    parts = ("this rule only", "attention only", "neither")
    for kind, one in numbers["kinds"].items():
        against = [one["against_attention"][rule] for rule in ("leave-one-out", "entropy")]
        found = [
            text
            for rule in against
            for text in (shown(rule["of_missed_area_found"]), shown(rule["of_missed_area_found_over_chance"], "+"))
        ]
        rows += [
            [
                kind,
                one["scenes"],
                *(shown(one["top1"][stage]) for stage in stages),
                shown(one["lost"]["selection"], "+"),
            ],
            [kind, one["scenes"]]
            + [shown(one["inside"][rule]) for rule in ("attention", "leave-one-out", "entropy", "random")]
            + [shown(one["over_attention"][rule], "+") for rule in ("leave-one-out", "entropy", "both")],
            [kind, f"{against[0]['scenes_with_missed_area']} of {one['scenes']}"]
            + [shown(against[0]["area"][part]) for part in parts]
            + found,
        ]
    missing = [row for row in rows if f"| {' | '.join(map(str, row))} |" not in page]
    assert len(rows) == 22 and not missing


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r": ([a-z0-9-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")}
