from __future__ import annotations

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.runtime.sources.opening import KINDS, describe_kinds, kind_of, open_source


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("0", "USB"),
        ("csi://0", "CSI"),
        ("gst://videotestsrc", "GStreamer"),
        ("RTSPS://host/x", "network stream"),
        ("clip.mp4", "a video"),
        ("pictures/", "a folder"),
        ("FILE:///x.png", "file://"),
    ],
)
def test_a_text_names_a_kind_of_source(spec, words):
    assert words in kind_of(spec).help


@pytest.mark.parametrize("spec", ["rtmp://127.0.0.1/x", "gopher://x"])
def test_an_unknown_scheme_is_refused_with_all_that_there_is(spec):
    with pytest.raises(UsageError) as fault:
        open_source(spec)
    assert describe_kinds() in str(fault.value) and spec.partition(":")[0] in str(fault.value)


@pytest.mark.parametrize("spec", ["", "  "])
def test_an_empty_text_names_no_source(spec):
    with pytest.raises(UsageError, match="--source is empty"):
        open_source(spec, option="--source")


def test_the_help_of_sacvit_run_is_read_from_the_table():
    from sacvit.commands.run import build_parser

    shown = "".join(build_parser().format_help().split())
    assert all("".join(kind.help.split()) in shown for kind in KINDS)
