"""Counters and histograms of the gate, among Triton's own at /metrics.

The exit rate is the load: a survivor costs several times what an exit does, so that requests alone say little.
"""

from __future__ import annotations

import triton_python_backend_utils as pb_utils

BUCKETS_MS = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]
BATCH_BUCKETS = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]


class Metrics:
    """Of one model, summed over its instances. `outcome` is answered, refused (the client's fault) or failed (ours)."""

    def __init__(self, model: str, version: str) -> None:
        labels = {"model": model, "version": version}
        family, counter, histogram = (
            pb_utils.MetricFamily,
            pb_utils.MetricFamily.COUNTER,
            pb_utils.MetricFamily.HISTOGRAM,
        )
        self._families = [  # a metric lives as long as its family
            family(name="sacvit_images_total", description="Images by the stage that answered", kind=counter),
            family(name="sacvit_requests_total", description="Requests by their outcome", kind=counter),
            family(name="sacvit_stage_ms", description="Time of a pass by stage, in ms", kind=histogram),
            family(
                name="sacvit_path_ms", description="From a batch's begin to an image's answer, in ms", kind=histogram
            ),
            family(name="sacvit_batch_images", description="Images in a batch", kind=histogram),
            family(name="sacvit_batch_survivors", description="Of them, those that went on to SAC", kind=histogram),
        ]
        images, requests, stages, paths, batch, survivors = self._families
        self.images = {stage: images.Metric(labels=labels | {"stage": stage}) for stage in ("EE", "SAC")}
        self.requests = {
            outcome: requests.Metric(labels=labels | {"outcome": outcome})
            for outcome in ("answered", "refused", "failed")
        }
        self.stages = {
            stage: stages.Metric(labels=labels | {"stage": stage}, buckets=BUCKETS_MS) for stage in ("EE", "SAC")
        }
        self.paths = {
            stage: paths.Metric(labels=labels | {"path": path}, buckets=BUCKETS_MS)
            for stage, path in (("EE", "exit"), ("SAC", "full"))
        }
        self.batch = batch.Metric(labels=labels, buckets=BATCH_BUCKETS)
        self.survivors = survivors.Metric(labels=labels, buckets=[0.0, *BATCH_BUCKETS])
