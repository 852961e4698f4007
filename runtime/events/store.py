"""The queue of events on the disk: what has not been acknowledged is still there after a kill or a power cut."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...bundle.errors import SacvitError
from ...bundle.folders import locked_folder

FILE = "events.sqlite3"
TABLE = """CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL,
 body TEXT NOT NULL, picture BLOB, attempts INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL)"""


@dataclass(frozen=True)
class New:
    """An event for a destination. picture: JPEG."""

    destination: str
    body: dict[str, Any]
    picture: bytes | None = None


@dataclass(frozen=True)
class Stored:
    """An event that is about to be sent. body: with `attempt` and `redelivered`."""

    number: int
    body: dict[str, Any]
    picture: bytes | None


class EventStore:
    """Events for several destinations, oldest first. Together they hold at most `most_bytes`: the oldest are dropped and
    counted.

    Used by several threads. Raises UsageError when another run uses the folder.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self._most_bytes = folder, most_bytes
        self._folder_lock = ExitStack()
        self._folder_lock.enter_context(locked_folder(folder, "--event-queue", room_bytes=0))
        self._lock = threading.Lock()
        self.dropped: Counter[str] = Counter()  # in this run, by destination
        try:
            self._database = sqlite3.connect(folder / FILE, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA auto_vacuum = FULL")  # the file shrinks with its content
            self._database.execute("PRAGMA journal_mode = WAL")  # one wait for the disk per change, not four
            self._database.execute("PRAGMA synchronous = FULL")  # an event is on the disk when `add` returns
            self._database.execute(TABLE)
            self._last_before = self._database.execute("SELECT max(number) FROM events").fetchone()[0] or 0
        except sqlite3.Error as reason:
            raise SacvitError(
                f"--event-queue {folder / FILE}: {reason}. If it is damaged, move it away; the events in it are then not sent"
            ) from None

    def add(self, events: Sequence[New]) -> None:
        """Stores events, and drops the oldest ones for which there is no room. Raises sqlite3.Error for a full disk."""
        with self._lock, self._database:
            self._database.execute("BEGIN")
            held = self._database.execute("SELECT coalesce(sum(bytes), 0) FROM events").fetchone()[0]
            for event in events:
                text = json.dumps(event.body)
                size = len(text) + len(event.picture or b"")
                self._database.execute(
                    "INSERT INTO events (destination, body, picture, bytes) VALUES (?, ?, ?, ?)",
                    (event.destination, text, event.picture, size),
                )
                held += size
            while held > self._most_bytes:
                [(destination, size)] = self._database.execute(
                    "DELETE FROM events WHERE number = (SELECT min(number) FROM events) RETURNING destination, bytes"
                ).fetchall()
                self.dropped[destination] += 1
                held -= size

    def begin_attempt(self, destination: str) -> Stored | None:
        """The oldest event of a destination. The attempt is on the disk before it is made: a later one then says so."""
        with self._lock, self._database:
            self._database.execute("BEGIN")
            row = self._database.execute(
                "SELECT number, body, picture, attempts FROM events WHERE destination = ? ORDER BY number LIMIT 1",
                (destination,),
            ).fetchone()
            if row is None:
                return None
            number, body, picture, attempts = row
            self._database.execute("UPDATE events SET attempts = attempts + 1 WHERE number = ?", (number,))
            more = {
                "attempt": attempts + 1,
                "redelivered": attempts > 0 or number <= self._last_before,
                "dropped": self.dropped[destination],
            }
        return Stored(number, json.loads(body) | more, picture)

    def end(self, number: int) -> None:
        """Removes an event that was acknowledged."""
        with self._lock:
            self._database.execute("DELETE FROM events WHERE number = ?", (number,))

    def waiting(self) -> Counter[str]:
        """The number of events by destination."""
        with self._lock:
            return Counter(
                dict(self._database.execute("SELECT destination, count(*) FROM events GROUP BY destination"))
            )

    def close(self) -> None:
        with self._lock:
            self._database.close()
        self._folder_lock.close()
