from __future__ import annotations

import json

import pytest

from sacvit.profiles.timing.trtexec import Pass, summary_lines, write_times


def passes(compute_ms: list[float], enqueue_ms: float = 0.1) -> list[Pass]:
    return [Pass((0, enqueue_ms), (0, 0.2), (0.2, 0.2 + value), (0.2 + value, 0.3 + value)) for value in compute_ms]


def test_latency_is_copies_and_kernels_without_the_host():
    assert passes([1.0])[0].latency_ms == pytest.approx(1.3)


def test_the_summary_has_trtexecs_lines_in_its_order():
    names = [line.partition(":")[0] for line in summary_lines(passes([1.0] * 4), wall_s=2)]
    assert names == [
        "Throughput", "Latency", "Enqueue Time", "H2D Latency", "GPU Compute Time", "D2H Latency",
        "Total Host Walltime", "Total GPU Compute Time",
    ]  # fmt: skip


def test_throughput_is_passes_over_wall_time():
    assert summary_lines(passes([1.0] * 4), wall_s=2)[0] == "Throughput: 2 qps"


def test_a_steady_engine_is_not_warned_of():
    assert not any("warning" in line for line in summary_lines(passes([1.0] * 4), 1))


def test_an_enqueue_time_near_the_gpus_is_warned_of():
    assert any("bound by enqueue time" in line for line in summary_lines(passes([1.0] * 4, enqueue_ms=0.81), 1))


def test_a_gpu_time_that_varies_is_warned_of():
    assert any("unstable" in line for line in summary_lines(passes([1.0, 1.2, 1.0, 1.2]), 1))


def test_exported_times_have_trtexecs_keys(tmp_path):
    write_times(passes([1.0, 2.0]), tmp_path / "times.json")
    rows = json.loads((tmp_path / "times.json").read_text())
    assert len(rows) == 2 and set(rows[0]) == {
        "startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs", "startD2hMs", "endD2hMs",
        "h2dMs", "computeMs", "d2hMs", "latencyMs",
    }  # fmt: skip
    assert rows[1]["computeMs"] == pytest.approx(2.0) and rows[1]["latencyMs"] == pytest.approx(2.3)
