from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacvit.bundle.errors import EngineError
from sacvit.bundle.files import sha256_of
from sacvit.bundle.manifest import StageRecord
from sacvit.bundle.plan_record import Gpu, PlanRecord, read_plan_record, require_place, require_whole, sidecar
from sacvit.bundle.preprocess import Preprocessing

ORIN_NANO = Gpu("Orin", "8.7", 8)


@pytest.fixture
def plan(tmp_path: Path) -> tuple[Path, PlanRecord]:
    path = tmp_path / "ee.plan"
    path.write_bytes(b"plan" * 1000)
    stage = StageRecord("EE", {"classes": 5}, Preprocessing(32), None, "c" * 64, "e" * 64, "f" * 64, 0.5, "default")
    record = PlanRecord(
        stage, sha256_of(path), 4000, "ee.onnx", "a" * 64, "10.3.0", ORIN_NANO, (1, 8), 8, {"seconds": 3.0}
    )
    record.write(path)
    return path, record


def test_what_was_written_is_read(plan):
    assert read_plan_record(plan[0]) == plan[1]


def test_a_missing_plan_is_told_with_the_next_command(tmp_path):
    with pytest.raises(EngineError, match=r"sac\.plan does not exist\. Build it here: sacvit-build"):
        read_plan_record(tmp_path / "sac.plan")


def test_a_plan_without_its_sidecar_is_refused(plan):
    sidecar(plan[0]).unlink()
    with pytest.raises(
        EngineError, match=r"ee\.plan\.json is missing: without it nobody can tell which TensorRT"
    ) as fault:
        read_plan_record(plan[0])
    assert fault.value.exit_code == 4


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 9}',
        '{"format": 1}',
        '{"format": 1, "record": 3}',
        "[" * 5000,
        '{"format": 1, "record": {}}',
    ],
)
def test_a_damaged_sidecar_is_one_message(plan, content):
    sidecar(plan[0]).write_text(content)
    with pytest.raises(EngineError, match=r"ee\.plan\.json (is damaged|carries no sacvit record)"):
        read_plan_record(plan[0])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(
        [
            "plan_sha256",
            "plan_bytes",
            "onnx",
            "onnx_sha256",
            "tensorrt",
            "gpu",
            "batches",
            "capacity",
            "build",
            "verification",
        ]
    ),
    value=st.one_of(st.none(), st.text(max_size=3), st.integers(-5, -1), st.lists(st.text(max_size=2), max_size=2)),
)
def test_whatever_stands_in_a_field_a_sidecar_is_read_or_damaged(plan, key, value):
    path, record = plan
    record.write(path)
    content = json.loads(sidecar(path).read_text())
    content[key] = value
    sidecar(path).write_text(json.dumps(content))
    try:
        read_plan_record(path)
    except EngineError as fault:
        assert "is damaged" in str(fault)
    else:
        assert isinstance(value, str) and key in ("plan_sha256", "onnx", "onnx_sha256", "tensorrt")


@pytest.mark.parametrize(("change", "word"), [(slice(0, 3000), "was cut short: 3000 bytes, 4000 were built")])
def test_a_truncated_plan_is_refused_with_both_sizes(plan, change, word):
    path, record = plan
    path.write_bytes(path.read_bytes()[change])
    with pytest.raises(EngineError, match=word):
        require_whole(path, record, path.read_bytes())


def test_a_plan_with_one_other_byte_is_refused(plan):
    path, record = plan
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(EngineError, match="its hash differs"):
        require_whole(path, record, path.read_bytes())


def test_an_untouched_plan_is_whole(plan):
    require_whole(*plan, plan[0].read_bytes())


@pytest.mark.parametrize(
    ("tensorrt", "gpu"),
    [
        ("10.16.2", ORIN_NANO),
        ("10.3.0", replace(ORIN_NANO, multiprocessors=16)),  # an AGX Orin is called Orin too
        ("10.3.0", replace(ORIN_NANO, name="Thor")),
        ("10.3.0", replace(ORIN_NANO, compute_capability="11.0")),
    ],
)
def test_a_plan_from_another_place_is_refused_with_both_places(plan, tensorrt, gpu):
    path, record = plan
    with pytest.raises(EngineError) as fault:
        require_place(path, record, tensorrt, gpu)
    assert str(fault.value) == (
        f"{path} was built by TensorRT 10.3.0 on Orin (sm_87, 8 multiprocessors); this machine has {tensorrt} on {gpu}."
        f" Build it here: sacvit-build {path.parent}"
    )


def test_a_power_mode_that_turns_multiprocessors_off_is_named(plan):
    path, record = plan
    built = replace(record, build={"power_mode": "MAXN"})
    with pytest.raises(EngineError, match=r"Power modes turn multiprocessors off; it was built in MAXN\."):
        require_place(path, built, "10.3.0", replace(ORIN_NANO, multiprocessors=4))
    with pytest.raises(EngineError, match=r"^((?!Power).)*$"):
        require_place(path, built, "10.3.0", replace(ORIN_NANO, name="Thor"))


def test_a_gpu_whose_numbers_are_no_texts_is_damaged(plan):
    path, _ = plan
    content = json.loads(sidecar(path).read_text())
    content["gpu"] |= {"compute_capability": 16, "multiprocessors": 16}
    sidecar(path).write_text(json.dumps(content))
    with pytest.raises(EngineError, match="a name or hash is no text"):
        read_plan_record(path)


def test_a_plan_built_here_is_at_its_place(plan):
    require_place(*plan, "10.3.0", ORIN_NANO)
