"""Whole commands on hostile files: an exit code, one message, and nothing that steers the terminal."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from .bundle_kinds import copy_bundle, make_pth
from .image_kinds import make_lists
from .kind import Kind, colours
from .mutate import changed_json, damaged_bytes, damaged_text
from .profile_kinds import make_logs, make_profile, make_tune

HOSTILE = ("\x1b]0;title\x07", "\x9b2J", "\u202eevil", "\udcff", "a\nb", "-h")  # of files and folders


def run(command: str, *arguments: object) -> int:
    """The exit code of a command as a user calls it. Pages are left out: they are files, and take long to draw."""
    sys.modules["matplotlib"] = None  # type: ignore[assignment]
    main = importlib.import_module(f"sacvit.commands.{command}").main
    try:
        return int(main([str(argument) for argument in arguments]))
    except SystemExit as reason:
        return int(reason.code or 0)


def engines(folder: Path) -> list[object]:
    return ["--engine", folder / "ee.onnx", folder / "sac.onnx", "--provider", "cpu"]


def make_named(folder: Path) -> None:
    """Engines, and pictures in folders, all with hostile names."""
    import cv2

    copy_bundle(folder)
    for number, picture in enumerate(colours(12, 20)):
        path = folder / "pictures" / ("ant", "\x1b[31mbee")[number % 2] / f"{number}{HOSTILE[number // 2]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def make_exported(folder: Path) -> None:
    make_pth(folder)
    (folder / "labels.txt").write_text("cat\ndog\nowl\n")


def make_tuned(folder: Path) -> None:
    copy_bundle(folder)
    make_lists(folder)


def read_run(folder: Path, damaged: Path) -> Any:
    return run("run", *engines(folder), "--camera", damaged.parent)


def read_run_json(folder: Path, damaged: Path) -> Any:
    return run("run", *engines(folder), "--camera", damaged, "--json")


def read_tune(folder: Path, damaged: Path) -> Any:
    data = folder / "pictures" if (folder / "pictures").exists() else damaged
    return run("tune", *engines(folder), "--data", data, "--out", folder / "tuned")


def read_profile(folder: Path, damaged: Path) -> Any:
    short = ["--power", "none", "--iterations", "3", "--warmup-ms", "1"]
    return run("profile", *engines(folder), "--source", damaged.parent, *short, "--out", folder / "profiled")


def read_export(folder: Path, damaged: Path) -> Any:
    labels = ["--labels", folder / "labels.txt"]
    return run("export", "--ckpt", folder / "model.pth", *labels, "--no-build", "--out", folder / "build")


def read_report(folder: Path, damaged: Path) -> Any:
    return run("report", "--text", damaged.parent if damaged.suffix == ".json" else damaged)


def read_serve(folder: Path, damaged: Path) -> Any:
    return run("serve", *engines(folder)[:3], "--out", folder / "models")


KINDS = (
    Kind(
        "sacvit-run, pictures with hostile names", make_named, ("pictures/*/*",), read_run, (damaged_bytes,), share=0.1
    ),
    Kind("sacvit-run --json, likewise", make_named, ("pictures/*/*",), read_run_json, (damaged_bytes,), share=0.1),
    Kind(
        "sacvit-tune, pictures with hostile names",
        make_named,
        ("pictures/*/*",),
        read_tune,
        (damaged_bytes,),
        writes=True,
        share=0.03,
    ),
    Kind(
        "sacvit-tune, hostile lists",
        make_tuned,
        ("a.csv", "b.tsv", "c.txt"),
        read_tune,
        (damaged_text,),
        writes=True,
        share=0.05,
    ),
    Kind(
        "sacvit-profile, pictures with hostile names",
        make_named,
        ("pictures/*/*",),
        read_profile,
        (damaged_bytes,),
        writes=True,
        share=0.02,
    ),
    Kind(
        "sacvit-export, hostile labels",
        make_exported,
        ("labels.txt", "model.pth"),
        read_export,
        (damaged_text,),
        writes=True,
        share=0.03,
    ),
    Kind("sacvit-report, hostile logs", make_logs, ("*.log",), read_report, (damaged_text,), share=0.3),
    Kind(
        "sacvit-report, hostile profiles", make_profile, ("out/profile.json",), read_report, (changed_json,), share=0.2
    ),
    Kind("sacvit-report, hostile tune runs", make_tune, ("out/tune.json",), read_report, (changed_json,), share=0.2),
    Kind(
        "sacvit-serve, damaged engines", copy_bundle, ("*.onnx",), read_serve, (damaged_bytes,), writes=True, share=0.05
    ),
)
