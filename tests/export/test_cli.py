from __future__ import annotations

import pickle
import shutil

import pytest

from sacvit.export import export as export_module
from sacvit.export.cli import main
from sacvit.export.parity import Check


def run(checkpoint, tmp_path, *words: str) -> int:
    return main(["--ckpt", str(checkpoint), "--out", str(tmp_path / "build"), *words])


def test_a_bundle_is_written_and_its_folder_printed(tiny_checkpoint, tmp_path, capsys):
    assert run(tiny_checkpoint, tmp_path) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'build'}\n"
    assert "ok     SAC logits, torch against ONNX Runtime" in err
    assert "next: sacvit-run --engine" in err


def test_public_checkpoints_export_with_their_options(golden, tmp_path):
    words = [word for name, value in golden.options.items() for word in (f"--{name}", str(value))]
    assert run(golden.checkpoint, tmp_path, *words) == 0


def test_a_failed_check_exits_3_and_writes_nothing(tiny_checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export_module, "check_pair", lambda *_: [Check("planted", 2.0, 1.0)])
    assert run(tiny_checkpoint, tmp_path) == 3
    assert "FAILED planted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_operator_outside_the_list_exits_3(tiny_checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sacvit.export.lint.ALLOWED_OPERATORS", frozenset({"Add"}))
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
        (["--alpha", "0"], 2, "alpha must lie in (0, 1], found 0.0"),
        (["--alpha", "1"], 2, "makes every one of the 16 blocks a target"),
        (["--threshold", "2"], 2, "--threshold must lie in [0, 1], found 2.0"),
        (["--batch", "0"], 2, "--batch must lie in 1 .. 256, found 0"),
        (["--labels", "missing.txt"], 1, "--labels missing.txt is not readable"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message_and_its_exit_code(tiny_checkpoint, tmp_path, capsys, words, code, message):
    assert run(tiny_checkpoint, tmp_path, *words) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_checkpoint_is_told(tmp_path, capsys):
    assert run(tmp_path / "no.pth", tmp_path) == 1
    assert "no.pth does not exist; expected the .pth file" in capsys.readouterr().err


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

    from sacvit.runtime.cli import main as run_main

    assert run(tiny_checkpoint, tmp_path, "--batch", "2", "--threshold", "0.3") == 0
    cv2.imwrite(str(tmp_path / "picture.png"), images[0])
    engines = [str(tmp_path / "build" / name) for name in ("ee.onnx", "sac.onnx")]
    assert run_main(["--engine", *engines, "--camera", str(tmp_path / "picture.png")]) == 0
    shutil.rmtree(tmp_path / "build")
