"""``raybench sql``: any SQL over a run, in one query or at a prompt."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable
from functools import partial

import duckdb

from raybench.analysis import Tables, shut_off
from raybench.records import RaybenchError
from raybench.report.formats import FORMATS
from raybench.report.latest import add_results_argument, add_run_argument
from raybench.report.query import print_as, print_box
from raybench.report.screen import open_console, print_line
from raybench.report.terminal import OutputError

_ENDS = ("exit", "quit", "\\q", ".quit", ".exit")


def add_sql_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``raybench sql``."""
    add_run_argument(parser)
    parser.add_argument("query", nargs="?", metavar="SQL", help="default: a prompt")
    add_results_argument(parser)
    parser.add_argument("--format", choices=("box", *FORMATS), default="box", help="default: box")
    parser.add_argument(
        "--unsafe",
        action="store_true",
        help="the query may read and write files, the run's too, use the network and change settings",
    )


def run_sql(options: argparse.Namespace) -> int:
    """``raybench sql``: 0 where everything was answered, at the prompt in any case.

    Raises what `Tables` raises, RaybenchError for a query that is none, KeyboardInterrupt where Ctrl-C ended it.
    """
    tables = Tables(options.directory)
    connection = tables.connection
    connection.execute("SET TimeZone = 'UTC'")  # as the run's own times are, on whichever machine
    if not options.unsafe:
        with tables.reading():
            shut_off(connection)
    answer = partial(print_box, connection)
    if options.format != "box":
        answer = partial(print_as, connection, format_=options.format)
    if options.query is not None:
        answer(options.query)
    else:
        _prompt(connection, answer)
    return 0


def _prompt(connection: duckdb.DuckDBPyConnection, answer: Callable[[str], None]) -> None:
    console = open_console()
    found = connection.execute("SELECT name FROM (SHOW TABLES) WHERE name NOT LIKE 'raybench_%'").fetchall()
    print_line(console, f"Views: {', '.join(name for (name,) in found)}. One query a line; Ctrl-D ends.")
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  gives input() a history
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # what is no text is no query, and not the end
    while sys.stdin is not None:
        try:
            query = input("raybench> ").strip()
            if query.rstrip(";").lower() in _ENDS:
                return
            if query:
                answer(query)
        except EOFError:
            print_line(console, "")
            return
        except KeyboardInterrupt:
            print_line(console, "interrupted")
        except OutputError:
            raise
        except RaybenchError as error:
            print_line(console, str(error))
