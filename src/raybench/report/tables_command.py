"""``raybench tables``: the tables of a run, for people all of them, or as data for programs and pages."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raybench.analysis import Tables
from raybench.records import InputError, count
from raybench.report.format_names import ENDINGS, FORMATS, Format
from raybench.report.options import TablesOptions
from raybench.report.query import encoded, print_as, print_box
from raybench.report.screen import open_console
from raybench.report.tables import print_everything
from raybench.report.terminal import say
from raybench.schemas import SCHEMAS
from raybench.store import Location

_LONG: Final = (SCHEMAS.keys() - {"failures", "attempts"}) | {
    "timed",
    "measures",
    "latencies",
    "load_turns",
    "visit_conditions",
    "visit_ratios",
}
"""Those with rows for each request or visit: not among all, and to be named."""


def run_tables(run: Location, options: TablesOptions) -> int:
    """``raybench tables``: 0. Raises InputError for options that do not go together, and what `Tables` raises."""
    format_ = options.format
    if format_ is None and options.out is not None:
        raise InputError(f"--out: say as what by --format: {', '.join(FORMATS)}")
    if format_ is not None and options.table is None and options.out is None:
        raise InputError(f"--format {format_}: name one table by --table, or by --out a folder for all of them")
    tables = Tables(run)
    if format_ is None and options.table is None:
        print_everything(tables, open_console())
        return 0
    tables.connection.execute("SET TimeZone = 'UTC'")  # as the run's own times are, on whichever machine
    names = _names(tables, options.table)
    with tables.reading():
        if options.out is not None and format_ is not None:
            _write(tables, names, format_, options.out)
        elif format_ is not None:
            print_as(tables.connection, f"FROM {names[0]}", format_)
        else:
            print_box(tables.connection, f"FROM {names[0]}")
    return 0


def _names(tables: Tables, asked: str | None) -> list[str]:
    views = tables.rows("SELECT name FROM (SHOW TABLES) WHERE name NOT LIKE 'raybench_%' ORDER BY name")
    there = [row["name"] for row in views]
    if asked is None:
        return [name for name in there if name not in _LONG]
    if asked not in there:
        near = difflib.get_close_matches(asked, there, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(there)}"
        raise InputError(f"--table {asked!r}: no such table; {hint}")
    return [asked]


def _write(tables: Tables, names: Sequence[str], format_: Format, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        with (folder / f"{name}.{ENDINGS[format_]}").open("wb") as file:
            for part in encoded(tables.connection, f"FROM {name}", format_):
                file.write(part.encode() if isinstance(part, str) else part)
    say(f"{folder}: {count(len(names), 'table')} as {format_}")
