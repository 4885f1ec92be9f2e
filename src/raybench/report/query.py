"""Any SQL over a run: what it answers, in a box for people or in a format for programs. Ctrl-C ends the query."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Final, TypeVar

import duckdb
import pyarrow as pa

from raybench.records import RaybenchError
from raybench.report.box import narrowed
from raybench.report.format_names import Format
from raybench.report.formats import csv_text, json_text, markdown_text, parquet_bytes
from raybench.report.screen import open_console, print_line
from raybench.report.terminal import write_bytes, write_text

T = TypeVar("T")

_BOX_ROWS: Final = 200
_ONE_ROW: Final = re.compile(r"^( +1 )rows( .*)?$")
"""DuckDB's last line of an answer of one."""
_NUMBERS: Final = frozenset(
    ["float", "double", "decimal"]
    + [f"{sign}{size}" for sign in ("", "u") for size in ("tinyint", "smallint", "integer", "bigint", "hugeint")]
)
"""DuckDB's types of numbers."""


def print_box(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """The first rows, for people; nothing for a statement without an answer.

    Raises RaybenchError with DuckDB's explanation, KeyboardInterrupt after Ctrl-C.
    """
    console = open_console()

    def ask() -> str:
        relation = connection.sql(sql)
        with contextlib.redirect_stdout(io.StringIO()) as shown:  # it prints by itself
            if relation is not None:
                relation.show(max_rows=_BOX_ROWS, max_width=console.width)
        return shown.getvalue()

    for line in narrowed(_answer(connection, ask).rstrip("\n").split("\n"), console.width):
        print_line(console, _ONE_ROW.sub(r"\1row\2", line))


def print_as(connection: duckdb.DuckDBPyConnection, sql: str, format_: Format) -> None:
    """Every row, for programs and pages: as text, or as a Parquet file, which no terminal is given.

    Raises what `print_box` raises, and RaybenchError where the format cannot hold it.
    """
    shown = sys.stdout.isatty()
    if shown and format_ == "parquet":
        raise RaybenchError("Parquet is no text for a terminal; send it into a file, as > FILE.parquet")
    for part in encoded(connection, sql, format_, shown):
        if isinstance(part, str):
            write_text(part)
        else:
            write_bytes(part)


def encoded(
    connection: duckdb.DuckDBPyConnection, sql: str, format_: Format, shown: bool = False
) -> Iterator[str | bytes]:
    """What a query answers, in parts. CSV and Markdown have each value as DuckDB writes it, a null as nothing.

    ``shown``: CSV for a terminal, where what would act on it is escaped. Raises what `print_as` raises.
    """
    as_text = format_ in ("csv", "markdown")

    def ask() -> tuple[list[str], list[bool], pa.Table]:
        relation = connection.sql(sql)
        if relation is None:
            return [], [], pa.table({})
        kinds = [str(kind.id) for kind in relation.types]
        # As text: Python's times lie between the years 1 and 9999 and are finite, DuckDB's need not. By place: columns
        # may share a name.
        parts = [
            f"CAST(#{place} AS VARCHAR) AS c{place}" if as_text else f"#{place} AS c{place}"
            for place in range(1, len(kinds) + 1)
        ]
        found = relation.project(", ".join(parts)).to_arrow_table()
        return relation.columns, [kind in _NUMBERS for kind in kinds], found

    columns, numeric, found = _answer(connection, ask)
    if not columns and format_ != "parquet":  # a statement without an answer, among others that have some
        return
    match format_:
        case "csv":
            yield from csv_text(columns, found, shown)
        case "json":
            yield from json_text(columns, found)
        case "markdown":
            yield from markdown_text(columns, found, numeric)
        case "parquet":
            yield _answer(connection, lambda: parquet_bytes(columns, found.rename_columns(columns)))


def _answer(connection: duckdb.DuckDBPyConnection, ask: Callable[[], T]) -> T:
    """What ``ask`` returns. It runs in a thread of its own, since DuckDB looks for signals in some queries only."""
    answer: Future[T] = Future()

    def answering() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            answer.set_exception(error)

    thread = threading.Thread(target=answering, daemon=True)
    try:
        thread.start()
        while not answer.done():
            wait([answer], 0.1)  # no longer: a signal that another thread was woken by is only looked at in between
        return answer.result()
    except (duckdb.Error, pa.ArrowException, UnicodeError) as error:
        raise RaybenchError(f"SQL: {_explanation(error)}") from None
    finally:
        # Whatever broke the waiting off, wherever that was: the connection is not left with a query that goes on.
        while not answer.done():
            with contextlib.suppress(KeyboardInterrupt):
                connection.interrupt()  # again: an interruption that comes before the query begins is lost
                wait([answer], 0.05)
                if not thread.is_alive():  # Ctrl-C came before it was started
                    break


def _explanation(error: Exception) -> str:
    text = re.sub(r"\n *\^+", "", str(error))  # it points into a line of its own, of which one line has none
    if re.search("disabled (by|through) configuration|configuration has been locked", text):
        text += "; with --unsafe a query may use files, the network and settings"
    return text
