"""Events as pairs of files in a folder: the frame as JPEG and the event as JSON, the oldest pairs removed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ....bundle.errors import SacvitError, UsageError
from ....bundle.files import require_folder, written_whole
from .destination import DeliveryError, DestinationKind, Limits

# event-00000012-20261126T134613Z-0f...e.json; the number rises over all runs, whatever the clock does.
NAME = re.compile(r"event-(\d{8,12})-\d{8}T\d{6}Z-([0-9a-f]{32})\.(?:jpg|json)")


class Snapshots:
    """See `Destination`. Only files that have one of our names are counted and removed. An event that was written before
    is not written again."""

    wants_picture = True

    def __init__(self, folder: Path, most_bytes: int) -> None:
        require_folder(folder, "--to snapshots:")
        self.folder, self._most_bytes = folder, most_bytes
        self.shown = f"snapshots:{folder}"
        self._files: dict[int, dict[Path, int]] = {}  # sizes by number
        self._written: dict[str, int] = {}  # numbers by the event's id; the JSON file is written last
        for path in folder.iterdir():
            match = NAME.fullmatch(path.name)
            if match and path.is_file() and not path.is_symlink():
                self._files.setdefault(int(match[1]), {})[path] = path.stat().st_size
                if path.suffix == ".json":
                    self._written[match[2]] = int(match[1])

    def send(self, body: dict[str, Any], picture: bytes | None) -> None:
        if body["id"] in self._written:
            return
        number = max(self._files, default=-1) + 1
        moment = re.sub(r"[-:]|\.\d+", "", str(body["time"]))
        contents = {".json": json.dumps(body, indent=1).encode() + b"\n"}
        if picture is not None:
            contents = {".jpg": picture} | contents
        try:
            self._make_room(sum(map(len, contents.values())))
            for suffix, content in contents.items():
                path = self.folder / f"event-{number:08d}-{moment}-{body['id']}{suffix}"
                with written_whole(path) as partial:
                    partial.write_bytes(content)
                self._files.setdefault(number, {})[path] = len(content)
        except (OSError, SacvitError) as reason:
            raise DeliveryError(str(getattr(reason, "strerror", None) or reason)) from None
        self._written[str(body["id"])] = number

    def _make_room(self, size: int) -> None:
        held = sum(sum(files.values()) for files in self._files.values())
        for number in sorted(self._files):
            if held + size <= self._most_bytes:
                return
            for path, one in self._files.pop(number).items():
                path.unlink(missing_ok=True)
                held -= one
            self._written = {name: place for name, place in self._written.items() if place != number}

    def close(self) -> None: ...


def open_snapshots(spec: str, limits: Limits) -> Snapshots:
    folder = spec.partition(":")[2]
    if not folder:
        raise UsageError("--to snapshots: needs a folder, as --to snapshots:events/")
    return Snapshots(Path(folder), limits.snapshots_bytes)


SNAPSHOTS = DestinationKind("snapshots:DIR, frame and event as files", ("snapshots",), open_snapshots)
