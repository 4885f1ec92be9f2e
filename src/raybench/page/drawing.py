"""Plots as SVG to stand in a page: the same bytes for the same run, ink as the page's own, names as text and no more.

What is drawn in `INK`, `GRID` and `BAND` gets the page's colours, light or dark, from its style sheet. Series differ by
colour, dashes and markers; the colours are those of Okabe and Ito (2008), told apart with any colour vision.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from raybench.page.parts import Plot, cut
from raybench.report import harmless

INK: Final = "#010203"
GRID: Final = "#040506"
BAND: Final = "#070809"
_OF_THE_PAGE: Final = {INK: "currentColor", GRID: "var(--grid)", BAND: "var(--band)"}
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
DASHES: Final = (
    "solid",
    (0, (5, 2)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (8, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
    "solid",
)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
WIDTH: Final = 4.4
"""Inches, or 317 points: about as many CSS pixels as a narrow phone has for it, so that `SIZE` is the size there."""
SIZE: Final = 10
"""Points, of every letter: what is smaller is hard to read on a phone."""
_DPI: Final = 72
"""A point is a dot then."""
_CHARACTERS: Final = 30
_LEGEND_POINTS: Final = 240.0
_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": SIZE,
    "axes.labelsize": SIZE,
    "xtick.labelsize": SIZE,
    "ytick.labelsize": SIZE,
    "legend.fontsize": SIZE,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@contextmanager
def figure(plot: Plot, height: float) -> Iterator[tuple[Figure, list[Markup]]]:
    """A figure to draw ``plot`` in, ``height`` inches high; at the end its SVG is in the list.

    Whatever a person has set for matplotlib is not heeded: the same run is to look the same everywhere.
    """
    drawn: list[Markup] = []
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of fonts and caches nobody wants to hear here
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that its own fonts lack: the browser has others
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": f"raybench {plot.name}"})
        made = Figure(figsize=(WIDTH, height), layout="constrained")
        canvas = FigureCanvasSVG(made)
        yield made, drawn
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.print_svg(text, metadata=nothing)  # savefig would lay out all of it twice
    drawn.append(_inline(text.getvalue(), plot.told))


def label(text: str, before: str = "", points: float = _LEGEND_POINTS) -> str:
    """A name in a plot, behind ``before``: nothing that acts, and no more than there is room for.

    A legend would leave out ``_name``. To be asked within `figure`, which keeps quiet of letters that a font lacks.
    """
    whole = harmless(text)
    characters = min(len(whole), _CHARACTERS)
    while characters > 1 and _width(before + cut(whole, characters)) > points:
        characters -= 1
    shown = before + cut(whole, characters)
    return f" {shown}" if shown.startswith("_") else shown


def _width(text: str) -> float:
    """Of a line in points."""
    font = get_font(findfont("DejaVu Sans"))
    font.set_size(SIZE, _DPI)
    font.set_text(text)
    return float(font.get_width_height()[0]) / 64


def _inline(svg: str, told: str) -> Markup:
    """Of a whole SVG file what stands in HTML, with what it shows in words."""
    found = re.search(r'<svg [^>]*viewBox="([-0-9. ]+)"[^>]*>', svg)
    if found is None:
        raise ValueError("matplotlib wrote no SVG that is known")
    body = svg[found.end() : svg.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<style [^>]*>.*?</style>", "", body, flags=re.DOTALL)  # it would be one for the whole page
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[a-zA-Z0-9_.]+">', "<g>", body)  # the same in each plot
    body = re.sub(r'\bd="([^"]*)"', _shorter, body)
    body = re.sub(r"\n\s*", "\n", body)
    for ink, of_page in _OF_THE_PAGE.items():
        body = body.replace(f": {ink}", f": {of_page}")
    opening = Markup('<svg role="img" viewBox="{}" aria-label="{}">').format(found[1], harmless(told))
    return opening + Markup(body) + Markup("</svg>")  # noqa: S704  matplotlib has escaped all text in it


def _shorter(path: re.Match[str]) -> str:
    """A path to hundredths of a point, which no one sees."""
    numbers = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", path[1])
    return f'd="{" ".join(numbers.split())}"'
