"""Has files put on the disk by a thread, since a memory card takes seconds for it at times."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path


class Disk:
    """Waits for the disk in the place of the recorder. folder: its names are put on the disk too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._syncs: list[Future[None]] = []
        self._thread = ThreadPoolExecutor(1, "recording-sync")

    def sync(self, descriptors: list[int]) -> None:
        """Starts a sync of files, and closes these descriptors after it. Raises OSError where an earlier sync failed."""
        self._syncs.append(self._thread.submit(sync_all, [*descriptors, os.open(self._folder, os.O_RDONLY)]))
        while self._syncs and self._syncs[0].done():
            self._syncs.pop(0).result()

    def forget(self) -> None:
        """Ignores the results of what was started: its files were given up."""
        self._syncs = []

    def close(self) -> None:
        self._thread.shutdown()


def sync_all(descriptors: list[int]) -> None:
    """Returns when the files are on the disk, and closes the descriptors."""
    try:
        for descriptor in descriptors:
            os.fsync(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
