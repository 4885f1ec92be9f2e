"""How many samples are looked at at a time: so that the memory of a long run is that of some millions of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

ROWS_AT_ONCE: Final = 2_000_000
"""Samples that are held at a time, where no configuration or round has more: some 100 bytes each."""

_OF: Final = {
    "round": "round BETWEEN {first} AND {last}",
    "position": "block IN (SELECT block FROM configurations WHERE position BETWEEN {first} AND {last})",
}


@contextlib.contextmanager
def narrowed(query: Callable[[str], Any], by: Literal["round", "position"], first: int, last: int) -> Iterator[None]:
    """Meanwhile the view ``samples`` shows only files that have samples of these rounds or configurations' own blocks.

    What else is in such a file it still shows. Without it each batch would read some of every file, and the time of a
    run would grow with the square of its samples.
    """
    query(_set_files(_OF[by].format(first=first, last=last)))
    try:
        yield
    finally:
        query(_set_files("true"))


def _set_files(which: str) -> str:
    """``which``: a condition of `_OF`."""
    return (
        "SET VARIABLE raybench_samples = (SELECT coalesce(list(path ORDER BY path), []) FROM "  # noqa: S608
        f"(SELECT DISTINCT path FROM raybench_sample_files WHERE {which}))"
    )


def batches(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of neighbours that have `ROWS_AT_ONCE` together at most, or of one that has more."""
    first, held = 0, 0
    for number, count in enumerate(counts):
        if number > first and held + count > ROWS_AT_ONCE:
            yield first, number - 1
            first, held = number, 0
        held += count
    if counts:
        yield first, len(counts) - 1
