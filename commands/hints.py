"""Hints for command lines that cannot be parsed, and an example of each command that works."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from ..bundle.errors import UsageError, nearest
from ..runtime.engines.given_paths import CHECKPOINTS, engines_in, export_of, quoted

EXAMPLES = {
    "sacvit-export": "sacvit-export --ckpt model.pth --out build",
    "sacvit-build": "sacvit-build build",
    "sacvit-run": "sacvit-run --engine build/ee.onnx build/sac.onnx --camera 0",
    "sacvit-tune": "sacvit-tune --engine build/ee.onnx build/sac.onnx --data photos/val --point balanced",
    "sacvit-profile": "sacvit-profile --engine build/ee.onnx build/sac.onnx --out profile",
    "sacvit-report": "sacvit-report profile",
    "sacvit-train": "sacvit-train --data photos --out runs/mine",
    "sacvit-serve": "sacvit-serve --engine build/ee.onnx build/sac.onnx --out models",
}
# Names of options in other tools or in our texts, and the options that replace them. The first one that the command has is
# taken.
MEANT = {
    "--eta": ("--threshold",),
    "--model": ("--engine", "--ckpt"),
    "--onnx": ("--engine",),
    "--loadEngine": ("--engine",),
    "--checkpoint": ("--ckpt", "--start"),
    "--weights": ("--ckpt", "--start"),
    "--pretrained": ("--start",),
    "--video": ("--camera", "--source"),
    "--input": ("--camera", "--source", "--data"),
    "--source": ("--camera",),
    "--camera": ("--source",),
    "--images": ("--calib", "--data"),
    "--output": ("--out", "--save"),
    "--out": ("--save",),
    "--batch-size": ("--batch",),
    "--half": ("--fp16",),
    "--quantize": ("--int8",),
    "--duration": ("--duration-s",),
    "--lr": ("--learning-rate",),
}

# Options that a command does not have, and what it offers for that purpose.
ELSEWHERE = {
    (
        "sacvit-tune",
        "--eta",
    ): "The threshold is what sacvit-tune finds: give its goal with --point, --min-top1, --max-ms or --exit-rate",
    (
        "sacvit-build",
        "--eta",
    ): "The threshold is stored in the bundle: sacvit-export --threshold, or sacvit-run --threshold",
    ("sacvit-report", "--eta"): "The threshold belongs to what was measured: sacvit-profile --threshold",
    ("sacvit-train", "--eta"): "The threshold is chosen after the training: sacvit-tune --point balanced",
    ("sacvit-build", "--engine"): "Give the folder of the bundle: sacvit-build build",
    ("sacvit-build", "--ckpt"): "Export first: sacvit-export --ckpt model.pth --out build. Then: sacvit-build build",
    (
        "sacvit-run",
        "--ckpt",
    ): "Export first: sacvit-export --ckpt model.pth --out build",
}


class HintingParser(argparse.ArgumentParser):
    """An argument parser whose errors say what would work."""

    _words: Sequence[str] = ()

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]  # argparse's overloads
        import sys

        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        hints = [*hints_for(self.prog, message, self._words, self._option_string_actions)]
        super().error(". ".join([message, *hints]))


def hints_for(prog: str, message: str, words: Sequence[str], options: Iterable[str]) -> list[str]:
    """Sentences to follow an error of argparse: a replacement for each word that it does not know, else an example."""
    known = set(options)
    unplaced = message.partition("unrecognized arguments: ")[2]
    strangers = [word for word in words if word in unplaced] if unplaced else words if "are required" in message else []
    found = [hint for word in strangers if (hint := meant(prog, word, known))]
    return list(dict.fromkeys(found))[:2] or [f"For example: {EXAMPLES.get(prog, f'{prog} --help')}"]


def meant(prog: str, word: str, known: set[str]) -> str:
    """What to write in place of a word; empty where there is no better one."""
    if word.startswith("--"):
        name = word.partition("=")[0]
        if name in known:
            return ""
        if found := ELSEWHERE.get((prog, "--eta" if name == "--threshold" else name)):
            return found
        instead = next((option for option in MEANT.get(name, ()) if option in known), None)
        close = nearest(name.lstrip("-"), [option.lstrip("-") for option in known if option.startswith("--")])
        return (
            f"Write {instead} in place of {name}"
            if instead
            else close.replace("mean ", "mean --").strip(" ()").capitalize()
        )
    path = Path(word)
    if path.suffix in CHECKPOINTS:
        if "--ckpt" in known:
            return f"Write --ckpt {quoted(word)}"
        return "" if prog == "sacvit-train" else f"{word} is a checkpoint. Export it: {export_of(path, 'build')}"
    if "--engine" in known and path.is_dir() and engines_in(path):
        return f"Write --engine {quoted(word)}"
    if "--camera" in known and path.is_file():
        return f"Write --camera {quoted(word)}"
    if "--data" in known and path.is_dir():
        return f"Write --data {quoted(word)}"
    return ""


def require_effect(
    parser: argparse.ArgumentParser, options: argparse.Namespace, mode: str, used: Iterable[str]
) -> None:
    """Raises UsageError for a given option that has no effect together with the option `mode`.

    used: the options that do have an effect with it, by their names in the namespace.
    """
    kept = {*used, mode.lstrip("-").replace("-", "_"), "verbose", "traceback", "help", "version"}
    for action in parser._actions:
        if action.option_strings and action.dest not in kept and getattr(options, action.dest) != action.default:
            flag = action.option_strings[0]
            raise UsageError(f"{flag} has no effect with {mode}: leave one of them out")
