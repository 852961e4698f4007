"""Records on disk: typed by msgspec, checked by a checksum, read with one set of messages.

A record is one JSON object. `checksum` is the SHA-256 of the rest of it in canonical form: one flipped bit, or an edit by hand,
is refused instead of believed. msgspec says where in the file a value is wrong: "Expected `str`, got `int` - at `$.labels[0]`".
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .errors import EngineError, SacvitError
from .files import written_whole

MAX_JSON_BYTES = 64 << 20  # a manifest with 100 000 labels has 5 MB
CHECKSUM = "checksum"
T = TypeVar("T")


def write_record(path: Path, record: Any) -> None:
    """Writes a msgspec.Struct, or what JSON can hold, whole and with its checksum."""
    with written_whole(path) as partial:
        partial.write_bytes(encode_record(record))


def encode_record(record: Any) -> bytes:
    """The text of a record's file."""
    # As a reader will see it: keys are texts, and what JSON has no number for is null.
    content = msgspec.json.decode(msgspec.json.encode(record))
    content.pop(CHECKSUM, None)
    content[CHECKSUM] = checksum_of(content)
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def checksum_of(content: dict[str, Any]) -> str:
    """Of an object without its checksum."""
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def read_record(path: Path, kind: type[T], cure: str, error: type[SacvitError] = EngineError) -> T:
    """The record in a file. cure: what a user can do where it is damaged, as a sentence without its full stop.

    Raises `error` for a file that is missing, too large, damaged, changed, or of another form.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise error(f"{path} has {path.stat().st_size} bytes; the limit is {MAX_JSON_BYTES}. {cure}")
        content = path.read_bytes()
    except OSError as reason:
        raise error(f"{path} cannot be read: {reason.strerror or reason}. {cure}") from None
    return decode_record(content, path, kind, cure, error)


def decode_record(content: bytes, path: Path, kind: type[T], cure: str, error: type[SacvitError] = EngineError) -> T:
    """The record in the bytes of a file. Raises `error` likewise."""
    try:
        found = msgspec.json.decode(content)
        if not isinstance(found, dict):
            raise ValueError(f"expected an object, found {type(found).__name__}")
        checksum = found.pop(CHECKSUM, None)
        if checksum is None:
            raise ValueError("it has no checksum: it is damaged, or an older sacvit wrote it")
        if checksum != checksum_of(found):
            raise ValueError("its checksum does not fit: it was changed after it was written")
        return msgspec.convert(found, kind)
    except (ValueError, RecursionError, UnicodeDecodeError) as reason:  # msgspec's errors are ValueErrors
        raise error(f"{path} is damaged: {reason}. {cure}") from None
