from __future__ import annotations

import argparse
import pickle
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

from sacvit.bundle.precision import Limits
from sacvit.calibration.sensitivity import Effect
from sacvit.commands.export import main
from sacvit.export import write_bundle as export_module
from sacvit.export.checks.parity import Check
from sacvit.export.precision import cascade, variants


def run(checkpoint, tmp_path, *words: str) -> int:
    return main(["--ckpt", str(checkpoint), "--out", str(tmp_path / "build"), *words])


def test_a_bundle_is_written_and_its_folder_printed(tiny_checkpoint, tmp_path, capsys):
    assert run(tiny_checkpoint, tmp_path) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'build'}\n"
    assert "ok     SAC logits, torch against ONNX Runtime" in err
    assert "next: sacvit-run --engine" in err


def as_their_script_saves_it(golden, path):
    """checkpoint.pth of CF-ViT's and LF-ViT's main_deit.py: an average, arguments and more beside the weights."""
    tensors = torch.load(golden.checkpoint, weights_only=True)["model"]
    arguments = argparse.Namespace(lr=np.float64(5e-4), output_dir=path, input_size_list=[112, 224])
    average = {key: value * 0 for key, value in tensors.items()}
    beside = {"epoch": 299, "optimizer": {"state": {}}, "scaler": {"scale": 65536.0}, "args": arguments}
    torch.save({"model": tensors, "model_ema": average, **beside}, path)
    return path


def test_public_checkpoints_as_their_scripts_save_them_give_the_authors_answers(golden, tmp_path, capsys):
    words = [word for name, value in golden.options.items() for word in (f"--{name}", str(value))]
    assert run(as_their_script_saves_it(golden, tmp_path / "checkpoint.pth"), tmp_path, *words) == 0
    assert "--weights ema" in capsys.readouterr().err
    ee, sac = (onnxruntime.InferenceSession(tmp_path / "build" / name) for name in ("ee.onnx", "sac.onnx"))
    outputs = dict(zip([one.name for one in ee.get_outputs()], ee.run(None, {"image": golden.image_u8}), strict=True))
    handed = {one.name: outputs[one.name] for one in sac.get_inputs() if one.name in outputs}
    logits = sac.run(None, {"image": golden.image_u8, "row": np.arange(6, dtype=np.int32)} | handed)[0]
    assert np.abs(outputs["logits"] - golden.coarse_logits).max() < 1e-4
    assert np.abs(logits - golden.fine_logits).max() < 1e-4


def test_the_wanted_weights_are_exported(tiny_checkpoint, tmp_path):
    content = torch.load(tiny_checkpoint, weights_only=True)
    content["model_ema"] = {key: value * 0 for key, value in content["model"].items()}
    torch.save(content, tmp_path / "both.pth")
    folders = {}
    for weights in ("raw", "ema"):
        assert main(["--ckpt", str(tmp_path / "both.pth"), "--out", str(tmp_path / weights), "--weights", weights]) == 0
        session = onnxruntime.InferenceSession(tmp_path / weights / "ee.onnx")
        folders[weights] = session.run(["logits"], {"image": np.zeros((1, 64, 64, 3), np.uint8)})[0]
    assert np.abs(folders["raw"]).max() > 0.01 and not folders["ema"].any()


def test_a_failed_check_exits_3_and_writes_nothing(tiny_checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export_module, "check_pair", lambda *_: [Check("planted", 2.0, 1.0)])
    assert run(tiny_checkpoint, tmp_path) == 3
    assert "FAILED planted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_operator_outside_the_list_exits_3(tiny_checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sacvit.export.checks.lint.ALLOWED_OPERATORS", frozenset({"Add"}))
    assert run(tiny_checkpoint, tmp_path) == 3
    assert "ee.onnx is not portable" in capsys.readouterr().err


