"""Lists of pictures: a CSV of path and label, or a text file with a picture per line.

LIST.csv    path,label per row, with or without a header, separated by commas, semicolons or tabs; columns beside the two are
            passed over if a header names these, except for boxes (x,y,w,h); a row `sep=;`, as Excel reads it, names the
            separator
LIST.txt    one path per line; a label may follow, after a tab, or after a blank if it is a number

Paths start from the list's own folder and stay below it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from ..bundle.errors import ImageError
from .boxes.columns import MOST_BOXES, Box, Boxes, box_columns, read_box
from .decode import decode_text, read_file
from .kinds import SUFFIXES

MAX_LIST_BYTES = 256 << 20  # ImageNet's training list has 60 MB
MAX_FIELD = 4096
SEPARATORS = "\t;,"  # the rarest in a path comes first
PATH_HEADERS = frozenset(
    [
        *("path", "file", "filename", "file_name", "filepath", "file_path"),
        *("image", "img", "image_path", "image_name", "picture"),
    ]
)
LABEL_HEADERS = frozenset(
    ["label", "labels", "class", "class_name", "classname", "category", "target", "class_id", "label_name"]
)
TRIED_ROWS = 20


@dataclass(frozen=True)
class Listed:
    """The pictures of a list in its order: names from `home` on, and their labels as written; None without labels.

    boxes: around the objects of each picture; None without such columns. With boxes a picture occurs once, however many rows
    it has.
    """

    home: Path
    names: list[str]
    paths: list[Path]
    labels: list[str] | None
    boxes: list[Boxes] | None = None


def read_csv(path: Path) -> Listed:
    """Raises ImageError for what is no such list."""
    lines = _text(path).splitlines(keepends=True)
    if lines and re.fullmatch(r"sep=.\s*", lines[0]):
        lines = ["\n", *lines[1:]]
    with _field_limit():
        try:
            separator = _separator(lines)
            reader = csv.reader(lines, delimiter=separator)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
        except csv.Error as reason:
            raise ImageError(f"{path} is no readable CSV: {reason}") from None
    rows = [(number, row) for number, row in rows if any(row)]
    home = path.resolve().parent
    place, label = 0, 1
    columns = 2
    corners = None
    if (
        rows
        and len(rows[0][1]) == 2
        and not _names_a_picture(rows[0][1][0], home)
        and _names_a_picture(rows[0][1][1], home)
    ):
        place, label = 1, 0  # the label comes first, and there is no header
    elif rows and (header := _header(rows[0][1], home)) is not None:
        place, label, columns = *header, len(rows[0][1])
        if columns > 2:  # a header of two may call the path x and the label y
            corners = box_columns(_words(rows[0][1]), f"{path}, line {rows[0][0]}")
        rows = rows[1:]
    paths, labels, boxes = [], [], []
    for number, row in rows:
        if len(row) != columns or not row[place] or not row[label]:
            headless = ". Columns beside the two need a header such as path,label,x,y,w,h" if columns == 2 else ""
            raise ImageError(
                f"{path}, line {number}: a path and a label are wanted, found {len(row)} fields: {row[:3]}{headless}"
            )
        paths.append(_inside(home, row[place], f"{path}, line {number}"))
        labels.append(row[label])
        if corners is not None:
            boxes.append(read_box([row[corner] for corner in corners], str(path), number))
    listed = Listed(home, [one.relative_to(home).as_posix() for one in paths], paths, labels)
    return listed if corners is None else _by_picture(path, listed, boxes)


def _by_picture(path: Path, rows: Listed, boxes: list[Box]) -> Listed:
    """Each picture once, with the boxes of all its rows. Raises ImageError where its rows have different labels."""
    found: dict[str, tuple[int, list[Box]]] = {}
    assert rows.labels is not None
    for place, (name, label, box) in enumerate(zip(rows.names, rows.labels, boxes, strict=True)):
        first, own = found.setdefault(name, (place, []))
        own.append(box)
        if label != rows.labels[first]:
            raise ImageError(
                f"{path}, line {box.line}: {name} is labelled {label}, but {rows.labels[first]} in line {own[0].line}. A"
                f" picture has one label: keep the boxes of the labelled object only"
            )
        if len(own) > MOST_BOXES:
            raise ImageError(f"{path}, line {box.line}: {name} has more than {MOST_BOXES} boxes; keep the largest ones")
    firsts = [first for first, _ in found.values()]
    return Listed(
        rows.home,
        list(found),
        [rows.paths[first] for first in firsts],
        [rows.labels[first] for first in firsts],
        [tuple(own) for _, own in found.values()],
    )


def read_list(path: Path) -> Listed:
    """Raises ImageError for what is no such list."""
    home = path.resolve().parent
    paths: list[Path] = []
    labels: list[str | None] = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        name, tab, label = line.strip().rpartition("\t")
        if not tab:
            name, _, label = line.strip().rpartition(" ")
            if not name.strip() or not label.isdecimal():
                name, label = line, ""
        paths.append(_inside(home, name.strip(), f"{path}, line {number}"))
        labels.append(label.strip() or None)
    given = [label for label in labels if label is not None]
    if given and len(given) < len(labels):
        raise ImageError(f"{path}: {paths[labels.index(None)]} has no label, but other lines have one")
    return Listed(home, [one.relative_to(home).as_posix() for one in paths], paths, given or None)


def _text(path: Path) -> str:
    content = read_file(path, MAX_LIST_BYTES)
    try:
        return decode_text(content)
    except UnicodeDecodeError as reason:
        raise ImageError(f"{path} is no UTF-8 text: {reason}. Save it as UTF-8") from None


def _inside(home: Path, name: str, where: str) -> Path:
    """The picture that a list names. A backslash separates folders, as Windows writes it, unless such a file exists."""
    if "\\" in name and not _exists(home / name):
        written = PureWindowsPath(name)
        if written.drive or written.root:
            raise ImageError(f"{where}: {name} is a path of Windows; write paths that start from the list's own folder")
        name = written.as_posix()
    try:
        picture = (home / name).resolve()
    except (OSError, ValueError, RuntimeError) as reason:
        raise ImageError(f"{where}: {name!r} is no path: {reason}") from None
    if not picture.is_relative_to(home):
        raise ImageError(f"{where}: {name} lies outside {home}; put the list beside its pictures")
    return picture


def _separator(lines: list[str]) -> str:
    """The separator that gives each of the first rows the same number of fields, two or more; else the comma."""
    for separator in SEPARATORS:
        rows = [row for row in csv.reader(lines[:TRIED_ROWS], delimiter=separator) if row]
        if rows and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1:
            return separator
    return ","


def _header(row: list[str], home: Path) -> tuple[int, int] | None:
    """The columns of the path and the label, if the row names columns; of other words only where there are just two."""
    words = _words(row)
    place = next((index for index, word in enumerate(words) if word in PATH_HEADERS), None)
    label = next((index for index, word in enumerate(words) if word in LABEL_HEADERS), None)
    if place is not None and label is not None:
        return place, label
    return None if len(row) != 2 or _names_a_picture(row[0], home) or Path(row[0]).suffix else (0, 1)


def _words(row: list[str]) -> list[str]:
    return [cell.lower().replace(" ", "_").replace("-", "_") for cell in row]


def _names_a_picture(name: str, home: Path) -> bool:
    return Path(name).suffix.lower() in SUFFIXES or _exists(home / name)


def require_first(path: Path, listed: Listed) -> None:
    """Raises ImageError where none of the first pictures of a list exists, instead of reporting them one by one later."""
    first = listed.paths[:TRIED_ROWS]
    if first and not any(map(_exists, first)):
        raise ImageError(
            f"{path}: none of its first {len(first)} pictures exists, the first is {first[0]}. Paths start from the list's own"
            f" folder, and a name has its suffix, as in cat.jpg"
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


@contextmanager
def _field_limit() -> Iterator[None]:
    """Raises the csv module's limit, which holds for the whole process, and restores it."""
    before = csv.field_size_limit(MAX_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
