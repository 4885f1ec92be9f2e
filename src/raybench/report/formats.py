"""Rows as text and files: CSV, JSON, Markdown, Parquet. What they are rows of is asked in `query`."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from raybench.records import RaybenchError
from raybench.report.terminal import harmless

_ROWS_AT_ONCE: Final = 10_000
_MARKUP: Final = re.compile(r"([\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_]))")
"""What Markdown acts on; an underscore within a word is one."""


def csv_text(columns: Sequence[str], texts: pa.Table, shown: bool) -> Iterator[str]:
    """A line of names, then one for each row of ``texts``, a null as nothing; ``shown``: escaped for a terminal."""
    yield _csv_lines([columns], shown)
    for rows in _rows(texts):
        yield _csv_lines(rows, shown)


def json_text(columns: Sequence[str], values: pa.Table) -> Iterator[str]:
    """A list of objects, one a line: ASCII, without control characters.

    What JSON has no word for is text: times as ISO 8601, bytes as hexadecimal digits, ``inf``, ``-inf`` and ``nan``.
    Raises RaybenchError where two columns share a name.
    """
    _refuse_twins(columns, "JSON")
    first = True
    for rows in _rows(values):
        lines = [json.dumps({name: _plain(value) for name, value in zip(columns, row, strict=True)}) for row in rows]
        text = ",\n".join(lines).replace("\x7f", "\\u007f")
        yield f"{'[' if first else ','}\n{text}"
        first = False
    yield "[]\n" if first else "\n]\n"


def markdown_text(columns: Sequence[str], texts: pa.Table, numeric: Sequence[bool]) -> Iterator[str]:
    """A table as GitHub reads it, in which nothing is markup; ``numeric`` columns stand to the right."""
    if columns:
        yield _markdown_line(columns)
        yield f"| {' | '.join('---:' if right else '---' for right in numeric)} |\n"
    for rows in _rows(texts):
        yield "".join(map(_markdown_line, rows))


def parquet_bytes(columns: Sequence[str], values: pa.Table) -> bytes:
    """A file. Raises RaybenchError where there are no columns, or two that share a name."""
    import pyarrow.parquet as pq  # not needed for the others

    if not columns:
        raise RaybenchError("Parquet: the statement has no answer to write")
    _refuse_twins(columns, "Parquet")
    sink = pa.BufferOutputStream()
    pq.write_table(values, sink)
    return bytes(sink.getvalue().to_pybytes())


def _rows(table: pa.Table) -> Iterator[list[tuple[Any, ...]]]:
    """Some at a time. Raises RaybenchError for a value that Python has none for, such as a time of the year 20,000."""
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        try:
            rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise RaybenchError(f"SQL: {error}; cast it to VARCHAR") from None
        if rows:
            yield rows


def _csv_lines(rows: Iterable[Iterable[str | None]], shown: bool) -> str:
    text = io.StringIO()
    rows = [[value and harmless(value) for value in row] for row in rows] if shown else rows
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _markdown_line(cells: Iterable[str | None]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |\n"


def _cell(text: str | None) -> str:
    if text is None:
        return ""
    return _MARKUP.sub(r"\\\1", html.escape(harmless(text), quote=False))


def _refuse_twins(columns: Sequence[str], format_: str) -> None:
    twins = [name for place, name in enumerate(columns) if name in columns[:place]]
    if twins:
        raise RaybenchError(f"{format_}: two columns are called {twins[0]!r}; name them apart by AS")


def _plain(value: Any) -> Any:
    """``value`` as `json` takes it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    iso: Callable[[], str] | None = getattr(value, "isoformat", None)
    return str(value) if iso is None else iso()
