from __future__ import annotations

import pytest

from sacvit.runtime.sources.gstreamer.library import NO_ELEMENT, PipelineError, check_syntax, has_element


def test_elements_that_exist_are_known():
    assert has_element("videotestsrc") and not has_element("nosuchelement")


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ("nosuchelement ! fakesink", 'no element "nosuchelement"', NO_ELEMENT),
        ("videotestsrc pattrn=ball ! fakesink", 'no property "pattrn"', 2),
        ("videotestsrc ! h264parse ! fakesink", "could not link", 3),
        ("videotestsrc ! ! fakesink", "syntax error", 0),
    ],
)
def test_what_gstreamer_cannot_make_is_refused_with_its_reason(text, words, code):
    with pytest.raises(PipelineError, match=words) as fault:
        check_syntax(text)
    assert fault.value.code == code


def test_a_value_that_is_refused_is_not_shown():
    with pytest.raises(PipelineError) as fault:
        check_syntax('rtspsrc protocols="secret" ! fakesink')
    assert "protocols" in str(fault.value) and "secret" not in str(fault.value)
