from __future__ import annotations

import pytest
from answers import make_answer
from prometheus_client.parser import text_string_to_metric_families


@pytest.fixture
def numbers(serve):
    """What Prometheus reads after three frames of two cameras: values by name and labels."""
    served = serve("front", "rear")
    for index, (stream, confidence) in enumerate([(0, 0.9), (0, 0.3), (1, 0.6)]):
        served.view.write(make_answer(index, stream, confidence=confidence, dropped=4))
    served.view.report_event({"event": "label=nut", "label": "nut"})
    served.view.sensors.update()
    status, text, headers = served.ask("/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_frames_are_counted_by_camera_and_path(numbers):
    assert numbers["sacvit_frames_total", "0", "exit"] == 1
    assert numbers["sacvit_frames_total", "0", "full"] == 1
    assert numbers["sacvit_frames_total", "1", "exit"] == 1
    assert numbers["sacvit_dropped_frames_total",] == 4


def test_times_are_seconds_in_cumulative_buckets(numbers):
    assert numbers["sacvit_stage_seconds_bucket", "0.001", "EE"] == 0
    assert numbers["sacvit_stage_seconds_bucket", "0.002", "EE"] == 3
    assert numbers["sacvit_stage_seconds_count", "SAC"] == 1
    assert numbers["sacvit_path_seconds_sum", "full"] == pytest.approx(0.008)
    assert numbers["sacvit_confidence_bucket", "0.5"] == 1
    assert numbers["sacvit_frame_age_seconds_sum",] == pytest.approx(0.036)


def test_threshold_events_and_sensors_are_there(numbers):
    assert numbers["sacvit_threshold",] == 0.5
    assert numbers["sacvit_events_total", "label=nut"] == 1
    assert numbers["sacvit_temperature_celsius", "gpu"] == 48.5
    assert numbers["sacvit_power_watts", "VDD_IN"] == 4.5
    assert numbers["process_resident_memory_bytes",] > 1e6
