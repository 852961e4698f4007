"""Counters and histograms of the gate, among Triton's own at /metrics.

The exit rate determines the load: a survivor costs several times as much as an exit, so the number of requests says little.
"""

from __future__ import annotations

import triton_python_backend_utils as pb_utils

BUCKETS_MS = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]
BATCH_BUCKETS = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
OUTCOMES = ("answered", "refused", "busy", "failed")  # refused: the client's fault; failed: ours


class Metrics:
    """Metrics of one model, summed over its instances; the queue is of each instance. See `chain.Observer`."""

    def __init__(self, model: str, version: str, instance: str) -> None:
        labels = {"model": model, "version": version}
        kinds = pb_utils.MetricFamily

        def family(name: str, description: str, kind: object) -> pb_utils.MetricFamily:
            return pb_utils.MetricFamily(name=name, description=description, kind=kind)

        self._families = [  # a metric lives as long as its family
            family("sacvit_images_total", "Images by the stage that answered", kinds.COUNTER),
            family("sacvit_requests_total", "Requests by their outcome", kinds.COUNTER),
            family("sacvit_stage_ms", "Time of a pass by stage, in ms", kinds.HISTOGRAM),
            family("sacvit_path_ms", "From the hand-over to an image's answer, in ms", kinds.HISTOGRAM),
            family("sacvit_batch_images", "Images in a batch", kinds.HISTOGRAM),
            family("sacvit_batch_survivors", "Of them, those that went on to SAC", kinds.HISTOGRAM),
            family("sacvit_queue_images", "Images handed over and not yet answered", kinds.GAUGE),
        ]
        images, requests, stages, paths, batch, survivors, queue = self._families
        self._images = {stage: images.Metric(labels=labels | {"stage": stage}) for stage in ("EE", "SAC")}
        self.requests = {outcome: requests.Metric(labels=labels | {"outcome": outcome}) for outcome in OUTCOMES}
        self._stages = {
            stage: stages.Metric(labels=labels | {"stage": stage}, buckets=BUCKETS_MS) for stage in ("EE", "SAC")
        }
        self._paths = {
            stage: paths.Metric(labels=labels | {"path": path}, buckets=BUCKETS_MS)
            for stage, path in (("EE", "exit"), ("SAC", "full"))
        }
        self._batch = batch.Metric(labels=labels, buckets=BATCH_BUCKETS)
        self._survivors = survivors.Metric(labels=labels, buckets=[0.0, *BATCH_BUCKETS])
        self._queue = queue.Metric(labels=labels | {"instance": instance})

    def answered(self, stage: str, images: int, elapsed_ms: float) -> None:
        self._images[stage].increment(images)
        for _ in range(images):
            self._paths[stage].observe(elapsed_ms)

    def batch(self, images: int, survivors: int, ee_ms: float, sac_ms: float) -> None:
        self._batch.observe(images)
        self._survivors.observe(survivors)
        self._stages["EE"].observe(ee_ms)
        if survivors:
            self._stages["SAC"].observe(sac_ms)

    def waiting(self, images: int) -> None:
        self._queue.set(images)
