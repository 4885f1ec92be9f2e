"""``raybench sql``: any SQL over a run, in one query or at a prompt."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Final

import duckdb

from raybench.analysis import Tables, shut_off
from raybench.records import RaybenchError
from raybench.report.options import SqlOptions
from raybench.report.prompt import Word, is_terminal, open_prompt, word_of
from raybench.report.query import print_as, print_box
from raybench.report.screen import open_console, print_line
from raybench.report.terminal import OutputError, complain
from raybench.store import Location

_ENDS: Final = "A statement ends by ; and may have several lines."
_HELP: Final = (
    f"{_ENDS} Such as: FROM by_strategy;",
    ".tables                  which views there are",
    "DESCRIBE by_strategy;    what columns one has; docs/sql.md says what each is",
    "Tab completes names, the arrows bring back what was typed, Ctrl-C throws away what is typed or ends a query.",
    ".quit, quit, exit or Ctrl-D on an empty line ends.",
)


def run_sql(run: Location, query: str | None, options: SqlOptions) -> int:
    """``raybench sql``: 0 where everything was answered, at the prompt in any case; 1 where standard input was not.

    Raises what `Tables` raises, RaybenchError for a query that is none, KeyboardInterrupt where Ctrl-C ended it.
    """
    tables = Tables(run)
    connection = tables.connection
    connection.execute("SET TimeZone = 'UTC'")  # as the run's own times are, on whichever machine
    if not options.unsafe:
        with tables.reading():
            shut_off(connection)
    answer: Callable[[str], None] = partial(print_box, connection)
    if options.format != "box":
        answer = partial(print_as, connection, format_=options.format)
    if options.format == "parquet":
        answer = _once(answer)
    if query is not None:
        for statement in _apart(connection, query):
            answer(statement)
        return 0
    return _prompt(connection, answer)


def _once(answer: Callable[[str], None]) -> Callable[[str], None]:
    """For a format of which a file holds one answer: a second is refused."""
    answered = False

    def once(statement: str) -> None:
        nonlocal answered
        if answered:
            raise RaybenchError("Parquet: a file holds one answer; ask each statement by itself, or in another format")
        answer(statement)
        answered = True

    return once


def _prompt(connection: duckdb.DuckDBPyConnection, answer: Callable[[str], None]) -> int:
    console, typed, failed = open_console(), is_terminal(), False
    next_statement = open_prompt(cache(lambda: _names(connection)))
    if typed:
        for line in (*_told(connection, "tables"), f"{_ENDS} Tab completes names; help says more; Ctrl-D ends."):
            print_line(console, line)
    while True:
        try:
            text = next_statement()
            word = word_of(text)
            if word == "end":
                break
            if word is not None:
                for line in _told(connection, word):
                    print_line(console, line)
                continue
            for statement in _apart(connection, text):
                answer(statement)
        except EOFError:
            break
        except KeyboardInterrupt:
            print_line(console, "interrupted")
        except OutputError:
            raise
        except RaybenchError as error:
            failed = True
            if typed:
                print_line(console, str(error))
            else:
                complain(str(error))
    return 1 if failed and not typed else 0


def _told(connection: duckdb.DuckDBPyConnection, word: Word) -> tuple[str, ...]:
    """What is said where ``word`` was typed."""
    if word == "help":
        return _HELP
    views = connection.execute("SELECT name FROM (SHOW TABLES) WHERE name NOT LIKE 'raybench_%'").fetchall()
    return (f"Views: {', '.join(name for (name,) in views)}.",)


def _apart(connection: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    """The statements of ``text``, each to be answered; where it has one that is none, all of it, to be explained."""
    try:
        return [statement.query for statement in connection.extract_statements(text)]
    except duckdb.Error:
        return [text]


def _names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Of views and their columns."""
    found = connection.execute("SELECT name, column_names FROM (SHOW ALL TABLES) WHERE name NOT LIKE 'raybench_%'")
    names: set[str] = set()
    for name, columns in found.fetchall():
        names |= {name, *columns}
    return sorted(names)
