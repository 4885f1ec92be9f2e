"""An answer in a box on a narrow terminal: columns in the middle are left out, and it is said."""

from __future__ import annotations

import contextlib
import io

import duckdb
import pytest
from rich.cells import cell_len

from raybench.report.box import narrowed

TWENTY = ", ".join(f"{number}000 AS a_long_name_{number}" for number in range(20))


def box(sql: str, width: int) -> list[str]:
    """As DuckDB shows it, which takes a terminal narrower than 80 for one of 80."""
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        duckdb.sql(sql).show(max_width=width, max_rows=20)
    return shown.getvalue().rstrip("\n").split("\n")


def test_it_is_as_wide_as_it_may_be_and_says_how_many_columns_are_shown() -> None:
    assert narrowed(box(f"SELECT {TWENTY} FROM range(2)", 60), 60) == [
        "┌───────────────┬───────────────┬───┬────────────────┐",
        "│ a_long_name_0 │ a_long_name_1 │ … │ a_long_name_19 │",
        "│     int32     │     int32     │ … │     int32      │",
        "├───────────────┼───────────────┼───┼────────────────┤",
        "│             0 │          1000 │ … │          19000 │",
        "│             0 │          1000 │ … │          19000 │",
        "└───────────────┴───────────────┴───┴────────────────┘",
        "  2 rows",
        "  20 columns (3 shown)",
    ]


def test_where_duckdb_left_none_out_it_is_said_too() -> None:
    names = [letter * 22 for letter in "abc"]
    sql = f"SELECT 1 AS {names[0]}, 2 AS {names[1]}, 3 AS {names[2]}"
    lines = narrowed(box(sql, 60), 60)
    assert lines[1] == f"│ {names[0]} │ … │ {names[2]} │"
    assert lines[-1] == "  3 columns (2 shown)"


@pytest.mark.parametrize("width", [30, 40, 50, 60, 79])
def test_no_line_is_longer_whatever_is_in_it(width: int) -> None:
    lines = narrowed(box(f"SELECT '日本語日本語' AS x, 'a│b' AS y, {TWENTY} FROM range(30)", width), width)
    assert max(map(cell_len, lines)) <= width
    assert len({cell_len(line) for line in lines if line[0] in "┌│├└"}) == 1
    assert "日本語日本語" in lines[5]


def test_what_is_narrow_or_no_box_is_as_it_was() -> None:
    lines = box("SELECT 1 AS a, 2 AS b", 60)
    assert narrowed(lines, 60) == lines
    assert narrowed(["x" * 99], 60) == ["x" * 99]
    assert narrowed([""], 60) == [""]


def test_of_one_column_that_is_wider_all_is_there() -> None:
    lines = box("SELECT repeat('x y ', 60) AS b", 60)
    assert narrowed(lines, 60) == lines
