"""Exit codes are a promise to scripts; they are checked against the tree in the docstring."""

from __future__ import annotations

import re

import pytest

from sacvit.bundle import errors
from sacvit.bundle.errors import SacvitError, nearest

EXIT_CODES = {
    "SacvitError": 1,
    "UsageError": 2,
    "ConfigError": 2,
    "CheckpointError": 1,
    "ImageError": 1,
    "PlanError": 1,
    "GuardError": 3,
    "EngineError": 4,
    "DeviceError": 5,
}


def error_classes() -> dict[str, type[SacvitError]]:
    found = vars(errors).items()
    return {name: item for name, item in found if isinstance(item, type) and issubclass(item, SacvitError)}


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_every_error_has_its_documented_exit_code(name: str, code: int) -> None:
    assert error_classes()[name].exit_code == code


def test_the_table_above_names_every_error_class() -> None:
    assert error_classes().keys() == EXIT_CODES.keys()


def test_the_docstring_names_every_error_with_its_exit_code() -> None:
    tree = re.findall(r"(\w+Error) +(?:exit code )?(\d)", errors.__doc__ or "")
    assert {name: int(code) for name, code in tree} == EXIT_CODES


def test_a_config_error_is_a_usage_error() -> None:
    assert issubclass(errors.ConfigError, errors.UsageError)


def test_interruption_has_the_shell_s_exit_code_for_sigint() -> None:
    assert errors.EXIT_INTERRUPTED == 130


def test_nearest_names_the_closest_known_word() -> None:
    assert nearest("widht", ["depth", "width", "heads"]) == " (did you mean width?)"


def test_nearest_is_silent_when_nothing_is_close() -> None:
    assert nearest("zebra", ["depth", "width", "heads"]) == ""


def test_nearest_takes_an_iterator() -> None:
    assert nearest("head", iter(["heads"])) == " (did you mean heads?)"
