"""How many samples are looked at at a time: so that the memory of a long run is that of some millions of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

ROWS_AT_ONCE: Final = 2_000_000
"""Samples that are held at a time, where no configuration or round has more: some 100 bytes each."""

_MORE: Final = {"round": 1, "position": 3}
"""How many times as many: of configurations only times are held, and each part reads something of every file."""

_OF: Final = {
    "round": "round IN ({})",
    "position": "block IN (SELECT block FROM configurations WHERE position IN ({}))",
}
_RANGE: Final = {"round": ("round", "rounds"), "position": ("block", "blocks")}
"""Of which column the least and the largest value bound what is shown, and in which variable they are."""


@contextlib.contextmanager
def narrowed(query: Callable[[str], Any], by: Literal["round", "position"], numbers: Sequence[int]) -> Iterator[None]:
    """Meanwhile the view ``samples`` shows only files of commits that have samples of these rounds or own blocks.

    Of those it shows what lies between the first and the last of them. Without it each batch would read all of every
    file, and the time of a run would grow with the square of its samples; in files of many visits groups of rows are
    passed over by their least and largest values.
    """
    which = _OF[by].format(", ".join(map(str, numbers)))
    column, variable = _RANGE[by]
    query(_set_files(which))
    query(
        f"SET VARIABLE raybench_{variable} = "  # noqa: S608
        f"(SELECT [min({column}), max({column})] FROM raybench_sample_visits WHERE {which})"
    )
    try:
        yield
    finally:
        query(_set_files("true"))
        query(f"RESET VARIABLE raybench_{variable}")


def _set_files(which: str) -> str:
    """``which``: a condition of `_OF`."""
    return (
        "SET VARIABLE raybench_samples = (SELECT coalesce(list(path ORDER BY path), []) FROM raybench_sample_files "  # noqa: S608
        f"WHERE number IN (SELECT number FROM raybench_sample_visits WHERE {which}))"
    )


def batches(by: Literal["round", "position"], counts: Mapping[int, int]) -> Iterator[list[int]]:
    """The keys of neighbours that have `ROWS_AT_ONCE` (or `_MORE`) together at most, or of one that has more."""
    at_once = ROWS_AT_ONCE * _MORE[by]
    found: list[int] = []
    held = 0
    for number, count in counts.items():
        if found and held + count > at_once:
            yield found
            found, held = [], 0
        found.append(number)
        held += count
    if found:
        yield found


def filled(
    execute: Callable[..., Any], table: str, view: str, by: Literal["round", "position"], counts: Mapping[int, int]
) -> Iterator[int]:
    """Make ``table`` of what ``view`` over the samples holds, some groups at a time; after each, of how many parts.

    ``execute``: of a connection. ``counts``: of samples by the number of each group, a column of ``view`` named ``by``.
    """
    parts = list(batches(by, counts))
    if not parts:
        execute(f"CREATE OR REPLACE TABLE {table} AS FROM {view} LIMIT 0")
    # The first part makes it: of a short run planning the view once more, for none of its rows, would take longest.
    put = f"CREATE OR REPLACE TABLE {table} AS"
    for numbers in parts:
        with narrowed(execute, by, numbers):
            execute(f"{put} FROM {view} WHERE list_contains(?, {by})", [numbers])
        put = f"INSERT INTO {table}"
        yield len(parts)
