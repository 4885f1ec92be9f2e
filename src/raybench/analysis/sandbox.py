"""A run's views shut off from everything else: no file, no network, no other settings, whatever SQL comes.

DuckDB's lists of allowed files are no way: what may be read may be written too (``COPY ... (USE_TMP_FILE false)``). So
the raw rows are taken into memory first, and then no file at all is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import duckdb

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
    take_in(connection, SCHEMAS)
    for statement in _SHUT:
        connection.execute(statement)
