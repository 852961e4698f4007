"""The Containerfiles, as far as they can be checked without a registry: their form, and what they name of this project."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy").glob("Containerfile.*"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INSTRUCTIONS = {"ARG", "FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
NOT_TRIED = "# Not built and not run yet: "


def instructions(file: Path) -> list[tuple[str, str]]:
    """The instructions with their arguments; lines that go on in the next are joined."""
    text = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("#"))
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_there_is_one_for_each_kind_of_machine():
    assert [file.suffix for file in FILES] == [".cpu", ".gpu", ".jetpack6", ".jetpack7"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)
def test_it_has_only_known_instructions_and_begins_with_its_base(file):
    found = instructions(file)
    assert {name for name, _ in found} <= INSTRUCTIONS
    assert [name for name, _ in found[:2]] == ["ARG", "FROM"] and found[0][1].startswith("BASE=")
    stages = {argument.split(" AS ")[1] for name, argument in found if name == "FROM" and " AS " in argument}
    assert {copied for _, argument in found for copied in re.findall(r"--from=(\S+)", argument)} == stages


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)
def test_it_installs_extras_that_this_project_has_with_the_tested_versions(file):
    text = file.read_text()
    [extras] = re.findall(r'-c /src/constraints\.txt "/src\[(.*?)\]"', text)
    extras = dict(re.findall(r"ARG (EXTRAS)=(.*)", text)).get("EXTRAS", extras)
    assert set(extras.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)
def test_it_starts_sacvit_run_with_the_file_of_options_and_without_root(file):
    found = instructions(file)
    assert [*json.loads(dict(found)["ENTRYPOINT"]), *json.loads(dict(found)["CMD"])] == [
        *("/opt/sacvit/bin/sacvit-run", "--config", "/etc/sacvit/sacvit.toml")
    ]
    assert dict(found)["USER"] == "sacvit"


def test_what_was_not_built_says_so():
    assert [file.suffix for file in FILES if NOT_TRIED not in file.read_text()] == [".cpu"]


def test_an_image_gets_every_file_that_the_package_is_built_from():
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    needed = [name.partition(".")[2].partition(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]]
    needed += ["pyproject.toml", "constraints.txt", "README.md", "LICENSE", "__init__.py", "py.typed"]
    assert [name for name in needed if any(fnmatch(name, pattern) for pattern in ignored)] == []
