"""Any SQL over a run: what it answers, in a box for people or as CSV for programs. Ctrl-C ends the query."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Final, TypeVar

import duckdb
import pyarrow as pa

from raybench.records import RaybenchError
from raybench.report.screen import open_console, print_line
from raybench.report.terminal import harmless, write_text

T = TypeVar("T")

_BOX: Final = {"max_rows": 200, "max_width": 200}
_ROWS_AT_ONCE: Final = 10_000


def print_box(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """The first rows, for people; nothing for a statement without an answer.

    Raises RaybenchError with DuckDB's explanation, KeyboardInterrupt after Ctrl-C.
    """

    def ask() -> str:
        relation = connection.sql(sql)
        with contextlib.redirect_stdout(io.StringIO()) as shown:  # it prints by itself
            if relation is not None:
                relation.show(**_BOX)
        return shown.getvalue()

    console = open_console()
    for line in _answer(connection, ask).rstrip("\n").split("\n"):
        print_line(console, line)


def print_csv(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Every row, each value as DuckDB writes it, a null as nothing; on a terminal what would act on it is escaped.

    Raises what `print_box` raises.
    """

    def ask() -> tuple[list[str], pa.Table]:
        relation = connection.sql(sql)
        if relation is None:
            return [], pa.table({})
        # As text: Python's times lie between the years 1 and 9999 and are finite, DuckDB's need not. By place: columns
        # may share a name.
        texts = [f"CAST(#{place} AS VARCHAR) AS c{place}" for place in range(1, len(relation.columns) + 1)]
        return relation.columns, relation.project(", ".join(texts)).to_arrow_table()

    columns, found = _answer(connection, ask)
    _write_rows([columns])
    for batch in found.to_batches(max_chunksize=_ROWS_AT_ONCE):
        _write_rows(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _write_rows(rows: Iterable[Iterable[str | None]]) -> None:
    text = io.StringIO()
    shown = [[value and harmless(value) for value in row] for row in rows] if sys.stdout.isatty() else rows
    csv.writer(text, lineterminator="\n").writerows(shown)
    write_text(text.getvalue())


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
