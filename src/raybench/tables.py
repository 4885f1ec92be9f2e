"""The tables of a run: DuckDB views over its raw samples, and the statistics that need more than SQL."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.manifest import replace
from raybench.records import SCHEMAS, RaybenchError
from raybench.store import RunStore, StoreError
from raybench.verdicts import Verdicts

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

    Raises StoreError where a file is not what was committed (its hash is checked: DuckDB reads a damaged Parquet
    file without complaint) or holds a latency that cannot be.
    """

    def __init__(self, path: Path) -> None:
        store = RunStore.open(path)
        store.verify()
        self.root = store.root
        self.description = store.description
        self.margin = float(self.description["plan"]["margin"])
        self.connection = connect(store.root)
        self.verdicts = Verdicts(self.rows, self.description["plan"])

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

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._register()

    def _register(self) -> None:
        self.derived = self.verdicts.tables()
        for name, table in self.derived.items():
            self.connection.register(f"_{name}", table)
            self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM _{name}")  # noqa: S608  fixed names
            self.connection.unregister(f"_{name}")


def connect(root: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB with the views of the run at ``root``, in memory.

    Raises StoreError for a run whose driver died before `write_views`, which comes before any measuring.
    """
    if not (root / "schema" / "manifest.json").is_file():
        raise StoreError(f"{root}: nothing was measured yet (no schema/manifest.json); go on with it by --resume")
    connection = duckdb.connect()
    # The views list files by glob(): what is special there must not be in the folder's own name.
    escaped = re.sub(r"([*?\[])", r"[\1]", str(root))
    connection.execute("SET VARIABLE raybench_run = ?", [escaped])
    connection.execute(views_sql())
    return connection


def views_sql() -> str:
    """Every view's SQL, as the package ships it: the same text that a run's ``views.sql`` holds."""
    return "\n".join(shipped_sql(name) for name in VIEW_FILES)


def shipped_sql(name: str) -> str:
    """The text of one SQL file of the package, by its name without the ending."""
    return resources.files("raybench").joinpath("sql", f"{name}.sql").read_text("utf-8")


def write_views(root: Path) -> None:
    """Make the run readable without raybench, from its first moment: ``views.sql``, and empty files to begin with."""
    schema = root / "schema"
    schema.mkdir(exist_ok=True)
    for name, table_schema in SCHEMAS.items():
        pq.write_table(table_schema.empty_table(), schema / f"{name}.parquet")
    replace(schema / "manifest.json", b'{"files": []}\n')
    replace(root / "views.sql", views_sql().encode())


def write_derived(tables: Tables) -> None:
    """Keep the statistics' tables beside the raw samples too, and name them in ``views.sql``."""
    folder = tables.root / "tables"
    folder.mkdir(exist_ok=True)
    views = [views_sql()]
    for name, table in tables.derived.items():
        pq.write_table(table, folder / f"{name}.parquet")
        views.append(
            f"CREATE OR REPLACE VIEW {name} AS "  # noqa: S608  fixed names
            f"SELECT * FROM read_parquet(getvariable('raybench_run') || '/tables/{name}.parquet');"
        )
    replace(tables.root / "views.sql", ("\n".join(views) + "\n").encode())
