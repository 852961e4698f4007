"""Names of classes: reads files that list them, and maps the labels of a data set to the model's classes."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..bundle.errors import ImageError, UsageError, nearest
from .decode import decode_text, read_file
from .pictures import class_order

logger = logging.getLogger(__name__)

CLASSES_NAME = "classes.txt"  # beside arrays and shards: the names of their labels
MAX_NAMES_BYTES = 64 << 20
NUMBER = re.compile(r"([0-9]{1,9})(?:\.0+)?")  # pandas writes 3.0 where another row of the column is empty
SHOWN = 3


def same_letters(name: str) -> str:
    """A name in Unicode's composed form: macOS may write a letter with an accent as two characters."""
    return unicodedata.normalize("NFC", name)


class UnknownClassesError(ImageError):
    """No label of a data set is a class of the model; the folders may have another meaning, as names of cameras."""


def read_class_names(path: Path, option: str = "", classes: int | None = None) -> list[str]:
    """The class names in a text file, one per line: UTF-8, or UTF-16 with its mark; blank lines at the end are dropped.

    option: the flag that named the file, for messages. Raises UsageError for another encoding, for a blank line between
    names, and unless there are as many names as `classes`.
    """
    where = f"{option} {path}".strip()
    try:
        content = read_file(path, MAX_NAMES_BYTES)
    except ImageError as reason:
        raise UsageError(f"{option} {reason}".strip()) from None
    try:
        # Not splitlines: a name may hold a character that Unicode takes for the end of a line.
        names = [line.strip() for line in decode_text(content).replace("\r\n", "\n").split("\n")]
    except UnicodeDecodeError as reason:
        raise UsageError(f"{where} is no UTF-8 text ({reason}). Save it as UTF-8, one class name per line") from None
    while names and not names[-1]:
        names.pop()
    if "" in names:
        number = names.index("") + 1
        raise UsageError(
            f"{where}, line {number} is blank: one class name per line, in the model's order, without gaps"
        )
    if classes is not None and len(names) != classes:
        raise UsageError(f"{where} has {len(names)} names, the model has {classes} classes: one name per line")
    return names


def class_numbers(where: str, found: Sequence[str], classes: int, names: Sequence[str] | None) -> dict[str, int]:
    """The class number of each label that a data set has.

    Labels are the model's names; else the numbers of its classes; else, for a model without names, as many names as it has
    classes, in their order. where: names the data set in messages. Raises UnknownClassesError if no label is a class,
    ImageError if only some are, or if the meaning is ambiguous.
    """
    known = {} if names is None else {same_letters(name): index for index, name in enumerate(names)}
    given = {name: same_letters(name) for name in found}
    if found and set(given.values()) <= set(known):
        for name, times in Counter(map(same_letters, names or ())).items():
            if times > 1 and name in given.values():
                raise ImageError(
                    f"{where}: {times} classes of the model are called {name!r}, so which is meant is open."
                    f" Give labels as numbers, 0 to {classes - 1}"
                )
        return {name: known[given[name]] for name in found}
    numbers = {name: int(match[1]) for name in found if (match := NUMBER.fullmatch(name))}
    if len(numbers) == len(found) and all(number < classes for number in numbers.values()):
        return numbers
    named = [name for name in found if given[name] in known]
    if len(numbers) == len(found) and not named and any(number < classes for number in numbers.values()):
        low, high = min(numbers.values()), max(numbers.values())
        raise ImageError(f"{where}: labels go from {low} to {high}, the model has {classes} classes from 0 on")
    if names is None:
        if len(found) == classes and not numbers:
            order = class_order(found)
            logger.info(
                "%s: the model names no classes, so they are counted by name: %s = 0 ... %s = %d",
                where, order[0], order[-1], classes - 1,
            )  # fmt: skip
            return {name: index for index, name in enumerate(order)}
        raise UnknownClassesError(
            f"{where}: {len(found)} names of classes, the model has {classes} and carries no names, so which is which"
            f" is open. Give the names in the model's order: --labels FILE"
        )
    strange = [name for name in found if given[name] not in known]
    shown = ", ".join([*map(repr, strange[:SHOWN]), *(["..."] if len(strange) > SHOWN else [])])
    raise (ImageError if named else UnknownClassesError)(
        f"{where}: {len(strange)} of {len(found)} labels are no class of the model: {shown}{nearest(strange[0], known)};"
        f" rename them, or give the names in the model's order: --labels FILE"
    )
