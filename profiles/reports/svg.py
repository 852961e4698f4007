"""A figure of matplotlib as inline SVG: coloured by the page for light and dark, in a wide and a narrow size."""

from __future__ import annotations

import html
import io
import re
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...bundle.figure_style import LIGHT, MATPLOTLIB
from .drawable import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = {
    "wide": (8.6, 10.0, 105),
    "narrow": (4.0, 9.5, 52),
}  # inches, points of the text, letters in a row of the legend
PHONE, BOTH = ("narrow",), ("wide", "narrow")  # where two figures share a row, the narrow one suffices
METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # none: the same input gives the same bytes


def render(label: str, draw: Callable[[Axes], None], height: float, sizes: Sequence[str] = BOTH) -> str:
    """A figure in each of these sizes, as SVG; with the legend above it."""
    return render_panels(label, [(draw, height)], sizes)


def render_panels(
    label: str, panels: Sequence[tuple[Callable[[Axes], None], float]], sizes: Sequence[str] = BOTH
) -> str:
    """A figure of panels that share their x axis, each with its height and its legend above it."""
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    made = []
    for size in sizes:
        width, points, letters = SIZES[size]
        # From matplotlib's own settings, not the user's: those may run LaTeX.
        with style.context(["default", MATPLOTLIB | {"font.size": points}]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has more letters
            heights = [height for _, height in panels]
            figure = Figure(figsize=(width, sum(heights)), layout="constrained", facecolor="none")
            FigureCanvasSVG(figure)  # texts are measured as they are written
            rows = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
            for axes, (draw, _) in zip(rows, panels, strict=True):
                draw(axes)
                handles, names = axes.get_legend_handles_labels()
                if len(names) > 1 or any(":" in name for name in names):
                    columns = max(1, min(len(names), letters // (max(map(len, names)) + 6)))
                    if len(panels) == 1:
                        figure.legend(handles, names, loc="outside upper left", ncols=columns)
                    else:
                        place = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "borderaxespad": 0.1}
                        axes.legend(handles, names, ncols=columns, **place)
            layout = figure.get_layout_engine()
            assert layout is not None
            layout.execute(figure)
            figure.set_layout_engine(None)  # with an engine savefig draws everything twice, to lay it out first
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata=METADATA)
        made.append(_inlined(buffer.getvalue(), label, size))
    return "".join(made)


def _inlined(svg: str, label: str, size: str) -> str:
    """The SVG for a page that holds several: own ids, colours by role, no size of its own, two decimals."""
    body = svg[svg.index("<svg") :].strip()
    body = re.sub(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>", "", body, count=1)
    body = re.sub(r'="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), body)
    body = body.replace("xlink:href", "href")
    own = f"{size[0]}{zlib.crc32(body.encode()):08x}-"
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}", body)
    for role, colour in LIGHT.items():
        body = body.replace(f": {colour}", f": var(--{role})")
    view = re.search(r'viewBox="[^"]*"', body)
    assert view is not None
    named = f'class="{size}" role="img" aria-label="{html.escape(clean(label))}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {named} {view[0]}{body[body.index(">") :]}'
