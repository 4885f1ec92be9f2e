"""Each kind of plot, drawn."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from raybench.page.drawing import BAND, COLOURS, DASHES, INK, MARKERS, figure, label
from raybench.page.parts import Chart, Forest, Mark, Plot
from raybench.records import in_percent
from raybench.report import percent

_DENSE = 1000.0
"""Up to that many times the least, a logarithmic axis has 2 and 5 between the powers of ten."""
_NAME_POINTS = 180.0
"""As wide may names beside a forest plot be: of 317."""
_LOG_FROM = 2.5
"""Where the furthest end of an interval is that many times the nearest, ratios are on a logarithmic axis."""


def draw(plot: Plot) -> Markup:
    """The plot as SVG."""
    return _forest(plot) if isinstance(plot, Forest) else _chart(plot)


def _forest(plot: Forest) -> Markup:
    with figure(plot, 0.8 + 0.42 * len(plot.marks)) as (made, drawn):
        axes = made.add_subplot()
        axes.axvspan(1 / (1 + plot.margin), 1 + plot.margin, facecolor=BAND, edgecolor="none", zorder=0)
        axes.axvline(1, color=INK, linewidth=0.8)
        colours = {"slower": COLOURS[1], "faster": COLOURS[0], "equivalent": COLOURS[2], "inconclusive": INK}
        markers = {"slower": ">", "faster": "<", "equivalent": "s", "inconclusive": "o"}
        for place, mark in enumerate(plot.marks):
            colour, marker = colours[mark.verdict], markers[mark.verdict]
            if mark.low is not None and mark.high is not None:
                axes.plot([mark.low, mark.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
            inside = colour if mark.low is not None else "none"
            axes.plot([mark.ratio], [place], marker=marker, color=colour, markerfacecolor=inside, markersize=5)
        axes.set_yticks(range(len(plot.marks)))
        axes.set_yticklabels([_name(mark) for mark in plot.marks])
        axes.set_ylim(len(plot.marks) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        ends = [end for mark in plot.marks for end in (mark.low, mark.high, mark.ratio) if end is not None]
        if min(ends) > 0 and max(ends) / min(ends) > _LOG_FROM:
            axes.set_xscale("log")
            _log_ticks(axes.xaxis, percent)
        else:
            _percent_ticks(axes.xaxis, 4)
        axes.set_xlabel(plot.axis)
    return drawn[0]


def _name(mark: Mark) -> str:
    shown = label(mark.label, points=_NAME_POINTS)
    return f"{shown}\n{label(mark.against, 'against ', _NAME_POINTS)}" if mark.against else shown


def _chart(plot: Chart) -> Markup:
    legend = len(plot.series) if len(plot.series) > 1 else 0
    with figure(plot, 2.7 + 0.2 * legend) as (made, drawn):
        axes = made.add_subplot()
        if plot.band is not None:
            axes.axhspan(*plot.band, facecolor=BAND, edgecolor="none", zorder=0)
        handles = [_line(axes, plot, place) for place in range(len(plot.series))]
        if plot.log_x:
            axes.set_xscale("log")
            _log_ticks(axes.xaxis, lambda value: f"{value:g}")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
        if plot.log_y:
            axes.set_yscale("log")
            _log_ticks(axes.yaxis, lambda value: f"{value:g}")
        if plot.percent_y:
            _percent_ticks(axes.yaxis, 6)
        axes.set_xlabel(plot.x_label)
        axes.set_ylabel(plot.y_label)
        if legend:
            _legend(made, handles, [label(one.label) for one in plot.series])
    return drawn[0]


def _line(axes: Any, plot: Chart, place: int) -> Any:
    """A series, by a colour of its own, and by dashes or a marker of its own."""
    series, colour = plot.series[place], COLOURS[place % len(COLOURS)]
    marker = MARKERS[place % len(MARKERS)]
    if not plot.joined:
        (line,) = axes.plot(series.x, series.y, color=colour, linestyle="none", marker=marker)
    elif plot.steps:
        dashes = DASHES[place % len(DASHES)]
        (line,) = axes.step(series.x, series.y, where="post", color=colour, linestyle=dashes)
    else:
        (line,) = axes.plot(series.x, series.y, color=colour, linestyle=DASHES[place % len(DASHES)], marker=marker)
    return line


def _legend(made: Figure, handles: list[Any], labels: list[str]) -> None:
    made.legend(handles, labels, loc="outside lower left", ncols=1, handlelength=3.2, borderpad=0.1, labelspacing=0.25)


def _percent_ticks(axis: Any, most: int) -> None:
    """Round percentages above and below 0 %, which is a ratio of 1."""
    low, high = axis.get_view_interval()
    ticks = [1 + tick for tick in MaxNLocator(most).tick_values(low - 1, high - 1) if low <= 1 + tick <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda ratio, _: in_percent(ratio - 1, "+.3g")))


def _log_ticks(axis: Any, shown: Any) -> None:
    """Ticks that are numbers: matplotlib's own for such an axis are a formula."""
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high < _DENSE * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
