"""A run's views shut off from everything else: no file, no network, no other settings, whatever SQL comes.

DuckDB's lists of allowed files are no way: what may be read may be written too (``COPY ... (USE_TMP_FILE false)``). So
the raw rows are taken into memory first, and then no file at all is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import duckdb

from raybench.analysis.batches import filled
from raybench.analysis.shipped import shipped_sql
from raybench.schemas import SCHEMAS

_SHUT: Final = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET python_enable_replacements = false",  # a name in a query is no variable of this program
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


def take_in(connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
    """Make tables in memory of those of a run's raw views (``names`` of `SCHEMAS`) that are still views over files."""
    for name in names:
        hold(connection, name, name)
        connection.execute(f"CREATE OR REPLACE VIEW {name} AS FROM raybench_held_{name}")


def hold(connection: duckdb.DuckDBPyConnection, name: str, source: str) -> None:
    """Make the table in memory that `take_in` makes a view of, from ``source``, unless there is one."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS raybench_held_{name} AS FROM {source}")


def shut_off(connection: duckdb.DuckDBPyConnection) -> None:
    """Let ``connection`` answer from what is in it alone, for good. Its views over files become tables in memory."""
    _take_in_samples(connection)
    take_in(connection, SCHEMAS.keys() - {"samples"})
    for statement in _SHUT:
        connection.execute(statement)


def _take_in_samples(connection: duckdb.DuckDBPyConnection) -> None:
    """Make a table of the samples; of more than are looked at at a time some rounds at a time, and compressed.

    Ten million take 1.7 GB otherwise, which is made in 2 s; compressed they take 0.2 GB and 10 s (DuckDB 2.0.0).
    """
    counts: dict[int, int] = dict(connection.execute(shipped_sql("rounds_of_samples")).fetchall())
    connection.execute("ATTACH ':memory:' AS raybench_held (COMPRESS)")
    for parts in filled(connection.execute, "raybench_held.samples", "samples", "round", counts):
        if parts > 1:
            connection.execute("CHECKPOINT raybench_held")  # which is what compresses
    connection.execute("CREATE OR REPLACE VIEW samples AS FROM raybench_held.samples")
