"""What a choice has found so far, on disk: one that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import msgspec

from ...bundle.errors import SacvitError
from ...bundle.records import read_record, write_record
from ...runtime.engines.choice import Candidate
from .ranking import Round

FOLDER = "engines.unfinished"  # beside the bundle; it holds engines that were built, and STATE
STATE = "found.json"


class Found(msgspec.Struct):
    """key: a digest of machine, bundle, versions and request; another one begins anew. rounds: by batch size. pair_ms: of the
    reference, a pass of both stages.
    """

    key: str
    candidates: list[Candidate] = []
    absent: dict[str, str] = {}
    rounds: dict[str, list[Round]] = {}
    pair_ms: float | None = None


class Unfinished:
    """The folder of a choice that is under way. `found` is written with `keep` after every step."""

    def __init__(self, bundle: Path, conditions: dict[str, Any]) -> None:
        self.folder = bundle / FOLDER
        key = hashlib.sha256(msgspec.json.encode(conditions, order="deterministic")).hexdigest()
        self.found = self._read(key)

    def _read(self, key: str) -> Found:
        path = self.folder / STATE
        if path.is_file():
            try:
                found = read_record(path, Found, "", SacvitError)
            except SacvitError:  # damaged by a power cut, or by hand: nothing in it is worth a message
                found = Found("")
            if found.key == key:
                return found
        self.remove()
        self.folder.mkdir()
        return Found(key)

    def keep(self) -> None:
        write_record(self.folder / STATE, self.found)

    def place_of(self, name: str) -> Path:
        """The folder for the files of a candidate that builds some."""
        return self.folder / name.replace(" ", "-")

    def knows(self, name: str) -> bool:
        """Whether a candidate, or the runner of that name, has its verdict."""
        return name in self.found.absent or any(candidate.name == name for candidate in self.found.candidates)

    def remove(self) -> None:
        if self.folder.is_symlink():
            raise SacvitError(f"{self.folder} is a link; remove it")
        shutil.rmtree(self.folder, ignore_errors=True)
