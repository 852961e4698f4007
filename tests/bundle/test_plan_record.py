from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sacvit.bundle.errors import EngineError
from sacvit.bundle.files import sha256_of
from sacvit.bundle.plan_record import Gpu, PlanRecord, read_plan_record, require_place, require_whole, sidecar
from sacvit.bundle.preprocess import Preprocessing
from sacvit.bundle.records import encode_record
from sacvit.bundle.stage_record import StageRecord

ORIN_NANO = Gpu("Orin", "8.7", 8)


@pytest.fixture
def plan(tmp_path: Path) -> tuple[Path, PlanRecord]:
    path = tmp_path / "ee.plan"
    path.write_bytes(b"plan" * 1000)
    stage = StageRecord("EE", {"classes": 5}, Preprocessing(32), None, "c" * 64, "e" * 64, "f" * 64, 0.5, "default")
    record = PlanRecord(
        record=stage,
        plan_sha256=sha256_of(path),
        plan_bytes=4000,
        onnx="ee.onnx",
        onnx_sha256="a" * 64,
        tensorrt="10.3.0",
        gpu=ORIN_NANO,
        batches=(1, 8),
        capacity=8,
        build={"seconds": 3.0},
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
    with pytest.raises(EngineError, match=r"ee\.plan\.json is missing: it says which TensorRT") as fault:
        read_plan_record(plan[0])
    assert fault.value.exit_code == 4


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({"batches": []}, "batches"),
        ({"capacity": -1}, "capacity"),
        ({"gpu": {"name": 3}}, "gpu"),
        ({"record": 3}, "record"),
    ],
)
def test_a_record_that_cannot_be_is_refused_with_its_place(plan, entry, place):
    content = json.loads(sidecar(plan[0]).read_text())
    sidecar(plan[0]).write_bytes(encode_record(content | entry))
    with pytest.raises(EngineError, match=rf"ee\.plan\.json is damaged: .*\$\.{place}.*sacvit-build"):
        read_plan_record(plan[0])


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


def test_a_plan_built_here_is_at_its_place(plan):
    require_place(*plan, "10.3.0", ORIN_NANO)
