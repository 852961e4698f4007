"""--print-completion: a real bash reads the script of every command and completes with it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

from sacvit.commands.frame import new_parser, run_command

ROOT = Path(__file__).parents[2]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def completions(script: str, words: list[str], folder: Path) -> list[str]:
    """What bash offers for the last of the words."""
    ask = (
        'eval "$SCRIPT"; function=$(complete -p "$1" | sed -E "s/.*-F ([^ ]+) .*/\\1/");'
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "$function" "$1" "${@: -1}" "${@: -2:1}";'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", ask, "bash", *words],
        env={"SCRIPT": script, "PATH": "/usr/bin:/bin"},
        cwd=folder,
        text=True,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    return done.stdout.split()


@pytest.fixture
def script_of(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("shtab")

    def script(name: str) -> str:
        module, _, function = COMMANDS[name].partition(":")
        with pytest.raises(SystemExit) as ended:
            getattr(importlib.import_module(module), function)(["--print-completion", "bash"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    return script


@pytest.mark.parametrize("name", COMMANDS)
def test_bash_completes_the_options_of_a_command(name: str, script_of, tmp_path: Path) -> None:
    assert "--version" in completions(script_of(name), [name, "--ver"], tmp_path)


def test_bash_completes_the_choices_of_an_option(script_of, tmp_path: Path) -> None:
    assert completions(script_of("sacvit-run"), ["sacvit-run", "--fit", ""], tmp_path) == ["crop", "stretch"]


def test_bash_completes_file_names_behind_an_option(script_of, tmp_path: Path) -> None:
    (tmp_path / "model.pth").touch()
    assert completions(script_of("sacvit-export"), ["sacvit-export", "--ckpt", "mod"], tmp_path) == ["model.pth"]


def test_without_shtab_the_message_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert (
        run_command(new_parser("sacvit-test", "Does nothing."), lambda options: 0, ["--print-completion", "bash"]) == 1
    )
    assert "pip install 'sacvit[completion]'" in capsys.readouterr().err
