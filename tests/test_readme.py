"""Every command and every line of Python in README.md and docs/benchmarks.md runs; the numbers are those that were measured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text()
BIN = Path(sys.executable).parent
# Run by .ci/run, or by the demo's own test below; they cannot run inside the tests that they run.
RUN_ELSEWHERE = ("make test", "make demo", "pip install", "sudo apt", "python3 -m venv", ". .venv/bin/activate")
SHORTENED = {
    "python benchmarks/chain.py": " --preset demo --rounds 1 --images 8 --batch 1",  # 6 of 8 exit: both paths are timed
    "python benchmarks/startup.py": " --runs 1",
    "python benchmarks/profiler.py": " --rounds 2 --window-s 0.1 --out cost.json",
    "sacvit-profile --engine build/measured/ee.onnx build/measured/sac.onnx --plain": " --duration-s 0.05 --warmup-ms 20",
    "python examples/digits/make_scenes.py --out data/tune": " --val 120",
    # Few images are enough for the command; on some processor a gate of so few might flip.
    "sacvit-export --ckpt examples/digits/model.pth --out build/int8": " --calib-count 48 --min-exit-agreement 0.8",
    "sacvit-build build/int8 --only tensorrt": " --precision int8",
    "sacvit-build build/int8 --target": "",
    "sacvit-build build/int8": " --precision fp32",
    "python benchmarks/int8.py": " --preset demo --rounds 1 --images 2 --calib-count 8 --batch 1",
}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README + BENCHMARKS, re.S)


def commands() -> list[str]:
    joined = "\n".join(blocks("sh")).replace("\\\n", " ")
    lines = [line.partition(" # ")[0].strip() for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", *RUN_ELSEWHERE))]


@pytest.fixture(scope="module")
def clone(tmp_path_factory, warm_bin):
    """A folder that looks like a clone after `make demo`: what README's commands start from."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("examples", "benchmarks", "tests"):
        (folder / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [warm_bin / "python", "examples/digits/demo.py", "--out", "demo", "--shots", "3", "--profile-s", "0.05"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder / "demo.log").write_text(done.stdout)
    return folder


@pytest.mark.programs
def test_the_demo_writes_what_it_promises(clone):
    for name in ("annotated.mp4", "sheet.png", "frames.jsonl", "build/ee.onnx", "build/sac.onnx", "build/sacvit.json"):
        assert (clone / "demo" / name).stat().st_size > 0
    assert "Look at:" in (clone / "demo.log").read_text()


@pytest.mark.programs
def test_the_demo_is_right_about_most_frames_and_lets_half_of_them_exit(clone):
    frames = [json.loads(line) for line in (clone / "demo" / "frames.jsonl").read_text().splitlines()]
    truth = json.loads((clone / "demo" / "clip.json").read_text())
    right = [frame["index"] == digit for frame, digit in zip(frames, truth, strict=True)]
    assert sum(right) / len(right) > 0.8
    assert 0.3 < sum(frame["stage"] == "EE" for frame in frames) / len(frames) < 0.95


def test_make_demo_is_what_is_tested_here():
    assert "examples/digits/demo.py --out demo" in (ROOT / "Makefile").read_text()


def test_there_are_commands_to_run():
    assert len(commands()) == 29


@pytest.mark.programs
@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_runs(clone, warm_bin, command):
    """In a shell, as it stands there; the environment is what `. .venv/bin/activate` would make of it."""
    command += next((more for start, more in SHORTENED.items() if command.startswith(start)), "")
    active = os.environ | {"PATH": os.pathsep.join([str(warm_bin), str(BIN), os.environ["PATH"]])}
    if command.startswith("sacvit-build"):
        active["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # its children want to be those of their starter
    if any(word in command for word in ("--only tensorrt", "--target", ".plan")):
        active["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        stand_in = str(ROOT / "tests" / "fake_gpu")  # no GPU here
        active["PYTHONPATH"] = os.pathsep.join([stand_in, active.get("PYTHONPATH", "")])
        # 10.16 builds one typing of each stage, where 10.3 builds two.
        active["FAKE_TENSORRT"] = "rtx-1.7" if "--target rtx" in command else "10.16"
    done = subprocess.run(["bash", "-c", command], cwd=clone, env=active, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.programs
@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_of_the_readme_runs(clone, code):
    done = subprocess.run([sys.executable, "-c", code], cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_folder_map_names_every_folder():
    named = set(re.findall(r"^([a-z]+)/ ", README, re.M))
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders | {"examples", "benchmarks", "docs", "tests"} == named


def test_every_link_of_the_readme_leads_somewhere():
    paths = re.findall(r"\]\(([^)#:]+)\)", README)
    assert paths and [path for path in paths if not (ROOT / path).exists()] == []


def test_every_source_file_that_the_docs_name_exists():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    added = set(
        re.findall(r"^`([\w/]+\.py)`:$", (ROOT / "docs/extending.md").read_text(), re.MULTILINE)
    )  # by its reader
    named = {(page.name, name) for page in pages for name in re.findall(r"`(\w+/[\w/]+\.py)`", page.read_text())}
    assert added and not {(page, name) for page, name in named if name not in added and not (ROOT / name).exists()}


def test_the_chosen_engine_is_as_much_faster_as_measured():
    found = json.loads((ROOT / "docs/measured/alternatives.json").read_text())["batches"]
    ratios = {
        other: [
            rows[other]["ms_per_image"] / rows["chain, ONNX Runtime INT8"]["ms_per_image"] for rows in found.values()
        ]
        for other in ("plain, torch.compile", "plain, ONNX Runtime INT8")
    }
    for text in (README, BENCHMARKS):
        assert "**{:.2f}x** at batch 1, **{:.2f}x** at batch 16".format(*ratios["plain, torch.compile"]) in text
    assert "{:.2f}x and {:.2f}x".format(*ratios["plain, ONNX Runtime INT8"]) in BENCHMARKS


def test_the_speedups_are_those_of_the_measured_file():
    for result in json.loads((ROOT / "docs" / "measured" / "chain.json").read_text())["results"]:
        speedup = result["speedup"]
        for text in (README, BENCHMARKS):
            assert f"**{speedup['median']:.2f}x** faster ({speedup['min']:.2f} to {speedup['max']:.2f}" in text
            assert f"{result['exit_rate']:.0%}".replace("%", " %") in text
        assert f"{result['overhead_over_bare_sessions']:.1%}".replace("%", " %") in BENCHMARKS


def test_the_digits_numbers_are_those_of_the_figures():
    numbers = json.loads((ROOT / "docs" / "digits" / "numbers.json").read_text())
    by_eta = {row["eta"]: row for row in numbers["eta"]}
    stored = by_eta[numbers["stored_eta"]]
    plain = f"{100 * numbers['plain']['plain_top1']:.1f} % in {numbers['plain']['ms']:.2f} ms"
    assert f"chain {100 * stored['top1']:.1f} % top-1 in {stored['ms']:.2f} ms; plain ViT {plain}" in README
    for text in (BENCHMARKS, (ROOT / "docs" / "digits.md").read_text()):
        for row in (by_eta[0.0], by_eta[1.0], stored):
            assert f"{100 * row['top1']:.1f} %" in text and f"{row['ms']:.2f}" in text
    assert plain in BENCHMARKS


def measured(name: str) -> dict:
    return json.loads((ROOT / "docs" / "measured" / f"{name}.json").read_text())


PRECISION = (ROOT / "docs" / "precision.md").read_text()


def test_the_int8_speedups_are_those_of_the_measured_file():
    for result in measured("int8")["results"]:
        speedup = result["speedup"]
        spread = f"({speedup['min']:.2f} to {speedup['max']:.2f}"
        assert f"**{speedup['median']:.2f}x** {spread}) at batch {result['batch']}" in BENCHMARKS
        assert result["batch"] != 1 or f"**{speedup['median']:.2f}x** {spread})" in README
        assert f"{speedup['median']:.2f}x" in PRECISION and spread in PRECISION


@pytest.mark.parametrize("precision", ["int8", "fp16", "int8fp16"])
def test_the_numbers_of_a_variant_are_those_of_its_manifest(precision):
    variant = measured("precision")["mse"]["variants"][precision]
    value = {guard["name"]: guard["value"] for guard in variant["guards"]}
    start = f"| `*.{precision}.onnx` | {variant['threshold']['value']:g} |"
    row = next(line for line in PRECISION.splitlines() if line.startswith(start))
    assert f"{100 * value['exit agreement']:.2f} %" in row and f"{100 * value['target blocks kept']:.1f} %" in row
    assert f"{value['mean logit error, EE']:.4f} / {value['mean logit error, SAC']:.4f}" in row


def test_the_comparison_with_model_optimizer_is_the_measured_one():
    for result in measured("quantization")["results"]:
        numbers = f"{100 * result['top1']:.2f} % | {100 * result['exit_agreement']:.2f} %"
        assert any(result["recipe"] in line and numbers in line for line in PRECISION.splitlines())


def test_the_choices_are_the_measured_ones():
    for choice in measured("choices")["choices"].values():
        assert f"{choice['mean_logit_error_ee']:.4f} / {choice['mean_logit_error_sac']:.4f}" in PRECISION


def test_the_profiler_s_cost_is_the_measured_one():
    found = measured("profiler")
    assert (
        f"at most {100 * found['cost']:.2f} % of throughput: recording {100 * found['recording']:.2f} %" in BENCHMARKS
    )
    assert f"power at 10 Hz {100 * found['sampling']:.2f} %" in BENCHMARKS and found["cost"] < 0.01


def test_what_the_builtin_photographs_cost_and_let_through_is_the_measured():
    for found in measured("builtin_calibration")["subjects"].values():
        own, _, _, kept = found["cost"]
        assert f"{100 * own['decisions_equal']:.2f} % / {100 * kept['decisions_equal']:.2f} %" in PRECISION
        caught = found["caught"]
        counts = f"| {caught['fail_on_own']} of {caught['broken']} | {caught['let_through_by_the_usual_limits']} |"
        assert f"{counts} **{caught['let_through']}** | {caught['refused_though_own_pass']} |" in PRECISION
