from __future__ import annotations

import numpy as np
import pytest

from sacvit.bundle.errors import UsageError
from sacvit.runtime.chain.result import Result
from sacvit.runtime.events.grammar import NAMES, parse_rule
from sacvit.runtime.sinks.overlay import Running
from sacvit.runtime.sinks.sink import Answer
from sacvit.runtime.sources.frame import Frame

PIXELS = np.zeros((4, 4, 3), np.uint8)


def answer(label: str = "nut", probability: float = 0.9, stage: str = "SAC", stream: int = 0) -> Answer:
    result = Result(0, label, probability, stage, 0.4, (), 1.0, None)
    return Answer(Frame(0, "f", PIXELS, stream), result, PIXELS, (0, 0, 4, 4), 1, 0.5, 0.0, 0.0, Running(0, 0, 0))


@pytest.mark.parametrize(
    ("text", "fits", "fits_not"),
    [
        ("label=nut", answer("nut"), answer("bolt")),
        ("label!=nut", answer("bolt"), answer("nut")),
        ('label="hex nut"', answer("hex nut"), answer("hex")),
        ("confidence>=0.9", answer(probability=0.9), answer(probability=0.89)),
        ("confidence > 0.9", answer(probability=0.91), answer(probability=0.9)),
        ("confidence<=0.9", answer(probability=0.9), answer(probability=0.91)),
        ("confidence<0.9", answer(probability=0.89), answer(probability=0.9)),
        ("stage=EE", answer(stage="EE"), answer(stage="SAC")),
        ("camera=1", answer(stream=1), answer(stream=0)),
        ("label=nut confidence>=0.9", answer("nut", 0.9), answer("nut", 0.8)),
    ],
)
def test_conditions_read_the_answer(text, fits, fits_not):
    rule = parse_rule(text)
    assert rule.holds(fits) and not rule.holds(fits_not)


@pytest.mark.parametrize(
    ("text", "frames", "duration_s"),
    [("label=a", 1, 0), ("label=a for 3 frames", 3, 0), ("label=a for 1 frame", 1, 0), ("label=a for 0.5 s", 1, 0.5)],
)
def test_for_gives_frames_or_seconds(text, frames, duration_s):
    rule = parse_rule(text)
    assert (rule.frames, rule.duration_s) == (frames, duration_s)


@pytest.mark.parametrize("name", NAMES)
def test_an_event_by_its_name(name):
    assert parse_rule(name).name == name


MISTAKES = [  # the caret stands below the first letter of what is marked
    ("", "", "is empty"),
    ("lable=nut", "lable=nut", "unknown word lable (did you mean label?)"),
    ("label=nut probability>=0.9", "probability", "unknown word probability"),
    ("label~nut", "label~nut", "unknown word"),
    ("label>nut", ">nut", "label needs one of = != here"),
    ("confidence=0.9", "=0.9", "confidence needs one of >= <= > < here"),
    ("confidence>=", "", "confidence>= needs a value here"),
    ("label", "", "label needs one of = != here"),
    ("confidence>=90", "90", "a number from 0 to 1 belongs here, found 90"),
    ("confidence>=nan", "nan", "a number from 0 to 1 belongs here"),
    ("confidence>=high", "high", "a number from 0 to 1 belongs here, found high"),
    ("stage=ee", "ee", "unknown stage ee"),
    ("camera=front", "front", "a camera is a number"),
    ('label="nut', '"nut', "this quotation mark has no end"),
    ("for 3 frames", "for 3", "a condition belongs in front of for"),
    ("label=nut for 3", "", "for needs a number and frames or s"),
    ("label=nut for 3 hours", "hours", "for needs a number and frames or s"),
    ("label=nut for 0 frames", "0 frames", "a whole number of at least 1"),
    ("label=nut for 2.5 frames", "2.5", "a whole number of at least 1"),
    ("label=nut for 3 frames stage=EE", "stage", "the expression ends after for"),
    ("drift for 3 frames", "for 3", "drift stands alone"),
]


@pytest.mark.parametrize(("text", "marked", "reason"), MISTAKES, ids=[text or "empty" for text, _, _ in MISTAKES])
def test_a_mistake_is_shown_at_its_place(text, marked, reason):
    with pytest.raises(UsageError) as fault:
        parse_rule(text)
    message, shown, caret = str(fault.value).split("\n")
    assert reason in message
    assert (shown, caret.index("^")) == (f"  {text}", 2 + (text.index(marked) if marked else len(text)))


def test_a_text_without_end_is_refused():
    with pytest.raises(UsageError, match="at most 1000 letters"):
        parse_rule("label=a " * 200)


def test_a_label_that_the_model_lacks_is_shown_with_the_nearest():
    with pytest.raises(UsageError, match=r"no label nutt \(did you mean nut\?\)") as fault:
        parse_rule("confidence>=0.5 label=nutt").require_labels(["bolt", "nut"])
    assert str(fault.value).split("\n")[2].index("^") == 2 + len("confidence>=0.5 label=")


def test_labels_that_the_model_has_and_models_without_labels_are_fine():
    parse_rule("label=nut").require_labels(["nut"])
    parse_rule("label=nut").require_labels(None)
