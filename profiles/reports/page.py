"""One self-contained HTML page from a template: nothing is loaded, no script runs, and every text is escaped by jinja2."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...bundle.figure_style import DARK, LIGHT
from ...bundle.files import written_whole

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
EXTRA = "sacvit[report]"


def missing_extra() -> str | None:
    """The reason why no page can be made here, or None. A package that is installed but does not load counts as missing."""
    try:
        for name in ("jinja2", "matplotlib", "matplotlib.figure"):  # the last one loads compiled extensions
            importlib.import_module(name)
    except ImportError as reason:
        return f"{reason}; pip install '{EXTRA}'"
    return None


def write_page(path: Path, template: str, content: dict[str, Any]) -> None:
    """Writes the page of `template`, whole or not at all. content: the template's variables; a missing one is an error."""
    text = _environment().get_template(f"{template}.html.j2").render(**content, light=LIGHT, dark=DARK)
    with written_whole(path) as partial:
        # A file's name may hold bytes that are no text.
        partial.write_bytes(text.encode("utf-8", "backslashreplace"))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
