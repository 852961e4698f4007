from __future__ import annotations

import json
import re

import pytest

from sacvit.profiles.power.rails import load_rails, step_mw, total_of


def test_vddq_of_an_agx_orin_is_not_counted_twice():
    rails = {"VDD_GPU_SOC": 1000, "VDD_CPU_CV": 200, "VIN_SYS_5V0": 30, "VDDQ_VDD2_1V8AO": 5}
    assert total_of(rails)[0] == 1230


def test_an_input_rail_is_the_total_and_its_children_are_not_added():
    assert total_of({"VDD_IN": 5000, "VDD_CPU_GPU_CV": 2000, "VDD_SOC": 1000})[0] == 5000


def test_one_rail_of_a_total_missing_is_no_total():
    for total in load_rails().totals:
        if len(total.rails) > 1:
            assert total_of(dict.fromkeys(total.rails[1:], 1.0)) is None


def test_rails_that_no_record_names_have_neither_total_nor_step():
    assert total_of({"FOO": 3}) is None and step_mw("FOO") is None


def test_the_step_of_a_rail_is_that_of_its_board():
    assert step_mw("VDD_GPU_SOC") == 400.0


TOTAL = {"modules": "A", "rails": ["VDD_IN"], "source": "a log"}
STEPS = {"modules": "A", "rails": ["VDD_IN"], "step_mw": 40, "source": "a log"}


@pytest.mark.parametrize(
    ("totals", "steps", "words"),
    [
        ([{**TOTAL, "source": ""}], [], "length >= 1 - at `$.totals[0].source`"),
        ([{**TOTAL, "rails": []}], [], "length >= 1 - at `$.totals[0].rails`"),
        ([], [{**STEPS, "step_mw": 0}], "> 0.0 - at `$.steps[0].step_mw`"),
        ([], [STEPS, STEPS], "a rail has two steps"),
        ([{**TOTAL, "rails": "VDD_IN"}], [], "Expected `array`, got `str` - at `$.totals[0].rails`"),
    ],
)
def test_a_record_that_cannot_be_meant_is_refused_by_its_place(tmp_path, totals, steps, words):
    (tmp_path / "rails.json").write_text(json.dumps({"totals": totals, "steps": steps}))
    with pytest.raises(ValueError, match=re.escape(words)):
        load_rails(tmp_path / "rails.json")
