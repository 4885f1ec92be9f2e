"""What a query answers as CSV, JSON, Markdown and Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pty

import duckdb
import pyarrow.parquet as pq
import pytest

from raybench.records import RaybenchError
from raybench.report.format_names import FORMATS, Format
from raybench.report.query import encoded, print_as

Capture = pytest.CaptureFixture[str]
VALUES = (
    "SELECT 3::HUGEINT AS whole, 1.5::DECIMAL(9, 2) AS part, 'inf'::DOUBLE AS open, "
    "TIMESTAMP '2026-01-02 03:04:05' AS at, [1, NULL] AS list, {'a': 1, 'b': DATE '2026-01-01'} AS struct, "
    "'x'::BLOB AS raw, true AS yes, NULL AS nothing"
)


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    found = duckdb.connect()
    found.execute("SET TimeZone = 'UTC'")
    return found


def text_of(connection: duckdb.DuckDBPyConnection, sql: str, format_: Format) -> str:
    parts = list(encoded(connection, sql, format_))
    assert all(isinstance(part, str) for part in parts)
    return "".join(map(str, parts))


def test_json_has_numbers_as_numbers_and_what_it_has_no_word_for_as_text(connection: duckdb.DuckDBPyConnection) -> None:
    text = text_of(connection, VALUES, "json")
    assert json.loads(text) == [
        {
            "whole": 3,
            "part": 1.5,
            "open": "inf",
            "at": "2026-01-02T03:04:05",
            "list": [1, None],
            "struct": {"a": 1, "b": "2026-01-01"},
            "raw": "78",
            "yes": True,
            "nothing": None,
        }
    ]
    assert text.count("\n") == 3  # a row a line


def test_json_is_ascii_without_control_characters(connection: duckdb.DuckDBPyConnection) -> None:
    text = text_of(connection, "SELECT chr(27) || chr(127) || chr(8238) || 'é' AS name", "json")
    assert json.loads(text) == [{"name": "\x1b\x7f\u202eé"}]
    assert set(text) - {"\n"} <= set(map(chr, range(32, 127)))


@pytest.mark.parametrize("rows", [0, 1, 10_000, 25_000])
def test_however_many_rows_there_are_they_are_all_there(connection: duckdb.DuckDBPyConnection, rows: int) -> None:
    sql = f"SELECT range AS n, 'a b' AS t FROM range({rows})"
    assert json.loads(text_of(connection, sql, "json")) == [{"n": n, "t": "a b"} for n in range(rows)]
    lines = list(csv.reader(io.StringIO(text_of(connection, sql, "csv"))))
    assert lines == [["n", "t"], *([str(n), "a b"] for n in range(rows))]
    assert text_of(connection, sql, "markdown").count("\n") == rows + 2
    (data,) = encoded(connection, sql, "parquet")
    assert isinstance(data, bytes)
    assert pq.read_table(io.BytesIO(data)).to_pydict() == {"n": list(range(rows)), "t": ["a b"] * rows}


def test_markdown_is_a_table_in_which_nothing_is_markup(connection: duckdb.DuckDBPyConnection) -> None:
    sql = (
        "SELECT 'a|b <i>*x* _y_ a_b `c` [q](z) & ~~d~~' || chr(10) || chr(27) AS \"na|me\", 1.25 AS n, NULL AS nothing"
    )
    assert text_of(connection, sql, "markdown").splitlines() == [
        "| na\\|me | n | nothing |",
        "| --- | ---: | --- |",
        r"| a\|b &lt;i&gt;\*x\* \_y\_ a_b \`c\` \[q\](z) &amp; \~\~d\~\~\\n\\x1b | 1.25 |  |",
    ]


def test_parquet_keeps_types_and_comes_back(connection: duckdb.DuckDBPyConnection) -> None:
    (data,) = encoded(connection, "SELECT 1::TINYINT AS a, 'inf'::DOUBLE AS b", "parquet")
    assert isinstance(data, bytes)
    table = pq.read_table(io.BytesIO(data))
    assert [str(field.type) for field in table.schema] == ["int8", "double"]
    assert table.to_pylist() == [{"a": 1, "b": math.inf}]


@pytest.mark.parametrize("format_", ["json", "parquet"])
def test_two_columns_of_one_name_are_refused_where_a_row_is_by_name(
    connection: duckdb.DuckDBPyConnection, format_: Format
) -> None:
    with pytest.raises(RaybenchError, match="two columns are called 'a'; name them apart by AS"):
        list(encoded(connection, "SELECT 1 AS a, 2 AS b, 3 AS a", format_))


def test_a_time_that_python_has_none_for_is_told(connection: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT TIMESTAMP '20000-01-01' AS at"
    assert text_of(connection, sql, "csv").splitlines()[1].startswith("20000-01-01")
    with pytest.raises(RaybenchError, match=r"cast it to VARCHAR$"):
        text_of(connection, sql, "json")


@pytest.mark.parametrize("format_", FORMATS)
def test_sql_that_is_none_is_explained(connection: duckdb.DuckDBPyConnection, format_: Format) -> None:
    with pytest.raises(RaybenchError, match=r"^SQL: "):
        list(encoded(connection, "FROM nowhere", format_))


def test_standard_output_gets_text_or_a_file(
    connection: duckdb.DuckDBPyConnection, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    print_as(connection, "SELECT 1 AS a", "json")
    assert capfdbinary.readouterr().out == b'[\n{"a": 1}\n]\n'
    print_as(connection, "SELECT 1 AS a", "parquet")
    assert pq.read_table(io.BytesIO(capfdbinary.readouterr().out)).to_pydict() == {"a": [1]}


def test_a_terminal_gets_no_parquet(connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    leading, following = pty.openpty()
    with os.fdopen(following, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        with pytest.raises(RaybenchError, match="no text for a terminal; send it into a file"):
            print_as(connection, "SELECT 1 AS a", "parquet")
        monkeypatch.undo()
    os.close(leading)
