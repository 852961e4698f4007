"""The terms of docs/glossary.md: README, the pages, help texts and messages use none of the words that it replaces."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GLOSSARY, _, REPLACED = (ROOT / "docs" / "glossary.md").read_text().partition("## Words that we do not use")
UNITS = "ms|mJ|kB|MB|bytes|microseconds|lines?|images|frames|answers|requests|pictures|passes|MACs"
BANNED = {  # the first cell of its row in the glossary: what is looked for
    "goldens": r"\bgoldens?\b(?!\.npz)",
    "rung, ladder": r"\brungs?\b|\bladders?\b",
    "halves (of a data set)": r"\bhalves\b(?! (?:it|the file|of the image))|\bthe (?:first|second|other) half\b",
    "contender": r"\bcontenders?\b",
    "told, tells": r"\btold\b(?! apart)|\btells?\b(?! (?:them )?apart)",
    "nobody, somebody": r"\b(?:no|some)body\b",
    "an image, a second (after a number)": rf"\b(?:{UNITS}) an? (?:image|second|frame|pass|picture|class|epoch|step|request)\b",
}
EXPLAINED = (
    r"\b(?:told|tells|nobody|somebody)\b(?! (?:them )?apart)"  # in docstrings and comments; the rest are names there
)
# Rates, also where code is explained. "How many images a pass may take" is another sentence.
RATE = (
    r"(?<!how many )\b(?:ms|mJ|us|[kMG]i?B|bytes|microseconds|milliseconds|lines?|images|frames|pictures|passes|MACs|energy|one"
    r"|thread|column|scale|\d+) an? (?:image|second|frame|pass|picture|class|epoch|step|request|row|line|core|column|file)\b"
)
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
]
SOURCES = [path for name in ("tests", "benchmarks", "examples") for path in sorted((ROOT / name).rglob("*.py"))]
MODULES = [path for init in ROOT.glob("*/__init__.py") for path in sorted(init.parent.rglob("*.py"))]


def sentences_of_page(text: str) -> Iterator[tuple[int, str]]:
    """Lines outside of code, without what stands in backquotes."""
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code and not line.startswith("    "):
            yield number, re.sub(r"`[^`]*`", "", line)


def sentences_of_module(source: str) -> Iterator[tuple[int, str]]:
    """String constants of more than one word that are no docstrings: help texts and messages."""
    tree = ast.parse(source)
    statements = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in statements:
            yield node.lineno, node.value if " " in node.value else ""


def explanations_of_module(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings and comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def faults(sentences: Iterator[tuple[int, str]]) -> list[str]:
    return [
        f"line {number}: {term!r}, the glossary has another word: {text.strip()[:120]}"
        for number, text in sentences
        for term, pattern in BANNED.items()
        if re.search(pattern, text, re.I)
    ]


def test_readme_and_pages_use_the_terms_of_the_glossary() -> None:
    found = {}
    for path in PAGES:
        text = GLOSSARY if path.name == "glossary.md" else path.read_text()
        found[path.name] = faults(sentences_of_page(text))
    assert not {name: lines for name, lines in found.items() if lines}


def test_help_texts_and_messages_use_the_terms_of_the_glossary() -> None:
    found = {str(path.relative_to(ROOT)): faults(sentences_of_module(path.read_text())) for path in MODULES}
    assert not {name: lines for name, lines in found.items() if lines}


def test_docstrings_and_comments_use_the_terms_of_the_glossary() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {text.strip()[:120]}"
        for path in MODULES
        for number, text in explanations_of_module(path.read_text())
        if re.search(EXPLAINED, text, re.I)
    ]
    assert not found


def test_docstrings_and_comments_write_rates_with_per() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in (*MODULES, *SOURCES)
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(RATE, line, re.I)
    ]
    assert not found


@pytest.mark.parametrize("term", BANNED)
def test_the_glossary_names_what_to_write_instead(term: str) -> None:
    assert re.search(rf"^\| {re.escape(term)} \| [a-z]", REPLACED, re.M)


def test_a_banned_word_in_a_message_is_found() -> None:
    module = '"""Nobody is told."""\nERROR = f"{count} of the contenders: 3 ms an image"\n'
    assert len(faults(sentences_of_module(module))) == 2


def test_a_banned_word_in_a_docstring_or_a_comment_is_found() -> None:
    module = '"""The user is told."""\ncode = "told"  # nobody\n# tells them apart\n'
    found = [number for number, text in explanations_of_module(module) if re.search(EXPLAINED, text, re.I)]
    assert found == [1, 2]


def test_a_banned_word_on_a_page_is_found_outside_of_code_alone() -> None:
    page = "The user is told.\n`told`\n```\ntold\n```\n    told\n"
    assert [fault.partition(":")[0] for fault in faults(sentences_of_page(page))] == ["line 1"]
