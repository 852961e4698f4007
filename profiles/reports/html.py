"""One self-contained HTML page: no script, nothing loaded from anywhere, light and dark. All text is escaped here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...bundle.files import written_whole
from .charts import CHART_CSS

PAGE_CSS = """\
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px 24px 64px; max-width: 1120px; background: var(--surface); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 40px 0 12px; padding-top: 16px;
  border-top: 1px solid var(--grid); } h3 { font-size: 15px; margin: 24px 0 8px; }
p { margin: 6px 0; max-width: 80ch; } .quiet { color: var(--muted); font-size: 13.5px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 20px 0; }
.card { border: 1px solid var(--grid); border-radius: 8px; padding: 12px 14px; }
.card b { display: block; font-size: 24px; font-weight: 600; line-height: 1.25; } .card span { color: var(--muted);
  font-size: 13px; display: block; }
.verdict { border-left: 4px solid var(--series-3); padding: 8px 14px; margin: 16px 0; background: var(--band); }
.verdict.bad { border-color: var(--series-2); } .verdict ul { margin: 4px 0; padding-left: 20px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13.5px; }
th, td { padding: 4px 14px 4px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { color: var(--muted); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
table.words td, table.words th { text-align: left; white-space: normal; vertical-align: top; }
table.words td:first-child { white-space: nowrap; color: var(--muted); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 24px; }
pre { background: var(--band); padding: 12px 14px; border-radius: 6px; white-space: pre-wrap; font-size: 13px; }
figure { margin: 0; } figcaption { color: var(--muted); font-size: 13px; margin-bottom: 6px; }
@media print { h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
"""


def escaped(text: object) -> str:
    return html.escape(str(text))


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """The page, whole or not at all."""
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Labels come from files of others: even if one slipped through, the page could load and run nothing.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escaped(title)}</title>\n<style>\n{CHART_CSS}{PAGE_CSS}</style>\n</head>\n<body>\n"
    )
    with written_whole(path) as partial:
        partial.write_text(f"{head}{chr(10).join(parts)}\n</body>\n</html>\n", "utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[object]], style: str = "") -> str:
    """Rows of text; the first column stands left, numbers right. style "words": all of it left."""
    top = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="wide"><table class="{style}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def cards(entries: Iterable[tuple[str, str, str]]) -> str:
    """Figures to see first: (what, value, under which condition)."""
    made = "".join(
        f'<div class="card"><span>{escaped(what)}</span><b>{escaped(value)}</b><span>{escaped(how)}</span></div>'
        for what, value, how in entries
    )
    return f'<div class="cards">{made}</div>'


def verdict(is_good: bool, title: str, lines: Sequence[str]) -> str:
    listed = f"<ul>{''.join(f'<li>{escaped(line)}</li>' for line in lines)}</ul>" if lines else ""
    return f'<div class="verdict{"" if is_good else " bad"}"><b>{escaped(title)}</b>{listed}</div>'


def figure(caption: str, drawing: str) -> str:
    """A drawing of `charts`, which escapes its own texts."""
    return f"<figure><figcaption>{escaped(caption)}</figcaption>{drawing}</figure>"


def heading(text: str, level: int = 2) -> str:
    return f"<h{level}>{escaped(text)}</h{level}>"


def paragraph(text: str, *, quiet: bool = False) -> str:
    style = ' class="quiet"' if quiet else ""
    return f"<p{style}>{escaped(text)}</p>"


def quoted(text: str) -> str:
    return f"<pre>{escaped(text)}</pre>"
