from __future__ import annotations

import json

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.runtime.events.destinations.destination import Limits
from sacvit.runtime.events.destinations.opening import open_destination


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("webhook:https://host/x", "webhook https://host/***"),
        ("https://host/x", "webhook https://host/***"),
        ("stdout", "stdout"),
    ],
)
def test_a_text_names_a_destination(spec, shown):
    assert open_destination(spec, Limits(1)).shown == shown


@pytest.mark.parametrize(("spec", "hint"), [("webhok:http://host", "webhook"), ("mqqt://host/a", "mqtt")])
def test_an_unknown_destination_is_answered_with_the_nearest(spec, hint):
    with pytest.raises(UsageError, match=rf"did you mean {hint}\?"):
        open_destination(spec, Limits(1))


def test_stdout_gets_a_line_of_json(capsys):
    open_destination("stdout", Limits(1)).send({"id": "a"}, None)
    assert json.loads(capsys.readouterr().out) == {"id": "a"}
