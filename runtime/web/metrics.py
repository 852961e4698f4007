"""GET /metrics: what was counted, in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .counters import Counters, Distribution
from .sensors import Sensors

Gauge = tuple[str, str, float]  # name, help and value


class Metrics(Collector):
    """about: what runs, as labels. live: further gauges, asked for at every request."""

    def __init__(
        self,
        counters: Counters,
        about: Mapping[str, str],
        live: Callable[[], list[Gauge]],
        sensors: Sensors,
    ) -> None:
        self._counters, self._about, self._live, self._sensors = counters, dict(about), live, sensors
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """The answer's body; its type is `CONTENT_TYPE_LATEST`."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._of_cameras()
        counters = self._counters
        for name, text, found in (
            ("sacvit_stage_seconds", "Time of a pass of a stage, for each of its images", counters.stages),
            ("sacvit_path_seconds", "Preprocessing and all stages of a frame, by its path", counters.paths),
        ):  # fmt: skip
            label = "stage" if "stage" in name else "path"
            family = HistogramMetricFamily(name, text, labels=[label])
            for key, distribution in found.items():
                _add(family, [key], distribution)
            yield family
        for name, text, one in (
            ("sacvit_frame_age_seconds", "From the moment that a frame was taken to its answer", counters.age),
            ("sacvit_confidence", "Confidence of EE, which the threshold is compared with", counters.confidence),
        ):
            family = HistogramMetricFamily(name, text)
            _add(family, [], one)
            yield family
        yield CounterMetricFamily("sacvit_dropped_frames", "Frames that a newer one overtook", counters.dropped)
        events = CounterMetricFamily("sacvit_events", "Events, by the expression of --on", labels=["event"])
        for name, count in list(counters.events.items()):
            events.add_metric([name], count)
        yield events
        for name, text, value in self._live():
            yield GaugeMetricFamily(name, text, value)
        about = GaugeMetricFamily("sacvit_info", "What runs", labels=list(self._about))
        about.add_metric(list(self._about.values()), 1)
        yield about
        yield from self._of_sensors()

    def _of_cameras(self) -> Iterator[Metric]:
        cameras = [(str(number), one) for number, one in enumerate(self._counters.cameras)]
        frames = CounterMetricFamily("sacvit_frames", "Frames, by what became of them", labels=["camera", "path"])
        silent = GaugeMetricFamily("sacvit_camera_silent_seconds", "Since the camera's last answer", labels=["camera"])
        stalled = GaugeMetricFamily("sacvit_camera_stalled", "1 for a camera without frames", labels=["camera"])
        for number, one in cameras:
            frames.add_metric([number, "exit"], one.exits)
            frames.add_metric([number, "degraded"], one.degraded)
            frames.add_metric([number, "full"], one.frames - one.exits - one.degraded)
            silent.add_metric([number], self._counters.silent_s(one))
            stalled.add_metric([number], self._counters.is_stalled(one))
        yield from (frames, silent, stalled)

    def _of_sensors(self) -> Iterator[Metric]:
        read = self._sensors.last
        heat = GaugeMetricFamily("sacvit_temperature_celsius", "Temperature of a zone", labels=["zone"])
        for name, value in read.temperatures.items():
            heat.add_metric([name], value)
        power = GaugeMetricFamily("sacvit_power_watts", "Power of a rail", labels=["rail"])
        for name, value in read.watts.items():
            power.add_metric([name], value)
        yield from (heat, power)


def _add(family: HistogramMetricFamily, labels: list[str], found: Distribution) -> None:
    counts = list(accumulate(found.counts))
    bounds = [*map(str, found.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, counts, strict=True)), found.total)
