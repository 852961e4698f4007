"""A record on disk is read as it was written, or refused with the place of the fault and the cure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle import records
from sacvit.bundle.errors import EngineError, SacvitError
from sacvit.bundle.records import decode_line, decode_record, encode_line, encode_record, read_record, write_record


class Example(msgspec.Struct, frozen=True):
    names: list[str]
    share: float
    inner: dict[str, Any] = {}


EXAMPLE = Example(["a", "é"], 0.1, {"x": [1, None, 2.5]})
CURE = "Write it again"


def decode(content: bytes) -> Example:
    return decode_record(content, Path("x.json"), Example, CURE)


def refusal(content: bytes) -> str:
    with pytest.raises(EngineError) as fault:
        decode(content)
    return str(fault.value)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path / "x.json", EXAMPLE)
    assert read_record(tmp_path / "x.json", Example, CURE) == EXAMPLE


@given(
    st.dictionaries(
        st.text(),
        st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    )
)
def test_any_content_survives(content: dict[str, Any]) -> None:
    assert decode(encode_record(Example([], 1.0, content))).inner == json.loads(json.dumps(content))


@given(st.integers(0, len(encode_record(EXAMPLE)) - 1), st.integers(0, 7))
def test_one_flipped_bit_is_refused_or_changes_nothing(place: int, bit: int) -> None:
    content = bytearray(encode_record(EXAMPLE))
    content[place] ^= 1 << bit
    try:
        assert decode(bytes(content)) == EXAMPLE  # white space between the entries
    except EngineError as fault:
        assert "x.json is damaged: " in str(fault)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated"),
        (b"[]", "expected an object, found list"),
        (b"{}", "no checksum"),
        (b'{"checksum": "0"}', "changed after it was written"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 100_000, "recursion"),
        (encode_record({"names": [3], "share": 1}), "Expected `str`, got `int` - at `$.names[0]`"),
        (encode_record({"names": []}), "missing required field `share`"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason_and_the_cure(content: bytes, words: str) -> None:
    said = refusal(content)
    assert words.lower() in said.lower() and said.endswith(f". {CURE}")


def test_a_text_with_half_a_surrogate_is_written_without_it() -> None:
    assert decode(encode_record(Example(["a\udcff"], 0.5, {"x": float("nan")}))) == Example(["a?"], 0.5, {"x": None})


def test_a_line_is_read_as_it_was_written_and_has_no_end_of_line() -> None:
    line = encode_line({"kind": "x", "texts": ["a\nb"]})
    assert b"\n" not in line and decode_line(line) == {"kind": "x", "texts": ["a\nb"]}


def test_a_changed_line_is_refused() -> None:
    with pytest.raises(ValueError, match="checksum does not fit"):
        decode_line(encode_line({"passes": 3}).replace(b"3", b"4", 1))


def test_an_edit_by_hand_is_refused() -> None:
    assert "changed after it was written" in refusal(encode_record(EXAMPLE).replace(b"0.1", b"0.2"))


def test_a_file_above_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(tmp_path / "x.json", EXAMPLE)
    monkeypatch.setattr(records, "MAX_JSON_BYTES", 10)
    with pytest.raises(EngineError, match="the limit is 10"):
        read_record(tmp_path / "x.json", Example, CURE)


def test_a_missing_file_is_the_kind_of_error_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SacvitError, match="cannot be read: No such file"):
        read_record(tmp_path / "x.json", Example, CURE, SacvitError)


def test_types_are_laid_out_by_one_thread_at_a_time(tmp_path, monkeypatch):
    """Two at once end the process, now and then: it is the lock that is looked for."""
    write_record(tmp_path / "x.json", EXAMPLE)
    held = []
    real = records.msgspec.convert
    monkeypatch.setattr(
        records.msgspec, "convert", lambda *given: held.append(records._ONE_AT_A_TIME.locked()) or real(*given)
    )
    assert read_record(tmp_path / "x.json", Example, CURE) == EXAMPLE
    assert held == [True]