class Evil:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_malicious_checkpoint_runs_nothing(tmp_path, capsys, protocol):
    trap = tmp_path / "trap"
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model": Evil(trap)}, protocol))
    assert run(tmp_path / "evil.pth", tmp_path) == 1
    err = capsys.readouterr().err
    assert not trap.exists()
    assert "evil.pth refused: " in err and "Nothing was run" in err
    assert "Traceback" not in err and "weights_only" not in err  # torch's own advice is to load it unprotected


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--heads", "5"], 2, "width 32 does not divide into 5 heads"),
        (["--selection", "window"], 2, "selection window needs --window m"),
        (["--window", "2"], 2, "--window goes with --selection window"),
        (["--selection", "norm", "--window", "2"], 2, "--window goes with --selection window; with norm it would"),
        (["--alpha", "0"], 2, "alpha must lie in (0, 1], found 0.0"),
        (["--alpha", "1"], 2, "makes every one of the 16 blocks a target"),
        (["--threshold", "2"], 2, "--threshold must lie in [0, 1], found 2.0"),
        (["--batch", "0"], 2, "--batch must lie in 1 .. 256, found 0"),
        (["--labels", "missing.txt"], 2, "--labels missing.txt is not readable"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message_and_its_exit_code(tiny_checkpoint, tmp_path, capsys, words, code, message):
    assert run(tiny_checkpoint, tmp_path, *words) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--int8", "--calib", "missing"], 1, "--calib missing does not exist"),
        (["--int8", "--eval", "missing"], 1, "--eval missing does not exist"),
        (["--fp16", "--calib", __file__], 1, f"--calib {__file__} is none of"),
        (["--fp16", "--min-top1"], 2, "--min-top1 needs labels"),
        (["--fp16", "--calib-cache", __file__], 2, f"--calib-cache {__file__} is a file"),
        (["--int8", "--sensitivity", "s.csv"], 1, "needs matplotlib"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_images_and_packages_are_looked_for_before_a_graph_is_built(
    tiny_checkpoint, tmp_path, capsys, monkeypatch, words, code, message
):
    monkeypatch.setattr(export_module, "build_graphs", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(tiny_checkpoint, tmp_path, *words) == code
    assert message in capsys.readouterr().err


def test_a_missing_checkpoint_is_told(tmp_path, capsys):
    assert run(tmp_path / "no.pth", tmp_path) == 1
    assert "no.pth does not exist" in capsys.readouterr().err


def test_a_truncated_checkpoint_is_told(tiny_checkpoint, tmp_path, capsys):
    content = tiny_checkpoint.read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    assert run(tmp_path / "cut.pth", tmp_path) == 1
    assert "was cut short" in capsys.readouterr().err


def test_a_choice_that_is_none_exits_2(tiny_checkpoint, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--ckpt", str(tiny_checkpoint), "--attention", "sparse"])
    assert end.value.code == 2


def test_the_exported_pair_runs(tiny_checkpoint, tmp_path, images, capsys):
    import cv2

    from sacvit.commands.run import main as run_main

    assert run(tiny_checkpoint, tmp_path, "--batch", "2", "--threshold", "0.3") == 0
    cv2.imwrite(str(tmp_path / "picture.png"), images[0])
    engines = [str(tmp_path / "build" / name) for name in ("ee.onnx", "sac.onnx")]
    assert run_main(["--engine", *engines, "--camera", str(tmp_path / "picture.png")]) == 0
    shutil.rmtree(tmp_path / "build")


def typed(calibration_images, tmp_path, *words: str) -> list[str]:
    """Options of an INT8 export whose cache lies in the test's own folder."""
    return ["--int8", "--calib", str(calibration_images.path), "--calib-cache", str(tmp_path / "cache"), *words]


@pytest.fixture
def taken(monkeypatch) -> list:
    """The PrecisionOptions that reach the export, which then ends."""
    found = []

    def export(*_, precision, **__):
        found.append(precision)
        return SimpleNamespace(duration_s=0.0, threshold=0.5, variants={}, ee="ee.onnx", sac="sac.onnx", folder="build")

    monkeypatch.setattr(export_module, "export", export)
    return found


@pytest.mark.programs
def test_typed_variants_are_written_and_the_int8_pair_is_offered(tiny_checkpoint, tmp_path, calibration_images, capsys):
    words = typed(calibration_images, tmp_path, "--fp16", "--threshold", "0.302")
    assert run(tiny_checkpoint, tmp_path, *words) == 0
    out, err = capsys.readouterr()
    build = tmp_path / "build"
    assert out == f"{build}\n"
    assert f"next: sacvit-run --engine {build / 'ee.int8.onnx'} {build / 'sac.int8.onnx'} --camera 0" in err
    assert "int8: threshold 0." in err and "int8fp16   no [" in err
    assert len(list(build.iterdir())) == 10


def test_fp16_alone_offers_the_fp32_pair(tiny_checkpoint, tmp_path, capsys):
    """ONNX Runtime computes FP16 slowly; the pair is TensorRT's."""
    assert run(tiny_checkpoint, tmp_path, "--fp16") == 0
    assert f"next: sacvit-run --engine {tmp_path / 'build' / 'ee.onnx'}" in capsys.readouterr().err


def test_without_a_word_about_precision_none_is_made(tiny_checkpoint, tmp_path, capsys):
    assert run(tiny_checkpoint, tmp_path) == 0
    assert "calibration" not in capsys.readouterr().err
    assert len(list((tmp_path / "build").iterdir())) == 4


def test_every_option_reaches_the_export(taken, tmp_path):
    words = "--int8 --fp16 --calib c --calib-count 7 --calib-method entropy --calib-cache k --eval e --match none"
    words += " --min-top1 71.5 --auto --sensitivity s.csv --fp16-limit 100"
    assert run("model.pth", tmp_path, *words.split()) == 0
    (found,) = taken
    assert (found.int8, found.fp16, found.auto, found.match) == (True, True, True, "none")
    assert (found.calib, found.calib_count, found.calib_method) == (Path("c"), 7, "entropy")
    assert (found.calib_cache, found.evaluation, found.sensitivity) == (Path("k"), Path("e"), Path("s.csv"))
    assert (found.min_top1, found.fp16_limit, found.limits) == (71.5, 100.0, {})


def test_min_top1_without_a_number_means_fp32s(taken, tmp_path):
    assert run("model.pth", tmp_path, "--fp16", "--min-top1") == 0
    assert taken[0].min_top1 == "fp32"


@pytest.mark.parametrize("limit", fields(Limits), ids=lambda limit: limit.name)
def test_every_limit_has_its_flag(taken, tmp_path, limit):
    assert run("model.pth", tmp_path, "--fp16", limit.metadata["flag"], "0.125") == 0
    assert taken[0].limits == {limit.name: 0.125}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--calib", "x"], 2, "--calib goes with --int8, --fp16, --bf16 or --fp8; without one it would have no effect"),
        (["--eval", "x"], 2, "--eval goes with --int8, --fp16, --bf16 or --fp8"),
        (["--sensitivity", "x.csv"], 2, "--sensitivity goes with --int8, --fp16, --bf16 or --fp8"),
        (["--min-top1"], 2, "--min-top1 goes with --int8, --fp16, --bf16 or --fp8"),
        (["--auto"], 2, "--auto goes with --int8"),
        (["--fp16", "--auto"], 2, "--auto goes with --int8"),
        (["--fp16", "--min-top1", "101"], 2, "--min-top1 is a percentage in [0, 100], found 101"),
        (["--fp16", "--fp16-limit", "0"], 2, "--fp16-limit must lie in (0, 65504], found 0"),
        (["--fp16", "--sensitivity", "x.txt"], 2, "--sensitivity x.txt: give a name that ends in .csv"),
        (["--fp16", "--sensitivity", "missing/x.csv"], 1, "the folder missing does not exist"),
        (["--fp16", "--min-top1"], 2, "--min-top1 needs labels: give --eval"),
        (["--fp16", "--calib", "missing"], 1, "--calib missing does not exist; give "),
        (["--fp16", "--eval", "missing"], 1, "--eval missing does not exist"),
        (["--int8", "--calib", "{npz}", "--calib-count", "0"], 2, "for --calib must be at least 1, found 0"),
        (
            ["--int8", "--calib", "{npz}", "--eval", "{unlabelled}"],
            1,
            "unlabelled.npz has no labels. --eval needs labels",
        ),
        (["--int8", "--calib", "{empty}"], 1, "empty holds no images; expected "),
        (["--int8", "--calib", "{unreadable}"], 1, "1.png is no picture"),
        (["--int8", "--calib", "{repeated}"], 1, "all 3 images are one and the same; give different ones"),
        (["--int8", "--calib", "{textfile}"], 1, "images.csv, line 1: a path and a label are wanted"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_about_precision_is_one_message_and_leaves_nothing(
    tiny_checkpoint, tmp_path, bad_images, capsys, monkeypatch, words, code, message
):
    monkeypatch.setattr(export_module, "check_pair", lambda *_: [])
    before = sorted(bad_images["empty"].parent.rglob("*"))
    assert run(tiny_checkpoint, tmp_path, *(word.format(**bad_images) for word in words)) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == [] and sorted(bad_images["empty"].parent.rglob("*")) == before


@pytest.fixture(scope="module")
def bad_images(calibration_images, tmp_path_factory) -> dict[str, Path]:
    """Places that hold no images to calibrate on, or no labels."""
    import cv2

    home = tmp_path_factory.mktemp("bad")
    for name in ("empty", "unreadable"):
        (home / name).mkdir()
    cv2.imwrite(str(home / "unreadable" / "0.png"), calibration_images.images[0])
    (home / "unreadable" / "1.png").write_bytes(b"no picture")
    (home / "images.csv").write_text("0.png\n")
    np.savez(home / "unlabelled.npz", images=calibration_images.images[:3])
    np.savez(home / "repeated.npz", images=calibration_images.images[[0, 0, 0]])
    return {
        "npz": calibration_images.path,
        "empty": home / "empty",
        "unreadable": home / "unreadable",
        "unlabelled": home / "unlabelled.npz",
        "repeated": home / "repeated.npz",
        "textfile": home / "images.csv",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--calib-method", "best"], "invalid choice: 'best'"),
        (["--match", "accuracy"], "invalid choice: 'accuracy'"),
        (["--calib-count", "many"], "invalid int value: 'many'"),
        (["--min-top1", "all"], "invalid percent value: 'all'"),
        (["--fp16-limit", "much"], "invalid float value: 'much'"),
        (["--max-logit-error"], "expected one argument"),
        (["--calib"], "expected one argument"),
        (["--int"], "unrecognized arguments: --int"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_parser_does_not_know_exits_2(tiny_checkpoint, tmp_path, capsys, words, message):
    with pytest.raises(SystemExit) as end:
        run(tiny_checkpoint, tmp_path, *words)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_a_breached_guard_exits_3_names_its_flag_and_writes_nothing(
    tiny_checkpoint, tmp_path, calibration_images, capsys, monkeypatch
):
    monkeypatch.setattr(variants, "measure_both", lambda *_: [Effect("EE", "blocks.0", 0.1, 0.2, 0.1, 0, 32)])
    words = typed(calibration_images, tmp_path, "--threshold", "0.302", "--max-logit-error", "0.001")
    assert run(tiny_checkpoint, tmp_path, *words) == 3
    err = capsys.readouterr().err
    assert "sacvit-export: int8 does not decide as FP32 does; nothing was written:" in err
    assert err.rstrip().endswith("A wider limit, if you accept what it means: --max-logit-error")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_an_interruption_exits_130_and_keeps_what_was_measured(
    tiny_checkpoint, tmp_path, calibration_images, capsys, monkeypatch
):
    original = cascade.observe

    def observe(name, *rest):
        if name == "sac.onnx":
            raise KeyboardInterrupt
        return original(name, *rest)

    monkeypatch.setattr(cascade, "observe", observe)
    assert run(tiny_checkpoint, tmp_path, *typed(calibration_images, tmp_path)) == 130
    assert capsys.readouterr().err.endswith("sacvit-export: interrupted\n")
    assert [path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()] == ["ee"]
    assert not (tmp_path / "build").exists()


LIMITED = """
import resource, sys
from sacvit.commands.export import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.programs
def test_a_disk_that_fills_up_exits_1_and_leaves_the_bundle_as_it_was(tiny_bundle, tiny_checkpoint, tmp_path, warm_bin):
    """A limit on the size of a file stands for the full disk: graphs have 200 kB, ranges 8."""
    out = tmp_path / "build"
    shutil.copytree(tiny_bundle, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    words = ["--ckpt", tiny_checkpoint, "--out", out, "--fp16", "--alpha", "0.4", "--calib-cache", tmp_path / "cache"]
    command = [warm_bin / "python", "-c", LIMITED, 100_000, *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"{out} cannot be written" in done.stderr and "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_help_imports_nothing_of_the_typed_variants():
    code = (
        "import sys\nfrom sacvit.commands.export import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'onnx', 'onnxruntime', 'onnx_graphsurgeon', 'matplotlib', 'tqdm', 'cv2'}\n"
        "print(heavy & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "set()\n"
    assert all(limit.metadata["flag"] in done.stdout for limit in fields(Limits))


@pytest.mark.parametrize("name", ["onnx_graphsurgeon", "matplotlib"])
def test_a_missing_package_is_told_with_its_cure(tmp_path, capsys, monkeypatch, name):
    def export(*_, **__):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(export_module, "export", export)
    assert run("model.pth", tmp_path, "--fp16") == 1
    wanted = f"sacvit-export: this needs {name}, which is not installed. pip install 'sacvit[export]'\n"
    assert capsys.readouterr().err == wanted
