"""A gate for video: it reduces flicker, keeps a deadline, and sends some exits to SAC as well, to compare the answers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ...bundle.gating import may_exit
from ..options import VideoOptions
from ..percentiles import percentile
from .gate import Gate

KEPT_PASSES = 64  # of SAC: their 95th percentile must fit into the deadline
PROBE_S = 2.0  # without a pass of SAC, one is run after an answer, to learn its time again


class LiveGate(Gate):
    """See `Gate`. It has a memory: use one object per run.

    hysteresis h: a stream whose last image exited exits while 1 - confidence is at most (1 - eta) * (1 + h); one whose last
    image went on exits only below (1 - eta) / (1 + h). At eta 0.95 and h 0.5, these are confidences of 0.925 and 0.967.
    deadline_ms: from the capture of the oldest image to its answer. If SAC's rolling 95th percentile does not fit into the time
    left, EE's answer is used, marked as degraded. shadow: the share of the exits that SAC answers too, only for `agreed`.
    """

    def __init__(
        self,
        threshold: float,
        temperature: float | None = None,
        *,
        video: VideoOptions,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(threshold, temperature)
        self.hysteresis, self.deadline_ms, self.shadow = video.hysteresis, video.deadline_ms, video.shadow
        self._clock, self._random = clock, np.random.default_rng(seed)
        self._exited: dict[int, bool] = {}  # by stream: whether its last image was sure
        self._sac_ms: dict[int, deque[float]] = {}  # by number of images in the pass
        self._streams: Sequence[int] = ()
        self._began = self._learnt_at = clock()

    def begin(self, streams: Sequence[int], since_s: float | None = None) -> None:
        """Announces the images of the next pass by their streams, in the order of the slots.

        since_s: when the oldest of them was taken, on the gate's clock. The deadline starts then; without it, now.
        """
        self._streams, self._began = streams, self._clock() if since_s is None else since_s

    def forget(self) -> None:
        """See `Gate`: forgets SAC's times, and which streams exited."""
        self._sac_ms.clear()
        self._exited.clear()

    def learn(self, sac_ms: float, images: int) -> None:
        """Takes the time of a pass of SAC over so many images. After a pause, earlier times are out of date: they are
        dropped."""
        if self._clock() - self._learnt_at > PROBE_S:
            self._sac_ms.clear()
        self._sac_ms.setdefault(images, deque(maxlen=KEPT_PASSES)).append(sac_ms)
        self._learnt_at = self._clock()

    def expected_ms(self, images: int) -> float:
        """The 95th percentile of the last passes over so many images, or over the nearest number of them; 0 at first."""
        if not self._sac_ms:
            return 0.0
        nearest = min((known for known in self._sac_ms if known >= images), default=max(self._sac_ms))
        return percentile(self._sac_ms[nearest], 95) * max(1.0, images / nearest)

    @property
    def wants_warm_up(self) -> bool:
        return self.deadline_ms is not None

    @property
    def wants_probe(self) -> bool:
        """Whether SAC has been left out for so long that its time is out of date."""
        return bool(self.degraded) and self._clock() - self._learnt_at > PROBE_S

    def survivors(self, confidence: npt.NDArray[np.float32], row: npt.NDArray[np.int32]) -> int:
        """See `Gate`. Rows behind those of survivors are of shadows; `shadows` and `degraded` hold the images."""
        self.shadows, self.degraded = frozenset(), frozenset()
        count = self._unsure(confidence, row)
        if self.deadline_ms is not None and count:
            left_ms = self.deadline_ms - 1e3 * (self._clock() - self._began)
            if self.expected_ms(count) > left_ms:
                self.degraded = frozenset(int(image) for image in row[:count])
                return 0
        going = set(row[:count].tolist())
        if self.shadow and self.deadline_ms is None:  # with a deadline there is no time for shadows
            shadows = [
                image for image in range(len(confidence)) if image not in going and self._random.random() < self.shadow
            ]
            row[count : count + len(shadows)] = shadows
            self.shadows = frozenset(shadows)
            count += len(shadows)
        return count

    def _unsure(self, confidence: npt.NDArray[np.float32], row: npt.NDArray[np.int32]) -> int:
        """The images that go on, each judged by the last image of its stream."""
        if not self.hysteresis:
            return super().survivors(confidence, row)
        super().survivors(confidence, row)  # raises for NaN
        count = 0
        for image, value in enumerate(confidence):
            stream = self._streams[image] if image < len(self._streams) else 0
            before = self._exited.get(stream)
            factor = 1.0 if before is None else 1 + self.hysteresis if before else 1 / (1 + self.hysteresis)
            exits = bool(may_exit(value, max(1 - (1 - self.threshold) * factor, 0.0))) and self.threshold < 1
            self._exited[stream] = exits
            if not exits:
                row[count] = image
                count += 1
        return count
