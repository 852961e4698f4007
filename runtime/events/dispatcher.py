"""From the chain to the destinations: a thread stores events on the disk, and one thread per destination sends them."""

from __future__ import annotations

import hashlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cv2

from ...bundle.preprocess import ImageU8
from .courier import Courier
from .destinations.destination import Destination
from .store import EventStore, New

logger = logging.getLogger(__name__)
WAITING = 1000  # events between the chain and the disk
WAITING_FRAMES = 16  # of them that have a frame with them: at 1080p 100 MB
AT_ONCE = 100  # events that are stored together: a disk that was slow catches up
CLOSE_S = 5.0  # for the last events to be acknowledged at the end of a run
JPEG_QUALITY = 90


def key_of(spec: str) -> str:
    """What stands for a destination in the store: its text may hold a password."""
    return hashlib.sha256(spec.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Event:
    """An event on its way to the disk, for the destinations of the time when it was made."""

    body: dict[str, Any]
    image: ImageU8 | None
    destinations: Mapping[str, Destination]


class Dispatcher:
    """Takes events, and never waits for a network. What is not acknowledged at the end waits for the next run.

    live: where the disk is too slow, an event is stored without its frame, and at last it is lost; both are counted. Events of
    files wait for the disk.
    """

    def __init__(self, store: EventStore, destinations: Mapping[str, Destination], *, live: bool) -> None:
        self._store, self._live = store, live
        self.lost = 0  # events that did not reach the disk
        self.without_frame = 0
        self._frames = threading.Semaphore(WAITING_FRAMES)
        self._fault: BaseException | None = None
        self._events: queue.Queue[_Event | None] = queue.Queue(WAITING)
        self.known: dict[str, Destination] = {}  # in this run, also those that were left out since
        self.couriers: list[Courier] = []
        self.use(destinations)
        waiting = store.waiting()
        if count := sum(waiting.values()) - sum(waiting[key_of(spec)] for spec in self.known):
            logger.warning("%s: events for destinations that --to does not name: %d", store.folder, count)
        self._keeper = threading.Thread(target=self._keep, name="events", daemon=True)
        self._keeper.start()

    def use(self, destinations: Mapping[str, Destination]) -> None:
        """Sends the events of later `put`s there. A destination that is left out still gets those of earlier ones."""
        waiting = self._store.waiting()
        for spec, destination in destinations.items():
            if spec in self.known:
                continue
            if count := waiting[key_of(spec)]:
                logger.info("%s: sends what an earlier run left: %d", destination.shown, count)
            self.known[spec] = destination
            self.couriers.append(Courier(self._store, key_of(spec), destination))
        self.destinations = {spec: self.known[spec] for spec in destinations}

    def put(self, body: dict[str, Any], image: ImageU8 | None = None) -> None:
        """Takes an event, and its frame (H, W, 3) BGR."""
        if self._fault is not None:
            raise self._fault
        kept = None
        if image is not None and any(one.wants_picture for one in self.destinations.values()):
            kept = image if self._frames.acquire(blocking=not self._live) else None
            self.without_frame += kept is None
        try:
            self._events.put(_Event(body, kept, self.destinations), block=not self._live)
        except queue.Full:
            self._lose("more came at once than the disk takes")
            if kept is not None:
                self._frames.release()

    def _lose(self, reason: object) -> None:
        if not self.lost:
            logger.error("--event-queue %s: an event is lost: %s", self._store.folder, reason)
        self.lost += 1

    def _keep(self) -> None:
        items: list[_Event | None] = []
        while items[-1:] != [None]:
            items = [self._events.get()]
            while len(items) < AT_ONCE and not self._events.empty() and items[-1] is not None:
                items.append(self._events.get())
            try:
                if self._fault is None:
                    self._store_events([item for item in items if item is not None])
            except BaseException as fault:  # raised in the run
                self._fault = fault
                self._frames.release(WAITING_FRAMES)  # who waits for a place goes on

    def _store_events(self, items: list[_Event]) -> None:
        events = []
        for item in items:
            picture = None
            if item.image is not None:
                picture = cv2.imencode(".jpg", item.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
                self._frames.release()
            for spec, destination in item.destinations.items():
                events.append(New(key_of(spec), item.body, picture if destination.wants_picture else None))
        try:
            self._store.add(events)
        except sqlite3.Error as reason:
            for _ in items:
                self._lose(reason)
        for courier in self.couriers:
            courier.wake()

    def close(self) -> None:
        """Stores what was put, gives the destinations CLOSE_S, and reports what is left."""
        with suppress(queue.Full):  # a disk that hangs
            self._events.put(None, timeout=CLOSE_S)
            self._keeper.join(CLOSE_S)
        until_s = time.monotonic() + CLOSE_S
        for courier in self.couriers:
            courier.end()
        for courier in self.couriers:
            courier.thread.join(max(0.0, until_s - time.monotonic()))
        left = self._store.waiting()
        for spec, one in self.known.items():
            if count := left[key_of(spec)]:
                logger.warning("%s: events that wait in %s: %d", one.shown, self._store.folder, count)
            if count := self._store.dropped[key_of(spec)]:
                logger.warning("%s: events that were dropped, see --event-queue-mib: %d", one.shown, count)
        if self.lost:
            logger.warning("events that were lost before they reached the disk: %d", self.lost)
        if self.without_frame:
            logger.warning("events without their frame, since the disk was too slow: %d", self.without_frame)
        if not any(courier.thread.is_alive() for courier in self.couriers):
            self._store.close()
        if self._fault is not None:
            raise self._fault
