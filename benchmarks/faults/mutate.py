"""Damage for files: flipped bits, wrong numbers, pieces that are gone or doubled, hostile texts, wrong values in JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from sacvit.bundle.records import encode_line, encode_record

Damage = Callable[[bytes, random.Random], bytes]
NUMBERS = (0, 1, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
ESCAPES = ("\x1b]0;title\x07", "\x1b[31mred", "\x9b2J", "\u202e\u2066", "a\rb", "\x00", "\ud83d")
TEXTS = (
    *ESCAPES,
    *("", " ", "../../outside", "/etc/passwd", "/dev/zero", "x" * 5000, "\u0663", "a\nb", "nan", "inf", "-1", "1e999"),
    *("9" * 400, "0x10", "1_000", "None", "%s%n", "{0}", "<script>alert(1)</script>", "sacvit", "EE", "fp16"),
)
VALUES: tuple[Any, ...] = (
    *([], {}, None, "x", "", -1, 0, 1, 1.5, True, 1e308, -0.0, 2**31, 2**53, [[]], {"a": []}, [None], "9" * 400),
    *("\x1b[31mred", "\u202eabc", "../x", "/etc/passwd"),
)


def damaged_bytes(content: bytes, chance: random.Random) -> bytes:
    """One to three faults: a bit, a byte, a number, a piece that is gone, doubled, moved or noise, a cut."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        place, length = chance.randrange(len(changed) or 1), chance.choice((1, 2, 4, 16, 300))
        match chance.randrange(9):
            case 0 | 1 if changed:
                changed[place] ^= 1 << chance.randrange(8)
            case 2:
                changed[place : place + 1] = chance.randbytes(1)
            case 3:
                size = chance.choice((2, 4, 8))
                number = chance.choice(NUMBERS) % (1 << 8 * size)
                changed[place : place + size] = number.to_bytes(size, chance.choice(("big", "little")))
            case 4:
                del changed[place : place + length]
            case 5:
                changed[place:place] = changed[place : place + length]
            case 6:
                del changed[place:]
            case 7:
                other = chance.randrange(len(changed) or 1)
                piece = changed[other : other + length]
                changed[place : place + length] = piece
            case _:
                changed[place:place] = chance.randbytes(length)
    return bytes(changed)


def flipped_bit(content: bytes, chance: random.Random) -> bytes:
    """What a failing disk or memory does."""
    changed = bytearray(content)
    if changed:
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def damaged_head(content: bytes, chance: random.Random) -> bytes:
    """Damage in the first 200 bytes, where formats keep their sizes."""
    return damaged_bytes(content[:200], chance) + content[200:]


def damaged_text(content: bytes, chance: random.Random) -> bytes:
    """Lines and words that are gone, doubled, moved, or others."""
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    for _ in range(chance.choice((1, 1, 2, 3))):
        place = chance.randrange(len(lines) or 1)
        words = lines[place].split(" ") if lines else [""]
        word, text = chance.randrange(len(words)), chance.choice(TEXTS)
        match chance.randrange(6):
            case 0:
                words[word] = text
            case 1:
                middle = chance.randrange(len(words[word]) + 1)
                words[word] = words[word][:middle] + text + words[word][middle:]
            case 2:
                del words[word]
            case 3:
                lines[place:place] = lines[place : place + 1]
            case 4:
                lines[place], words = text, [text]
            case _:
                separator = chance.choice("\t,;\"'|= ")
                words[word] = words[word].replace(chance.choice("\t,; /"), separator)
        lines[place : place + 1] = [" ".join(words)]
    return "\n".join(lines).encode("utf-8", "surrogatepass" if chance.random() < 0.5 else "replace")


def changed_json(content: bytes, chance: random.Random) -> bytes:
    """One or two entries of another value, or none. A file without its checksum, or with one that no longer fits."""
    return json.dumps(_changed(json.loads(content), chance), indent=1).encode()


def signed_json(content: bytes, chance: random.Random) -> bytes:
    """The same with a checksum that fits: not damage, but malice or another version of sacvit."""
    return encode_record(_changed(msgspec.json.decode(content), chance))


def signed_lines(content: bytes, chance: random.Random) -> bytes:
    """The same in a line of a log."""
    lines = content.splitlines()
    place = chance.randrange(len(lines))
    lines[place] = encode_line(_changed(msgspec.json.decode(lines[place]), chance))
    return b"\n".join(lines) + b"\n"


def _changed(content: Any, chance: random.Random) -> Any:
    for _ in range(chance.choice((1, 1, 2))):
        *outer, last = chance.choice([*_places(content)] or [()]) or (None,)
        inside = content
        for key in outer:
            inside = inside[key]
        if last is None:
            continue
        if chance.random() < 0.15:
            del inside[last]
        elif isinstance(inside, dict) and chance.random() < 0.15:
            inside[chance.choice(TEXTS).encode("utf-8", "replace").decode()] = inside.pop(last)
        else:
            inside[last] = chance.choice(VALUES)
    return content


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))
