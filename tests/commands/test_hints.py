"""What a new user types first, wrongly: each message names what would work."""

from __future__ import annotations

import importlib
import shlex
import shutil
from pathlib import Path

import pytest

from sacvit.commands.hints import EXAMPLES

ENGINES = "--engine build/ee.onnx build/sac.onnx"
EXPORT = "sacvit-export --ckpt model.pth --out build"


@pytest.fixture
def home(tmp_path: Path, bundles: Path, pictures, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle, a checkpoint that is none, pictures by class, and an empty folder."""
    import cv2

    shutil.copytree(bundles / "bundle", tmp_path / "build")
    for name in ("photos/ant", "photos/bee", "empty"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("photos/ant/1.png", "photos/bee/1.png", "cat.png"):
        cv2.imwrite(str(tmp_path / name), pictures[0])
    (tmp_path / "model.pth").write_bytes(b"weights")
    (tmp_path / "notes.txt").write_text("hello\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command line, and its message without the usage."""
    prog, *words = shlex.split(line)
    main = importlib.import_module(f"sacvit.commands.{prog.removeprefix('sacvit-')}").main
    try:
        code = main(words)
    except SystemExit as end:
        code = int(str(end.code))
    return code, capsys.readouterr().err.rpartition(f"{prog}: ")[2]


RUN = [
    ("sacvit-run", "sacvit-run --engine build/ee.onnx build/sac.onnx --camera 0"),
    ("sacvit-run model.pth", EXPORT),
    ("sacvit-run --engine model.pth", EXPORT),
    ("sacvit-run --engine model.pth model.pth --camera cat.png", EXPORT),
    ("sacvit-run --ckpt model.pth --camera 0", EXPORT),
    ("sacvit-run --engine build build --camera cat.png", ENGINES),
    ("sacvit-run --engine build/ee.onnx --camera cat.png", "build/ee.onnx build/sac.onnx, or their folder"),
    ("sacvit-run --engine empty --camera cat.png", "sacvit-export --ckpt model.pth --out empty"),
    ("sacvit-run --engine notes.txt notes.txt --camera cat.png", EXPORT),
    (f"sacvit-run {ENGINES}", "--camera 0"),
    ("sacvit-run --camera cat.png", "--engine build/ee.onnx build/sac.onnx"),
    (f"sacvit-run {ENGINES} cat.png", "--camera cat.png"),
    (f"sacvit-run {ENGINES} --video cat.png", "Write --camera in place of --video"),
    (f"sacvit-run {ENGINES} --camera cat.png --eta 0.5", "Write --threshold in place of --eta"),
    (f"sacvit-run {ENGINES} --camera cat.png --treshold 0.5", "--threshold"),
    (f"sacvit-run {ENGINES} --camera cat.png --out o.mp4", "Write --save in place of --out"),
    (f"sacvit-run {ENGINES} --camera photos", "--camera 'photos/*/*'"),
    (f"sacvit-run {ENGINES} --camera nothing.mp4", "sacvit-run --check-camera nothing.mp4"),
    ("sacvit-run --engine old/ee.onnx old/sac.onnx --camera cat.png", "sacvit-export --ckpt model.pth --out old"),
    ("sacvit-run --engine build/ee.int8.onnx build/sac.int8.onnx --camera cat.png", f"{EXPORT} --int8"),
    ("sacvit-run --engine build/ee.plan build/sac.plan --camera cat.png", "sacvit-build build"),
]
PROFILE = [
    ("sacvit-profile", ENGINES),
    ("sacvit-profile build", "Write --engine build"),
    ("sacvit-profile --engine model.pth model.pth", EXPORT),
    ("sacvit-profile --estimate orin-nano-8gb", f"sacvit-profile {ENGINES} --estimate orin-nano-8gb"),
    (f"sacvit-profile {ENGINES} --estimate orin-nano-8gb --threshold 0.5", "--threshold has no effect with --estimate"),
    (f"sacvit-profile {ENGINES} --estimate orin-nano-8gb --out o", "--out has no effect with --estimate"),
    (f"sacvit-profile {ENGINES} --plain build/plain.onnx --iterations 6", f"{EXPORT} --plain"),
    (f"sacvit-profile {ENGINES} --plain build --iterations 6", f"{EXPORT} --plain. Then: --plain build/plain.onnx"),
    (f"sacvit-profile {ENGINES} --plain build/ee.onnx --iterations 6", "--plain build/plain.onnx"),
    (f"sacvit-profile {ENGINES} --eta 0.5", "--threshold"),
    (f"sacvit-profile {ENGINES} --camera cat.png", "Write --source in place of --camera"),
]
TUNE = [
    ("sacvit-tune", f"sacvit-tune {ENGINES} --data photos/val"),
    (f"sacvit-tune {ENGINES}", "--data photos/val"),
    (f"sacvit-tune {ENGINES} photos", "--data photos"),
    ("sacvit-tune --engine model.pth model.pth --data photos", EXPORT),
    (f"sacvit-tune {ENGINES} --data photos --eta 0.5", "--point"),
    (f"sacvit-tune {ENGINES} --data photos --threshold 0.5", "--point"),
]
SERVE = [
    ("sacvit-serve", f"sacvit-serve {ENGINES}"),
    ("sacvit-serve build", "Write --engine build"),
    ("sacvit-serve --engine model.pth model.pth", EXPORT),
    (f"sacvit-serve {ENGINES} --eta 0.5", "--threshold"),
]
BUILD = [
    ("sacvit-build", "sacvit-build build"),
    ("sacvit-build model.pth", EXPORT),
    ("sacvit-build build/ee.onnx", "give its folder: build"),
    ("sacvit-build old", "sacvit-export --ckpt model.pth --out old"),
    ("sacvit-build empty", "sacvit-export --ckpt model.pth --out empty"),
    (f"sacvit-build {ENGINES}", "sacvit-build build"),
    ("sacvit-build build --eta 0.5", "sacvit-run --threshold"),
]
REPORT = [
    ("sacvit-report", "sacvit-report profile"),
    ("sacvit-report build", "sacvit-profile --out"),
    ("sacvit-report nothing", "sacvit-profile --out"),
    ("sacvit-report cat.png", "sacvit-profile --out"),
]
EXPORTS = [
    ("sacvit-export", EXPORT),
    ("sacvit-export model.pth", "Write --ckpt model.pth"),
    ("sacvit-export --checkpoint model.pth", "Write --ckpt in place of --checkpoint"),
    ("sacvit-export --ckpt build/ee.onnx", "sacvit-run --engine"),
    ("sacvit-export --ckpt notes.txt", ".pth or .safetensors"),
    ("sacvit-export --ckpt nothing.pth", ".pth or .safetensors"),
    ("sacvit-export --ckpt model.pth --eta 0.5", "Write --threshold in place of --eta"),
    ("sacvit-export --ckpt model.pth --int9", "--int8"),
    ("sacvit-export --ckpt model.pth --half", "--fp16"),
    ("sacvit-export --ckpt model.pth --calib photos", "--int8"),
]
TRAIN = [
    ("sacvit-train", "sacvit-train --data photos"),
    ("sacvit-train photos", "Write --data photos"),
    ("sacvit-train --data photos --out run", "DIR/train/CLASS/1.jpg"),
    ("sacvit-train --data cat.png --out run", "cat.png is no folder"),
    ("sacvit-train --data photos --lr 0.1", "--learning-rate"),
    ("sacvit-train --data photos --recipe finetune", "--start FILE"),
    ("sacvit-train --data photos --eta 0.5", "sacvit-tune"),
]


def require_hint(line: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = call(line, capsys)
    assert code in (1, 2, 4) and hint in message and "Traceback" not in message, message


@pytest.mark.parametrize(("line", "hint"), [*RUN, *PROFILE, *TUNE, *SERVE, *BUILD, *REPORT])
def test_a_wrong_first_command_names_what_would_work(home, capsys, line, hint):
    require_hint(line, hint, capsys)


@pytest.mark.parametrize(("line", "hint"), [*EXPORTS, *TRAIN])
def test_a_wrong_first_export_or_training_names_what_would_work(home, capsys, line, hint):
    pytest.importorskip("torch")
    require_hint(line, hint, capsys)


@pytest.mark.parametrize("prog", EXAMPLES)
def test_the_example_of_a_command_can_be_parsed(prog):
    module = importlib.import_module(f"sacvit.commands.{prog.removeprefix('sacvit-')}")
    assert module.build_parser().parse_args(shlex.split(EXAMPLES[prog])[1:])


def test_help_ends_with_the_example():
    assert (
        importlib.import_module("sacvit.commands.build").build_parser().format_help().endswith("sacvit-build build\n")
    )


def test_a_report_in_text_names_an_option_without_effect(home, capsys):
    require_hint("sacvit-report --text --out page.html build", "--out has no effect with --text", capsys)


def test_a_path_with_a_space_is_quoted_in_the_command(home, capsys):
    (home / "my model.pth").write_bytes(b"weights")
    require_hint("sacvit-run --engine 'my model.pth'", "--ckpt 'my model.pth'", capsys)


@pytest.mark.parametrize(
    "line",
    [
        "sacvit-run --engine build --camera cat.png",
        "sacvit-profile --engine build --iterations 6 --warmup-ms 1",
        "sacvit-serve --engine build --out models",
    ],
)
def test_the_folder_of_a_bundle_stands_for_its_two_files(home, capsys, line):
    assert call(line, capsys)[0] == 0


def test_a_profile_without_out_says_how_to_get_the_page(home, capsys):
    code, message = call(f"sacvit-profile {ENGINES} --iterations 6 --warmup-ms 1", capsys)
    assert code == 0 and "--out profile" in message
