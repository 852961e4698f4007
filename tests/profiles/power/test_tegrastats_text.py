from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacvit.profiles.power.tegrastats_lines import read_line, read_lines
from sacvit.profiles.power.tegrastats_text import LONGEST_KEPT, log_lines

LOG = Path(__file__).parent.parent / "tegrastats" / "agx-orin-jp6-root.txt"
TEXT = LOG.read_text()
SAMPLES = [sample.to_json() for _, sample in read_lines(TEXT.splitlines())]


def coloured(line: str) -> str:
    """As `grep --color=always VDD_CPU_CV` prints it, with the title that a terminal was given."""
    return "\x1b]0;tegrastats\x07" + line.replace("VDD_CPU_CV", "\x1b[01;31m\x1b[KVDD_CPU_CV\x1b[m\x1b[K")


def docker(line: str) -> str:
    return json.dumps({"log": line + "\n", "stream": "stdout", "time": "2025-07-21T16:33:42.123456789Z"})


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r\n").encode(),
        "\n".join(map(coloured, TEXT.splitlines())).encode(),
        "\n".join(map(docker, TEXT.splitlines())).encode(),
    ],
    ids=[
        "UTF-8 with a mark",
        "UTF-16",
        "UTF-16 LE without a mark",
        "UTF-16 BE without a mark",
        "CRLF",
        "colours",
        "Docker",
    ],
)
def test_a_log_is_read_however_it_was_kept(content, tmp_path):
    (tmp_path / "log").write_bytes(content)
    assert [sample.to_json() for _, sample in read_lines(log_lines(tmp_path / "log"))] == SAMPLES


def test_what_only_looks_like_docker_s_lines_is_kept(tmp_path):
    lines = ['{"log": 5}', '{"other": "RAM"}', '{"log', '{"' + "[" * 100]
    (tmp_path / "log").write_text("\n".join(lines))
    assert list(log_lines(tmp_path / "log")) == lines


def test_a_line_without_end_is_cut_and_keeps_its_number(tmp_path):
    (tmp_path / "log").write_text("x" * (3 * LONGEST_KEPT) + "\n" + TEXT.splitlines()[0] + "\n")
    first, second = log_lines(tmp_path / "log")
    assert len(first) == LONGEST_KEPT and read_line(second) is not None


def test_an_empty_file_has_no_lines(tmp_path):
    (tmp_path / "log").write_bytes(b"")
    assert list(log_lines(tmp_path / "log")) == []
