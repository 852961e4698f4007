"""Sends the stored events of one destination, in order, until each is acknowledged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .destinations.destination import DeliveryError, Destination
from .store import EventStore

logger = logging.getLogger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # after a failed attempt; doubled each time


class Courier:
    """A thread that sends. A failure is reported when it begins and when it ends.

    key: of the destination in the store. pause: waits for so many seconds after a failure, less when the run ends.
    """

    def __init__(
        self,
        store: EventStore,
        key: str,
        destination: Destination,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._store, self._key, self._destination = store, key, destination
        self._pause = self._wait_for_end if pause is None else pause
        self._changed = threading.Condition()
        self._has_work, self._is_ending = True, False
        self._failures = 0  # since the last success
        self.sent = self.attempts = 0
        self.thread = threading.Thread(target=self._run, name=f"events-{destination.shown}", daemon=True)
        self.thread.start()

    def wake(self) -> None:
        """Says that there are more events in the store."""
        with self._changed:
            self._has_work = True
            self._changed.notify_all()

    def end(self) -> None:
        """Lets the thread send what is there, and end after the first failure."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()

    def _wait_for_end(self, pause_s: float) -> None:
        """Called with the lock held. New events do not shorten a pause: they would make it a storm."""
        self._changed.wait_for(lambda: self._is_ending, pause_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._has_work or self._is_ending)
                self._has_work = False
                is_ending = self._is_ending
            delivered_all = self._send_all()
            with self._changed:
                if not delivered_all and not self._is_ending:
                    self._has_work = True
                    pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10))
                    self._pause(pause_s)
            if is_ending:
                break
        self._destination.close()

    def _send_all(self) -> bool:
        """Sends events until there is none (True) or one is not acknowledged (False)."""
        try:
            while (stored := self._store.begin_attempt(self._key)) is not None:
                self.attempts += 1
                self._destination.send(stored.body, stored.picture)
                self._store.end(stored.number)
                self.sent += 1
                if self._failures:
                    logger.info("%s: events are delivered again", self._destination.shown)
                self._failures = 0
        except Exception as reason:  # also of a destination's library: the event is kept, whatever it is
            if not self._failures:
                said = str(reason) if isinstance(reason, DeliveryError) else f"{type(reason).__name__}: {reason}"
                logger.warning(
                    "%s: an event is not delivered: %s. It is kept and sent again", self._destination.shown, said
                )
            self._failures += 1
            return False
        return True
