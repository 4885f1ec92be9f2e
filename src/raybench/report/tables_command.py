"""``raybench tables``: the tables of a run, for people all of them, or as data for programs and pages."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raybench.analysis import Tables, table_names
from raybench.records import InputError, count
from raybench.report.completion import completed
from raybench.report.formats import ENDINGS, FORMATS, Format
from raybench.report.query import encoded, print_as, print_box
from raybench.report.run_names import add_results_argument, add_run_argument
from raybench.report.screen import open_console
from raybench.report.tables import print_everything
from raybench.report.terminal import say
from raybench.schemas import SCHEMAS

_LONG: Final = (SCHEMAS.keys() - {"failures", "attempts"}) | {
    "timed",
    "measures",
    "latencies",
    "load_turns",
    "visit_conditions",
    "visit_ratios",
}
"""Those with rows for each request or visit: not among all, and to be named."""


def add_tables_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``raybench tables``."""
    add_run_argument(parser)
    add_results_argument(parser)
    table = parser.add_argument(
        "--table", metavar="NAME", help="this one alone, any view of docs/sql.md, as by_strategy"
    )
    completed(table, lambda _: table_names(), None)
    parser.add_argument("--format", choices=FORMATS, help="as data: --table to standard output, or into --out")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="with --format, a file of each table into this folder; of those with a row a request or visit if named",
    )


def run_tables(options: argparse.Namespace) -> int:
    """``raybench tables``: 0. Raises InputError for options that do not go together, and what `Tables` raises."""
    format_: Format | None = options.format
    if format_ is None and options.out is not None:
        raise InputError(f"--out: say as what by --format: {', '.join(FORMATS)}")
    if format_ is not None and options.table is None and options.out is None:
        raise InputError(f"--format {format_}: name one table by --table, or by --out a folder for all of them")
    tables = Tables(options.directory)
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
