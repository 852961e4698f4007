"""docs/notebook.md, block by block in one process, as in a notebook."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL")

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "notebook.md").read_text()
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", PAGE, re.S)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import cv2

    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "digits").mkdir()
    for number in range(6):
        picture = np.full((90, 120, 3), 40 * number, np.uint8)
        cv2.putText(picture, str(number), (40, 65), cv2.FONT_HERSHEY_SIMPLEX, 2, (250, 250, 250), 6)
        cv2.imwrite(str(tmp_path / "digits" / f"{number}.png"), picture)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(block: str, names: dict[str, object], capsys: pytest.CaptureFixture[str]) -> str:
    """What a notebook shows below a cell: what it printed, else its last line's value."""
    lines = block.rstrip().splitlines()
    try:
        last = compile(lines[-1], "cell", "eval")
    except SyntaxError:
        exec(block, names)
        return capsys.readouterr().out
    exec("\n".join(lines[:-1]), names)
    value = eval(last, names)
    return capsys.readouterr().out if value is None else repr(value)


def test_every_block_runs_and_shows_what_the_page_says(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    seen = ""
    for kind, block in BLOCKS:
        if kind == "python":
            seen = shown(block, names, capsys)
        else:
            version = r"ONNX Runtime [\d.]+ on"
            assert re.sub(version, "", seen).strip() == re.sub(version, "", block).strip()
    assert len(names["results"]) == 6 and len(BLOCKS) == 10
