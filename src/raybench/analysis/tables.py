"""The tables of a run: DuckDB views over its raw samples, and the statistics that need more than SQL."""

from __future__ import annotations

import re
import tempfile
import weakref
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.analysis.verdicts import Verdicts
from raybench.records import SCHEMAS, InputError, RaybenchError
from raybench.store import Location, RunStore, StoreError, describes_no_run, open_storage

VIEW_FILES = (
    "raw",
    "completeness",
    "by_configuration",
    "deployments",
    "latencies",
    "visit_ratios",
    "adapter_switch",
    "memory_and_load",
    "run_time",
)
"""The SQL files, in the order in which their views build on each other."""


class Views:
    """One run, open in DuckDB. Every number comes from the committed samples, each time anew.

    ``folder`` is where DuckDB reads: the run's own, or a copy of what was verified, which goes with ``connection``.

    Raises StoreError where a file is not what was committed (its hash is checked: DuckDB reads a damaged Parquet
    file without complaint) or holds a latency that cannot be.
    """

    def __init__(self, path: Location) -> None:
        store = RunStore.open(path)
        self.root = store.root
        self.description = store.description
        if isinstance(store.root, Path):
            store.verify()
        self.connection, self.folder = _open(store)
        try:
            self.margin = float(self.description["plan"]["margin"])
            if not 0 < self.margin < 1:
                raise ValueError(f"plan.margin is {self.margin:g}, should lie between 0 and 1")
            self.verdicts = Verdicts(self.rows, self.description["plan"])
        except (KeyError, TypeError, ValueError) as error:
            raise describes_no_run(store.root, error) from None

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Another connection over the same files, whose views may be changed."""
        return _connect(self.folder)

    def query(self, sql: str) -> pa.Table:
        """Any SQL over the run's views. Raises RaybenchError with DuckDB's own explanation."""
        try:
            return self.connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise RaybenchError(f"SQL: {error}") from None
        except AttributeError:  # a statement without a result
            return pa.table({})

    def rows(self, sql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.query(sql).to_pylist()
        return found


class Tables(Views):
    """A run's views and, in the same connection, the tables that statistics make of them (`verdicts.SCHEMAS`)."""

    def __init__(self, path: Location) -> None:
        super().__init__(path)
        self._register()

    def _register(self) -> None:
        self.derived = self.verdicts.tables()
        for name, table in self.derived.items():
            self.connection.register(f"_{name}", table)
            self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM _{name}")  # noqa: S608  fixed names
            self.connection.unregister(f"_{name}")


def connect(root: Location) -> duckdb.DuckDBPyConnection:
    """DuckDB with the views of the run at ``root``, in memory.

    Raises StoreError for a run whose driver died before `write_views`, which comes before any measuring, and for what
    is damaged on an object store. Of a folder nothing is verified.
    """
    return _open(RunStore.open(root))[0]


def _open(store: RunStore) -> tuple[duckdb.DuckDBPyConnection, Path]:
    """DuckDB over the run's folder; of an object store over a copy, each hash checked, removed with the connection.

    Copied, a store is read once, and what DuckDB reads is what was checked. Reading through it, the views of a run
    of 136 files took 1,950 requests to make (`docs/design.md`).
    """
    if not open_storage(store.root).exists("schema/manifest.json"):
        raise StoreError(f"{store.root}: nothing was measured yet (no schema/manifest.json); go on with it by --resume")
    if isinstance(store.root, Path):
        return _connect(store.root), store.root
    copy = tempfile.TemporaryDirectory(prefix="raybench-")
    folder = Path(copy.name)
    store.verify(keep=open_storage(folder).replace)
    write_views(folder)
    connection = _connect(folder)
    weakref.finalize(connection, copy.cleanup)
    return connection, folder


def _connect(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    # The views list files by glob(): what is special there must not be in the folder's own name.
    escaped = re.sub(r"([*?\[])", r"[\1]", str(folder))
    connection.execute("SET VARIABLE raybench_run = ?", [escaped])
    connection.execute(views_sql())
    return connection


def views_sql() -> str:
    """Every view's SQL, as the package ships it: the same text that a run's ``views.sql`` holds."""
    return "\n".join(shipped_sql(name) for name in VIEW_FILES)


def shipped_sql(name: str) -> str:
    """The text of one SQL file of the package, by its name without the ending."""
    return resources.files("raybench").joinpath("analysis", "sql", f"{name}.sql").read_text("utf-8")


def open_input(path: Location) -> Tables:
    """The tables of a run that a command is only to read. Raises InputError for what is none or is damaged."""
    try:
        return Tables(path)
    except StoreError as error:
        raise InputError(str(error)) from None


def write_views(root: Location) -> None:
    """Make the run readable without raybench, from its first moment: ``views.sql``, and empty files to begin with."""
    storage = open_storage(root)
    for name, table_schema in SCHEMAS.items():
        storage.replace(f"schema/{name}.parquet", _parquet(table_schema.empty_table()))
    storage.replace("schema/manifest.json", b'{"files": []}\n')
    storage.replace("views.sql", views_sql().encode())


def write_derived(tables: Tables) -> None:
    """Keep the statistics' tables beside the raw samples too, and name them in ``views.sql``."""
    storage = open_storage(tables.root)
    for name, table in tables.derived.items():
        storage.replace(f"tables/{name}.parquet", _parquet(table))
    views = [views_sql(), *map(shipped_sql, tables.derived)]
    storage.replace("views.sql", ("\n".join(views) + "\n").encode())


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())
