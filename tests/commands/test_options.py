"""Options from the fields of a dataclass."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from sacvit.commands.options import add_options, read_options


@dataclass(frozen=True)
class Example:
    data: Path = field(metadata={"help": "Folder of images.", "metavar": "DIR"})
    epochs: int = field(default=3, metadata={"help": "Number of passes.", "group": "training"})
    rate: float | None = field(default=None, metadata={"help": "Peak of the schedule."})
    method: Literal["mse", "minmax"] = field(default="mse", metadata={"help": "How a range is chosen."})
    is_half: bool = field(default=False, metadata={"help": "Store FP16.", "flag": "--half"})
    inner: int = 7  # no option


def read(*arguments: str) -> Example:
    parser = argparse.ArgumentParser()
    add_options(parser, Example)
    return read_options(Example, parser.parse_args(arguments))


def test_what_is_not_given_has_the_dataclass_s_default() -> None:
    assert read("--data", "x") == Example(Path("x"))


def test_each_field_is_read_in_its_own_type() -> None:
    given = read("--data", "x", "--epochs", "5", "--rate", "0.5", "--method", "minmax", "--half")
    assert given == Example(Path("x"), 5, 0.5, "minmax", True)


@pytest.mark.parametrize("arguments", [(), ("--data", "x", "--method", "other"), ("--data", "x", "--inner", "1")])
def test_what_the_dataclass_does_not_allow_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        read(*arguments)


def test_help_names_the_default_and_the_group() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Example)
    text = parser.format_help()
    assert "Number of passes (default: 3)." in text and "training:" in text


def test_a_command_may_have_a_default_of_its_own() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Example, {"epochs": 9})
    assert read_options(Example, parser.parse_args(["--data", "x"])).epochs == 9
