"""What is no checkpoint is called what it is, with the way to get the checkpoint."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from sacvit.model.foreign_files import BEGINNINGS, describe_archive, describe_foreign_file


def described(tmp_path: Path, content: bytes) -> str | None:
    (tmp_path / "a.pth").write_bytes(content)
    return describe_foreign_file(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "kind", "cure"),
    [
        (b"<!DOCTYPE html><title>Virus scan warning</title>", "a web page (Virus scan warning)", "Download the file"),
        (b"\xef\xbb\xbf\n <HTML lang=en>", "a web page", "Download the file"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "a web page", "Download the file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer", "git lfs pull"),
        (b'{"error": "Repository not found"}', "JSON text", "download the file again"),
        (b"\x1f\x8b\x08\0", "compressed with gzip", "gzip -d"),
        (b"", "empty", "again"),
    ],
)
def test_a_file_is_called_what_it_is(tmp_path: Path, content: bytes, kind: str, cure: str) -> None:
    found = described(tmp_path, content)
    assert found is not None and kind in found and cure in found


@pytest.mark.parametrize("beginning", [row[0] for row in BEGINNINGS])
def test_every_known_beginning_is_found(tmp_path: Path, beginning: bytes) -> None:
    assert described(tmp_path, beginning + bytes(20)) is not None


def test_a_page_s_title_cannot_steer_a_terminal(tmp_path: Path) -> None:
    found = described(tmp_path, b"<html><title>\x1b[2J\x9b evil \xe2\x80\xae\n</title>")
    assert found is not None and found.isprintable()


def test_a_checkpoint_of_torch_is_none_of_these(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"a": torch.zeros(2)}, tmp_path / "new.pth")
    assert describe_foreign_file(tmp_path / "old.pth") is None
    assert describe_archive(zipfile.ZipFile(tmp_path / "new.pth").namelist()) is None


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["weights/deit.pth", "readme.txt"], ("contains weights/deit.pth", "Unpack it")),
        (["net/constants.pkl", "net/data.pkl", "net/code/a.py"], ("TorchScript", "torch.jit.load")),
        (["photo.jpg"], ("without weights",)),
    ],
)
def test_an_archive_is_called_what_it_is(names: list[str], words: tuple[str, ...]) -> None:
    found = describe_archive(names)
    assert found is not None and all(word in found for word in words)
