"""A candidate's own process: what it answers, and what is said of one that does not."""

from __future__ import annotations

import os
import signal

import pytest

from sacvit.bundle.errors import PlanError
from sacvit.export.choice import turns
from sacvit.export.choice.turns import Turns


@pytest.fixture
def spec(bundle):
    return {"folder": str(bundle), "ee": str(bundle / "ee.onnx"), "sac": str(bundle / "sac.onnx"), "provider": "cpu"}


def test_a_process_answers_turns_of_any_size_and_ends_with_the_context(spec):
    with Turns("it", spec) as candidate:
        found = [candidate.turn(size, 1) for size in (1, 4)]
        process = candidate._process
    assert all(turn["ee_ms"] > 0 and turn["sac_ms"] > 0 and turn["peak_mib"] > 20 for turn in found)
    assert candidate.start_s > 0 and process.returncode == 0


def test_a_process_that_is_killed_is_named_with_the_reason(spec):
    with Turns("it", spec) as candidate:
        os.kill(candidate._process.pid, signal.SIGKILL)
        candidate._process.wait()
        with pytest.raises(PlanError, match="it was killed: memory ran out"):
            candidate.turn(1, 1)


def test_a_candidate_that_cannot_be_loaded_is_named_with_what_it_raised(spec):
    with pytest.raises(PlanError, match=r"EngineError: .*nothing\.onnx does not exist"):
        Turns("it", spec | {"ee": spec["ee"].replace("ee.onnx", "nothing.onnx")})


def test_a_process_that_says_nothing_is_given_up(spec, monkeypatch):
    monkeypatch.setattr(turns, "START_S", 0.0)
    with pytest.raises(PlanError, match="it did not answer in 0 s"):
        Turns("it", spec)
