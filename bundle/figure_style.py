"""The look of every figure and page: colours for light and dark, and matplotlib's settings.

It stands here because calibration and profiles both draw and this is the folder that both may import. It needs no matplotlib.
"""

from __future__ import annotations

from typing import Any

# The six series differ in normal vision and, in OKLab after Machado's simulation, in the three kinds of colour blindness.
# Each has a contrast of at least 3:1 to its surface, texts have 4.5:1 or more.
LIGHT = {
    "surface": "#ffffff", "ink": "#1b1f24", "muted": "#5a636e", "grid": "#e3e7eb", "band": "#eef2f7",
    "series-1": "#1a5fcb", "series-2": "#b34a06", "series-3": "#2ba18c",
    "series-4": "#74386a", "series-5": "#b98600", "series-6": "#6b7688",
}  # fmt: skip
DARK = {
    "surface": "#15181c", "ink": "#e6e9ed", "muted": "#9aa4af", "grid": "#2b3138", "band": "#20262e",
    "series-1": "#4f8ff0", "series-2": "#e0721f", "series-3": "#4fd6b0",
    "series-4": "#d3a6ff", "series-5": "#fcc23a", "series-6": "#8b95a3",
}  # fmt: skip
SERIES = tuple(colour for role, colour in LIGHT.items() if role.startswith("series-"))
MARKERS = ("o", "s", "D", "^", "v", "P")  # points that overlap differ in shape too

MATPLOTLIB: dict[str, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],  # comes with matplotlib: every machine measures the same widths
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.parse_math": False,  # a $ in a name is a $, not a formula
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelsize": "small",
    "axes.edgecolor": LIGHT["muted"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "axes.titlesize": "medium",
    "axes.xmargin": 0.03,
    "axes.ymargin": 0.08,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelsize": "small",
    "ytick.labelsize": "small",
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "lines.markeredgecolor": LIGHT["surface"],
    "errorbar.capsize": 3,
    "legend.frameon": False,
    "legend.fontsize": "small",
    "legend.handlelength": 1.4,
    "figure.facecolor": LIGHT["surface"],
    "svg.fonttype": "none",  # texts stay texts: small, selectable, and read by screen readers
    "svg.hashsalt": "sacvit",  # the same input gives the same bytes
}
