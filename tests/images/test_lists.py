"""Lists of pictures: CSV as spreadsheets write it, and text files with a picture per line."""

from __future__ import annotations

import contextlib
import csv
import os
from pathlib import Path

import pytest

from sacvit.bundle.errors import ImageError
from sacvit.images import lists
from sacvit.images.lists import Listed, read_csv, read_list


def csv_of(folder: Path, text: str, encoding: str = "utf-8") -> Listed:
    (folder / "list.csv").write_bytes(text.encode(encoding))
    return read_csv(folder / "list.csv")


def list_of(folder: Path, text: str) -> Listed:
    (folder / "list.txt").write_bytes(text.encode())
    return read_list(folder / "list.txt")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ('a.png,cat\n"b, c.png",ant\nsub/d.png,cat\n', "utf-8"),
        ('path,label\na.png,cat\n"b, c.png",ant\nsub/d.png,cat\n', "utf-8"),
        ('Path, Label\r\na.png, cat\r\n"b, c.png",ant\r\n\r\nsub/../sub/d.png,cat', "utf-8-sig"),
        ("filename;class\na.png;cat\nb, c.png;ant\nsub/d.png;cat\n", "utf-8"),
        ("a.png\tcat\nb, c.png\tant\nsub/d.png\tcat\n", "utf-8"),
        ('id,Image Path,target\n1,a.png,cat\n2,"b, c.png",ant\n3,sub/d.png,cat\n', "utf-8"),
        ("Bild;Klasse\na.png;cat\nb, c.png;ant\n;\nsub/d.png;cat\n", "utf-8"),
        ('"a.png","cat"\n"b, c.png","ant"\n"sub/d.png","cat"\n', "utf-8"),
        ("file\tlabel\na.png\tcat\nb, c.png\tant\nsub/d.png\tcat\n", "utf-16"),
        ("sep=;\r\na.png;cat\r\nb, c.png;ant\r\nsub/d.png;cat\r\n", "utf-8"),
        ('cat,a.png\nant,"b, c.png"\ncat,sub/d.png\n', "utf-8"),
        ('a.png,cat\n"b, c.png",ant\nsub\\d.png,cat\n', "utf-8"),
    ],
    ids=[
        *("bare", "header", "BOM, CRLF, blanks", "semicolons", "tabs"),
        *("other columns beside them", "header of other words", "quotes"),
        *("UTF-16", "Excel's separator", "label first", "backslashes"),
    ],
)
def test_a_csv_names_paths_and_labels(tmp_path: Path, text: str, encoding: str) -> None:
    found = csv_of(tmp_path, text, encoding)
    assert (found.names, found.labels) == (["a.png", "b, c.png", "sub/d.png"], ["cat", "ant", "cat"])


def test_a_first_row_without_a_suffix_is_a_picture_where_it_exists(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert csv_of(tmp_path, "a,cat\nb,ant\n").names == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.png,cat\nsub/d.png\n", "line 2: a path and a label are wanted, found 1 fields"),
        ("a.png,cat\nsub/d.png,\n", "line 2: a path and a label are wanted"),
        ("a.png,cat,1\n", "line 1: a path and a label are wanted, found 3 fields"),
        ("a.png,cat\n../d.png,cat\n", r"line 2: \.\./d\.png lies outside .*put the list beside its pictures"),
        ("a.png,cat\n/etc/passwd,cat\n", "line 2: /etc/passwd lies outside"),
        ("a.png,0\na\0.png,1\n", r"list\.csv"),
        (f"a.png,0\n{'x' * 5000},1\n", "is no readable CSV: field larger than field limit"),
    ],
)
def test_a_csv_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        csv_of(tmp_path, text)


def test_a_list_that_is_no_text_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"list\.csv is no UTF-8 text: .*Save it as UTF-8"):
        csv_of(tmp_path, "a.png,caf\xe9\n", "latin-1")


def test_a_list_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_LIST_BYTES", 1 << 20)
    with pytest.raises(ImageError, match=r"list\.txt has 2 MiB; the limit is 1 MiB"):
        list_of(tmp_path, "\n" * (2 << 20))


def test_a_link_out_of_the_lists_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.png").touch()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "x.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(ImageError, match=r"x\.png lies outside"):
        csv_of(tmp_path / "home", "x.png,1\n")


@pytest.mark.parametrize("text", ["a.png,0\nb.png,1\n", f"a.png,0\n{'x' * 5000},1\n"], ids=["read", "refused"])
def test_the_csv_modules_limit_is_put_back(tmp_path: Path, text: str) -> None:
    before = csv.field_size_limit(123_456)
    try:
        with contextlib.suppress(ImageError):
            csv_of(tmp_path, text)
        assert csv.field_size_limit() == 123_456
    finally:
        csv.field_size_limit(before)


def test_a_list_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.txt")
    with pytest.raises(ImageError, match=r"list\.txt is no regular file"):
        read_list(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("a.png\nmy cat 1.png\n", None),
        ("a.png 6\nmy cat 1.png 0\n", ["6", "0"]),
        ("a.png\t6\nmy cat 1.png \t0\n", ["6", "0"]),
        ("\ufeffa.png\ttree frog\r\n\r\n  \r\nmy cat 1.png\tcat\r\n", ["tree frog", "cat"]),
    ],
    ids=["no labels", "blanks", "tabs", "names, BOM, CRLF, blank lines"],
)
def test_a_list_names_a_picture_per_line(tmp_path: Path, text: str, labels: list[str] | None) -> None:
    found = list_of(tmp_path, text)
    assert (found.names, found.labels) == (["a.png", "my cat 1.png"], labels)


def test_a_list_with_some_labels_names_the_picture_that_has_none(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"1\.png has no label, but other lines have one"):
        list_of(tmp_path, "0.png 1\n1.png\n2.png 2\n")


def test_a_name_that_no_file_can_have_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"list\.txt, line 1: .* is no path"):
        list_of(tmp_path, "a\0b.png\n")


def test_a_lists_paths_start_from_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "list.txt").write_text("a.png\n")
    monkeypatch.chdir(tmp_path)
    assert read_list(Path("here/list.txt")).paths == [(tmp_path / "here" / "a.png").resolve()]


def test_a_backslash_in_a_name_of_a_file_stays(tmp_path: Path) -> None:
    (tmp_path / "a\\b.png").touch()
    assert csv_of(tmp_path, "a\\b.png,cat\n").names == ["a\\b.png"]


@pytest.mark.parametrize("name", ["C:\\data\\a.png", "\\\\server\\share\\a.png", "..\\a.png"])
def test_a_path_of_windows_that_leaves_the_lists_folder_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"list\.csv, line 2.*list"):
        csv_of(tmp_path, f"file,label\n{name},cat\n")
