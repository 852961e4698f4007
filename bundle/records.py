"""Records on disk: typed by msgspec, checked by a checksum, read with one set of messages.

A record is one JSON object, in a file of its own or in a line of a log. `checksum` is the SHA-256 of the rest of it in
canonical form: a record with a flipped bit, or one that was edited by hand, is refused. msgspec says where in the file a value
is wrong: "Expected `str`, got `int` - at `$.labels[0]`".
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import msgspec

from .errors import EngineError, SacvitError
from .files import written_whole

MAX_JSON_BYTES = 64 << 20  # a manifest with 100 000 labels has 5 MB
CHECKSUM = "checksum"
T = TypeVar("T")
_ONE_AT_A_TIME = Lock()


def write_record(path: Path, record: Any) -> None:
    """Writes a msgspec.Struct, or what JSON can hold, whole and with its checksum."""
    with written_whole(path) as partial:
        partial.write_bytes(encode_record(record))


def encode_record(record: Any) -> bytes:
    """The text of a record's file."""
    return msgspec.json.format(encode_line(record), indent=1) + b"\n"


def encode_line(record: Any) -> bytes:
    """A record as a line of a log, without the line's end. Names of files that are no text lose the wrong characters."""
    try:
        content = msgspec.json.encode(record)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(record), ensure_ascii=False)
        content = msgspec.json.encode(json.loads(text.encode("utf-8", "replace")))
    # The checksum is of what a reader will see: keys are texts, and NaN and infinity are null.
    read = msgspec.json.decode(content)
    read.pop(CHECKSUM, None)
    read[CHECKSUM] = checksum_of(read)
    return msgspec.json.encode(read)


def checksum_of(content: dict[str, Any]) -> str:
    """The checksum of an object that does not hold one yet."""
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
        return converted(decode_line(content), kind)
    except (ValueError, RecursionError) as reason:  # msgspec's errors are ValueErrors
        raise error(f"{path} is damaged: {reason}. {cure}") from None


def converted(value: Any, kind: type[T]) -> T:
    """A value of plain types as the type of a record. Raises ValueError where it does not fit.

    One thread at a time: msgspec 0.22 lays out a type when it first meets it, and the process ends where two threads do so at
    once (21 of 120 loads of two engines at once, on a busy machine).
    """
    with _ONE_AT_A_TIME:
        return msgspec.convert(value, kind)


def decode_line(content: bytes) -> dict[str, Any]:
    """The object in a line or a file, its checksum checked and taken off. Raises ValueError, or RecursionError, otherwise."""
    found = msgspec.json.decode(content)
    if not isinstance(found, dict):
        raise ValueError(f"expected an object, found {type(found).__name__}")
    checksum = found.pop(CHECKSUM, None)
    if checksum is None:
        raise ValueError("it has no checksum: it is damaged, or an older sacvit wrote it")
    if checksum != checksum_of(found):
        raise ValueError("its checksum does not fit: it was changed after it was written")
    return found
