"""What sacvit-tune and sacvit-profile keep and read again, and logs of tegrastats."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from .bundle_kinds import copy_bundle
from .image_kinds import make_lists
from .kind import ROOT, Kind, digest
from .mutate import (
    changed_json,
    damaged_bytes,
    damaged_head,
    damaged_text,
    flipped_bit,
    signed_json,
    signed_lines,
)

BYTES = (damaged_bytes, flipped_bit, damaged_head)
LOG_LINES = 6  # of a log: one line is damaged


def _answers(folder: Path) -> Any:
    from sacvit.images.labelled import open_labelled
    from sacvit.profiles.tuning.stored_answers import collect
    from sacvit.runtime.chain.pipeline import Pipeline

    pipeline = Pipeline.load(folder / "ee.onnx", folder / "sac.onnx", provider="cpu", threads=1)
    data = open_labelled(folder / "a.csv", 5, pipeline.labels)
    return collect(pipeline, data, folder / "answers", 2, lambda done, total: None)


def make_answers(folder: Path) -> None:
    copy_bundle(folder)
    make_lists(folder)
    _answers(folder)


def read_answers(folder: Path, damaged: Path) -> Any:
    found = _answers(folder)
    return [digest(ee, sac) for _, ee, sac in found.logits()]  # times change where an image is answered again


def make_profile(folder: Path) -> None:
    from sacvit.commands.profile import main

    copy_bundle(folder)
    engines = [str(folder / "ee.onnx"), str(folder / "sac.onnx")]
    short = ["--power", "none", "--iterations", "3", "--warmup-ms", "1", "--threshold", "0.5", "--provider", "cpu"]
    assert main(["--engine", *engines, *short, "--layers", "--out", str(folder / "out")]) == 0


def read_run(folder: Path, damaged: Path) -> Any:
    """As sacvit-profile does that goes on."""
    from sacvit.profiles.reports.text import summary_lines
    from sacvit.profiles.results.result import summarise
    from sacvit.profiles.timing.store import read_store

    store = read_store(folder / "out")
    if store is None:
        return None
    lines = summary_lines(summarise(store))
    print("\n".join(lines))
    return len(store.lines), lines


def read_profile(folder: Path, damaged: Path) -> Any:
    from sacvit.machine.terminal import terminal_safe
    from sacvit.profiles.reports.text import summary_lines
    from sacvit.profiles.results.result_files import passes_of, read_profile, read_samples

    result, samples = read_profile(folder / "out"), read_samples(folder / "out")
    if samples is not None:
        for mode in result["modes"]:
            for contender in mode["contenders"]:
                passes_of(samples, mode["mode"], contender)
    lines = [terminal_safe(line) for line in summary_lines(result)]
    print("\n".join(lines))
    return lines


def make_tune(folder: Path) -> None:
    from sacvit.commands.tune import main

    copy_bundle(folder)
    make_lists(folder)
    engines = [str(folder / "ee.onnx"), str(folder / "sac.onnx")]
    assert main(["--engine", *engines, "--data", str(folder / "a.csv"), "--out", str(folder / "out")]) == 0


def read_tune(folder: Path, damaged: Path) -> Any:
    from sacvit.machine.terminal import terminal_safe
    from sacvit.profiles.reports.tune_text import summary_lines
    from sacvit.profiles.results.result_files import read_thumbnails, read_tune

    lines = [terminal_safe(line) for line in summary_lines(read_tune(folder / "out"))]
    print("\n".join(lines))
    return lines, digest(*read_thumbnails(folder / "out").values())


def make_logs(folder: Path) -> None:
    """The test suite's real lines, as short logs."""
    import importlib.util

    path = ROOT / "tests" / "profiles" / "power" / "test_tegrastats_lines.py"
    spec = importlib.util.spec_from_file_location("lines_of_tegrastats", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = [line for line in module.REAL if "RAM " in line]
    for start in range(0, len(lines), LOG_LINES):
        (folder / f"{start:03}.log").write_text("\n".join(lines[start : start + LOG_LINES]) + "\n")


def read_logs(folder: Path, damaged: Path) -> Any:
    from sacvit.machine.terminal import terminal_safe
    from sacvit.profiles.reports.tegrastats_log import json_lines, read_log, summary_lines

    samples = read_log(damaged)
    lines = [terminal_safe(line) for line in (*summary_lines(samples), *json_lines(damaged, samples))]
    print("\n".join(lines))
    return lines


def cut_and_noise(content: bytes, chance: random.Random) -> bytes:
    """A last part that a kill or a power cut left: gone, or zeros."""
    place = chance.randrange(len(content) + 1)
    return content[:place] if chance.random() < 0.5 else content[:place] + bytes(len(content) - place)


def make_metrics(folder: Path) -> None:
    lines = [{"epoch": number, "loss": 1 / (number + 1), "val_top1": 0.5} for number in range(6)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_metrics(folder: Path, damaged: Path) -> Any:
    """As sacvit-train --resume does: lines of later epochs are dropped."""
    from sacvit.training.resume import forget_lines

    forget_lines(damaged, 4)
    return damaged.read_bytes()


def copy_thumbnails(folder: Path) -> None:
    make_tune(folder)
    shutil.rmtree(folder / "out" / "answers", ignore_errors=True)


ANSWERS = ("answers/*",)
KINDS = (
    Kind(
        "tune's stored answers",
        make_answers,
        ANSWERS,
        read_answers,
        (*BYTES, cut_and_noise),
        checked=True,
        writes=True,
        share=0.3,
    ),
    Kind(
        "tune's stored answers, signed again",
        make_answers,
        ("answers/answers.json",),
        read_answers,
        (signed_json,),
        writes=True,
        share=0.1,
    ),
    Kind(
        "tune's warm-up log, signed again",
        make_answers,
        ("answers/warmup.jsonl",),
        read_answers,
        (signed_lines,),
        writes=True,
        share=0.1,
    ),
    Kind(
        "run of sacvit-profile",
        make_profile,
        ("out/run.jsonl", "out/*.npz"),
        read_run,
        (*BYTES, cut_and_noise),
        writes=True,
        share=0.5,
    ),
    Kind(
        "run of sacvit-profile, signed again",
        make_profile,
        ("out/run.jsonl",),
        read_run,
        (signed_lines,),
        writes=True,
        share=0.5,
    ),
    Kind(
        "profile.json and its samples", make_profile, ("out/profile.json", "out/*.npz"), read_profile, BYTES, share=0.5
    ),
    Kind("profile.json alone", make_profile, ("out/profile.json",), read_profile, BYTES, checked=True, share=0.5),
    Kind("profile.json, other values", make_profile, ("out/profile.json",), read_profile, (changed_json,), share=0.5),
    Kind("tune.json and its thumbnails", copy_thumbnails, ("out/tune.json", "out/*.npz"), read_tune, BYTES, share=0.5),
    Kind("tune.json alone", copy_thumbnails, ("out/tune.json",), read_tune, BYTES, checked=True, share=0.5),
    Kind("tune.json, other values", copy_thumbnails, ("out/tune.json",), read_tune, (changed_json,), share=0.5),
    Kind("log of tegrastats", make_logs, ("*.log",), read_logs, (damaged_text, damaged_bytes)),
    Kind(
        "metrics.jsonl of a run that goes on",
        make_metrics,
        ("*",),
        read_metrics,
        (*BYTES, damaged_text),
        writes=True,
        share=0.3,
    ),
)
