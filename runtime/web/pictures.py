"""The cameras' pictures for browsers, encoded while a browser shows them, and only as often as this machine can spare."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import msgspec

from ...machine.processor import usable_cores
from ..sinks.overlay import draw_region
from ..sinks.sink import Answer

LARGEST_SIDE = 640  # pixels of a picture that is sent
QUALITY = 75
LEAST_PAUSE_S = 0.1  # between two pictures of a camera
# Of all cores, for drawing and encoding. Engines wait for the slower of two threads: what one loses on its core, a pass loses.
SHARE = 0.005
MOST_SENT = 40.0  # pictures per second to all viewers together
NICENESS = 10  # what the chain leaves over


@dataclass(frozen=True)
class Picture:
    """message: camera (4 bytes, big-endian), length of the JSON (4 bytes), the answer as JSON, a JPEG file."""

    camera: int
    number: int
    message: bytes


class Pictures:
    """Newest frames in, pictures out. `offer` is called by the chain and costs a microsecond; a thread does the work."""

    def __init__(self, publish: Callable[[Picture], None], viewers: Callable[[], int]) -> None:
        """publish: takes each picture, in the thread of this object. viewers: how many browsers get it."""
        self._publish, self._viewers = publish, viewers
        self._newest: dict[int, Answer] = {}
        self._made: dict[int, int] = {}  # by camera: the index of the frame of the last picture
        self._wanted: set[int] = set()
        self._changed = threading.Condition()
        self._is_closed = threading.Event()
        self.made = 0
        self._thread = threading.Thread(target=self._work, name="web-pictures", daemon=True)
        self._thread.start()

    def offer(self, answer: Answer) -> None:
        """Takes an answer. Called by the chain."""
        stream = answer.frame.stream
        self._newest[stream] = answer
        if stream in self._wanted:
            with self._changed:
                self._changed.notify()

    def want(self, camera: int, again: bool = False) -> None:
        """A browser can take another picture of this camera. again: also of the frame that the last one was made of."""
        with self._changed:
            if again:
                self._made.pop(camera, None)
            self._wanted.add(camera)
            self._changed.notify()

    def close(self) -> None:
        self._is_closed.set()
        with self._changed:
            self._changed.notify()
        self._thread.join()

    def _due(self) -> list[int]:
        return [
            camera
            for camera in sorted(self._wanted)
            if (newest := self._newest.get(camera)) is not None and newest.frame.index != self._made.get(camera)
        ]

    def _work(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        cores = usable_cores() or 1
        while not self._is_closed.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed.is_set() or bool(self._due()))
                due = self._due()
                self._wanted.difference_update(due)
            began_s, began_cpu_s = time.monotonic(), time.thread_time()
            for camera in due:
                answer = self._newest[camera]
                self._made[camera] = answer.frame.index
                self.made += 1
                self._publish(Picture(camera, self.made, encode(answer)))
            spent_s = time.thread_time() - began_cpu_s
            least_s = period_s(spent_s, len(due) * self._viewers(), cores)
            self._is_closed.wait(max(0.0, least_s - (time.monotonic() - began_s)))


def period_s(spent_s: float, sent: int, cores: int) -> float:
    """Seconds from one round of pictures to the next: it took so many of processor time, and is sent so many times."""
    return max(LEAST_PAUSE_S, spent_s / (SHARE * cores), sent / MOST_SENT)


def encode(answer: Answer) -> bytes:
    """The message of an answer: see `Picture`."""
    image, result = answer.frame.image, answer.result
    scale = min(1.0, LARGEST_SIDE / max(image.shape[:2]))
    if scale < 1:
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    else:
        canvas = image.copy()
    draw_region(canvas, scale, answer.region, answer.grid, result)  # type: ignore[arg-type]
    done, jpeg = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    text = msgspec.json.encode(describe(answer))
    return struct.pack(">II", answer.frame.stream, len(text)) + text + jpeg.tobytes()


def describe(answer: Answer) -> dict[str, object]:
    """An answer for the page and for /api/state."""
    result = answer.result
    return {
        "frame": answer.frame.index,
        "source": answer.frame.name,
        "label": result.label,
        "probability": round(result.probability, 4),
        "stage": result.stage,
        "confidence": round(result.confidence, 4),
        "degraded": result.degraded,
        "ee_ms": round(result.ee_ms, 3),
        "sac_ms": None if result.sac_ms is None else round(result.sac_ms, 3),
        "age_ms": round(answer.age_ms, 2),
    }
