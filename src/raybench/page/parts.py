"""What a page is made of, before it is written in any form: sections with lines, tables, plots, and things to open."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """How much of a run a page shows: rows of a table, series of a plot, characters of a name."""

    rows: int = 100
    series: int = 7
    characters: int = 120


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """A line of a chart: what it is called, and its points. A point whose ``y`` is nan breaks the line."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """Lines over an axis. ``joined``: by lines, or points by themselves; ``steps``: a line stays until the next point.

    ``band``: from where to where ``y`` is nothing to act on. ``told``: what the chart shows, in words, for who does not
    see it. ``left_out``: series that are not shown. ``query``: SQL that has the numbers.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    told: str
    query: str
    joined: bool = True
    steps: bool = False
    log_x: bool = False
    log_y: bool = False
    percent_y: bool = False
    band: tuple[float, float] | None = None
    left_out: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """A ratio with its interval (None: unknown, or open) and its verdict, as a row of a forest plot.

    ``against``: what it is the ratio to, where that is not the same for all.
    """

    label: str
    against: str
    ratio: float
    low: float | None
    high: float | None
    verdict: str


@dataclasses.dataclass(frozen=True, slots=True)
class Forest:
    """Ratios below each other, with the band in which they are equivalent: from 1 / (1 + margin) to 1 + margin.

    ``axis``: what a ratio above 1 says. ``query``: SQL that has the numbers, where one run has them.
    """

    name: str
    title: str
    marks: tuple[Mark, ...]
    margin: float
    told: str
    query: str | None
    left_out: int = 0
    axis: str = "longer than the reference"


Plot = Chart | Forest


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """A table: its head, its rows as people read them, how many more there are, and SQL that has them all.

    ``is_text``: of each column whether it holds words, which begin on the left.
    """

    caption: str
    head: tuple[str, ...]
    is_text: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    query: str | None = None
    left_out: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """A verdict or a caution: a word for what it is, what it says, more lines, and SQL that has its raw numbers.

    ``key``: its place, where something links to it.
    """

    tag: str
    text: str
    lines: tuple[str, ...] = ()
    query: str | None = None
    key: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; one with nothing in it is not shown. ``key``: its place, to link to."""

    key: str
    title: str
    lines: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    grids: tuple[Grid, ...] = ()
    items: tuple[Item, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.lines or self.plots or self.grids or self.items or self.commands)


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """What stands against an answer, in a few words, and the key of the item or the section that says all of it.

    ``code``: the caution that it is.
    """

    words: str
    code: str
    key: str


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A whole page. ``sentence``: the answer; ``certainty``: how sure it is; ``notes``: what stands against it.

    ``words``: the words of raybench's own in these, explained. ``numbers``: as JSON values.
    """

    title: str
    subtitle: str
    sentence: str
    certainty: str
    notes: tuple[Note, ...]
    words: str
    sections: tuple[Section, ...]
    numbers: Mapping[str, Any]


Columns = Mapping[str, tuple[str, Callable[[Any], str]]]
"""Of a table: what a column is called, and how a value is shown."""


def grid(
    caption: str, rows: Sequence[Mapping[str, Any]], columns: Columns, query: str | None, limits: Limits
) -> Grid | None:
    """The rows as a table, without columns in which nothing is known; None where there are no rows."""
    if not rows:
        return None
    known = {key: how for key, how in columns.items() if any(row[key] is not None for row in rows)}
    shown = [
        tuple("-" if row[key] is None else cut(show(row[key]), limits.characters) for key, (_, show) in known.items())
        for row in rows[: limits.rows]
    ]
    is_text = tuple(any(isinstance(row[key], str) for row in rows) for key in known)
    head = tuple(header for header, _ in known.values())
    return Grid(caption, head, is_text, tuple(shown), query, max(0, len(rows) - limits.rows))


def grids(*found: Grid | None) -> tuple[Grid, ...]:
    """Those that are there."""
    return tuple(one for one in found if one is not None)


def cut(text: str, characters: int) -> str:
    """As much of ``text`` as is shown of it."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
