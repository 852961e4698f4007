"""The list of what the stand-ins for CUDA and TensorRT take for true: sources, twins in tests/gpu, and the code that enacts it.

Whether a belief and its twin agree is asked in test_dry_run.py; whether a GPU agrees with both, by make gpu-test.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
STAND_INS = [path for path in (ROOT / "fake_gpu").rglob("*.py") if path.name not in ("gpu_beliefs.py", "trim_api.py")]
ASKED = [ROOT / "gpu" / f"test_{name}.py" for name in ("cuda_memory", "cuda_streams", "building", "contexts", "rtx")]
SOURCE = re.compile(r"https://|docs/|tests/|bindings of|onnx/onnx-tensorrt|cuda-bindings")


def enacted(*by: str) -> set[str]:
    """The names that the stand-ins' code gives to `enacts` and `forbid`, or to one of them."""
    calls = [node for path in STAND_INS for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    ours = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in (by or ("enacts", "forbid"))]
    return {word.value for call in ours for word in call.args if isinstance(word, ast.Constant)}


def names_of_tests(paths: list[Path]) -> set[str]:
    nodes = [node for path in paths for node in ast.parse(path.read_text()).body]
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def faults(beliefs: Mapping[str, Any], named: set[str], twins: set[str]) -> list[str]:
    """What is wrong with the list, given the names in the stand-ins' code and the tests for a GPU."""
    found = [f"{name} stands in the code and not in the list" for name in named - set(beliefs)]
    for name, belief in beliefs.items():
        if not SOURCE.search(belief.source):
            found.append(f"{name} has no source")
        if not belief.says.endswith("."):
            found.append(f"{name} is no sentence")
        if belief.twin not in twins:
            found.append(f"{name} has no twin")
        if name not in named:
            found.append(f"{name} is enacted nowhere")
    return found


@pytest.fixture
def beliefs(fake_gpu: Any) -> dict[str, Any]:
    from gpu_beliefs import BELIEFS

    return dict(BELIEFS)


def test_every_belief_has_a_source_a_twin_and_code_that_enacts_it(beliefs):
    assert faults(beliefs, enacted(), names_of_tests([*(ROOT / "gpu").glob("test_*.py")])) == []


def test_everything_that_the_stand_in_forbids_is_planted(beliefs):
    nodes = [node for path in ASKED for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    marked = {node.name for node in nodes if "pytest.mark.forbidden" in map(ast.unparse, node.decorator_list)}
    files = [ROOT / "bindings" / "test_forbidden.py", *(ROOT / "runtime" / "engines").glob("test_*.py")]
    planted = "".join(path.read_text() for path in files)
    forbidden = enacted("forbid")
    assert len(forbidden) > 10
    assert {name for name in forbidden if f'"{name}"' not in planted and beliefs[name].twin not in marked} == set()


def test_what_a_source_names_of_the_bindings_is_there(beliefs):
    api = json.loads((ROOT / "fake_gpu" / "tensorrt" / "api" / "10.3.json").read_text())
    known = api["classes"] | api["enums"]
    sources = [belief.source for belief in beliefs.values() if "bindings of TensorRT 10.3: " in belief.source]
    named = [re.search(r"10\.3: (\w+)(?:\.(\w+))?", source).groups() for source in sources]
    assert len(named) > 20 and [(kind, name) for kind, name in named if name not in (None, *known[kind])] == []


def test_every_question_to_a_gpu_is_about_a_belief(beliefs):
    assert names_of_tests(ASKED) - {belief.twin for belief in beliefs.values()} == set()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": "common sense"}, "no source"),
        ({"twin": "test_of_nothing"}, "no twin"),
        ({"says": "dims"}, "sentence"),
    ],
)
def test_a_broken_belief_is_found(beliefs, changes, reason):
    broken = beliefs | {"dims": replace(beliefs["dims"], **changes)}
    (fault,) = faults(broken, enacted(), names_of_tests([*(ROOT / "gpu").glob("test_*.py")]))
    assert fault.startswith("dims") and reason in fault


@pytest.mark.parametrize(("named", "reason"), [({"a new one"}, "not in the list"), (None, "enacted nowhere")])
def test_code_and_list_must_name_the_same(beliefs, named, reason):
    code = enacted() | named if named else enacted() - {"dims"}
    (fault,) = faults(beliefs, code, names_of_tests([*(ROOT / "gpu").glob("test_*.py")]))
    assert reason in fault
