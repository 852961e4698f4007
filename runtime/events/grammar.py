"""The expressions of --on: which frames, and for how long, make an event.

label=nut confidence>=0.9 for 3 frames
label="hex nut" stage=SAC camera=1 for 0.5 s
camera-lost

expression = event name | condition {condition} ["for" number ("frames" | "s")]
condition  = word operator value
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from ...bundle.errors import UsageError, nearest

if TYPE_CHECKING:
    from ..sinks.sink import Answer

# What is no property of a frame, and its meaning. The loop and the recorder report these.
NAMES = {
    "drift": "the exit rate, or SAC's agreement with exits, has changed",
    "degraded": "EE answered for SAC, which would have missed --deadline-ms",
    "camera-lost": "a camera gives no frames any more",
    "recording-stopped": "the disk of --save is full or broken",
}
# Words of conditions, and what each reads of an answer. `confidence` is that of the answer, by the stage that gave it.
TEXTS: dict[str, Callable[[Answer], str]] = {
    "label": lambda answer: answer.result.label,
    "stage": lambda answer: answer.result.stage,
    "camera": lambda answer: str(answer.frame.stream),
}
NUMBERS: dict[str, Callable[[Answer], float]] = {"confidence": lambda answer: answer.result.probability}
WORDS = (*TEXTS, *NUMBERS)
COMPARED: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
UNITS = {"frames": "frames", "frame": "frames", "s": "s", "seconds": "s"}
MOST_LETTERS = 1000
TOKEN = re.compile(r'\s*(?:(?P<word>[^\s=<>!"]+)|(?P<operator>[=<>!]+)|(?P<quoted>"[^"]*"))')


@dataclass(frozen=True)
class Condition:
    """One comparison with what an answer holds. at: where its value stands in the text."""

    word: str
    operator: str
    value: str
    at: int

    def holds(self, answer: Answer) -> bool:
        if self.word in NUMBERS:
            return COMPARED[self.operator](NUMBERS[self.word](answer), float(self.value))
        return (TEXTS[self.word](answer) == self.value) == (self.operator == "=")


@dataclass(frozen=True)
class Rule:
    """A parsed expression: the name of an event, or conditions that must hold for a while."""

    text: str
    name: str | None
    conditions: tuple[Condition, ...] = ()
    frames: int = 1  # in sequence, of one camera
    duration_s: float = 0.0

    def holds(self, answer: Answer) -> bool:
        return all(condition.holds(answer) for condition in self.conditions)

    def require_labels(self, labels: Sequence[str] | None) -> None:
        """Raises UsageError for a label that the model does not have."""
        for condition in self.conditions:
            if condition.word == "label" and labels is not None and condition.value not in labels:
                hint = nearest(condition.value, labels)
                more = ", ".join(labels[:5]) + ", ..." * (len(labels) > 5)
                _fail(
                    self.text, condition.at, f"this model has no label {condition.value}{hint}. Its labels are {more}"
                )


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def parse_rule(text: str) -> Rule:
    """The rule of an expression. Raises UsageError, which shows the place of the mistake."""
    if len(text) > MOST_LETTERS:
        raise UsageError(f"--on: an expression has at most {MOST_LETTERS} letters, found {len(text)}")
    tokens = _split(text)
    if not tokens:
        _fail(text, 0, "the expression is empty. For example: label=nut confidence>=0.9 for 3 frames")
    if tokens[0].text in NAMES:
        if len(tokens) > 1:
            _fail(text, tokens[1].at, f"{tokens[0].text} stands alone")
        return Rule(text, tokens[0].text)
    conditions, place = [], 0
    while place < len(tokens) and tokens[place].text != "for":
        conditions.append(_condition(text, tokens[place : place + 3]))
        place += 3
    if not conditions:
        _fail(text, tokens[0].at, "a condition belongs in front of for, as label=nut")
    frames, duration_s = _duration(text, tokens[place:])
    return Rule(text, None, tuple(conditions), frames, duration_s)


def _split(text: str) -> list[_Token]:
    tokens, place = [], 0
    stop = len(text.rstrip())
    while place < stop:
        match = TOKEN.match(text, place)
        if match is None:
            _fail(text, place + len(text[place:]) - len(text[place:].lstrip()), "this quotation mark has no end")
        kind = str(match.lastgroup)
        tokens.append(_Token(kind, match[kind].strip('"') if kind == "quoted" else match[kind], match.start(kind)))
        place = match.end()
    return tokens


def _condition(text: str, tokens: list[_Token]) -> Condition:
    word = tokens[0]
    if word.kind != "word" or word.text not in WORDS:
        known = (*WORDS, *NAMES)
        hint = nearest(word.text, known)
        _fail(text, word.at, f"unknown word {word.text}{hint}. The words are {', '.join(known)}")
    allowed = ("=", "!=") if word.text in TEXTS else tuple(COMPARED)
    if len(tokens) < 2 or tokens[1].text not in allowed:
        at = tokens[1].at if len(tokens) > 1 else len(text)
        _fail(text, at, f"{word.text} needs one of {' '.join(allowed)} here")
    if len(tokens) < 3 or tokens[2].kind == "operator":
        _fail(text, tokens[2].at if len(tokens) > 2 else len(text), f"{word.text}{tokens[1].text} needs a value here")
    value = tokens[2]
    if word.text in NUMBERS:
        _number(text, value, 0, 1)
    if word.text == "stage" and value.text not in ("EE", "SAC"):
        _fail(text, value.at, f"unknown stage {value.text}. The stages are EE and SAC")
    if word.text == "camera" and not value.text.isdecimal():
        _fail(text, value.at, f"a camera is a number, 0 for the first --camera; found {value.text}")
    return Condition(word.text, tokens[1].text, value.text, value.at)


def _duration(text: str, tokens: list[_Token]) -> tuple[int, float]:
    if not tokens:
        return 1, 0.0
    if len(tokens) < 3 or tokens[2].text not in UNITS:
        _fail(
            text, tokens[-1].at if len(tokens) > 2 else len(text), "for needs a number and frames or s, as for 3 frames"
        )
    if len(tokens) > 3:
        _fail(text, tokens[3].at, "the expression ends after for: put conditions in front of it")
    count = _number(text, tokens[1], 0, 86400)
    if UNITS[tokens[2].text] == "s":
        return 1, count
    if count < 1 or count != int(count):
        _fail(text, tokens[1].at, f"a number of frames is a whole number of at least 1, found {tokens[1].text}")
    return int(count), 0.0


def _number(text: str, token: _Token, least: float, most: float) -> float:
    try:
        value = float(token.text)
    except ValueError:
        _fail(text, token.at, f"a number from {least:g} to {most:g} belongs here, found {token.text}")
    if not least <= value <= most:
        _fail(text, token.at, f"a number from {least:g} to {most:g} belongs here, found {token.text}")
    return value


def _fail(text: str, at: int, reason: str) -> NoReturn:
    """Raises UsageError with the text, and a caret under the place."""
    raise UsageError(f"--on: {reason}\n  {text}\n  {' ' * at}^")
