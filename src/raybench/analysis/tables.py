"""The tables of a run: DuckDB views over its raw samples, and the statistics that need more than SQL."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import secrets
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.analysis.batches import filled
from raybench.analysis.sandbox import hold, take_in
from raybench.analysis.shipped import shipped_sql
from raybench.analysis.verdicts import Verdicts
from raybench.records import InputError, RaybenchError
from raybench.schemas import SCHEMAS
from raybench.store import Location, RunStore, StoreError, open_storage

VIEW_FILES = (
    "raw",
    "completeness",
    "measures",
    "by_measure",
    "by_configuration",
    "deployments",
    "latencies",
    "load_turns",
    "visit_ratios",
    "adapter_switch",
    "memory_and_load",
    "adapters_resident",
    "fidelity",
    "load_notes",
    "visit_conditions",
    "distinct_requests",
    "run_time",
    "predictions",
    "attribution",
)
"""The SQL files, in the order in which their views build on each other."""
_KEPT = {
    "raw": ("configurations", "comparisons"),
    "completeness": ("raybench_served", "completeness"),
    "by_measure": ("raybench_times", "by_measure"),
    "by_configuration": ("by_configuration",),
    "deployments": ("deployments",),
    "visit_ratios": ("raybench_compared", "raybench_sides", "raybench_visit_ratios", "visit_ratios"),
    "predictions": ("raybench_lengths", "raybench_work"),
}
"""By SQL file, views that several tables are made from: over all samples, or asked by most of the others."""
_IN_PARTS: Mapping[str, Literal["position", "round"]] = {"raybench_times": "position", "raybench_visit_ratios": "round"}
"""Views whose groups hold all their samples, and the number by which some groups can be asked for at a time."""
_COUNTS = {"position": "samples_by_position", "round": "samples_by_round"}
"""By that number the SQL file that counts samples."""
_VIEW = re.compile(r"^CREATE OR REPLACE VIEW (\w+) AS", re.MULTILINE)
LATER_VIEW_FILES = ("throughput", "by_axis")
"""Those of views over the tables that statistics make."""


class Views:
    """One run, open in DuckDB. Every number comes from the committed samples, each time anew.

    Raises StoreError where a file is not what was committed (its hash is checked: DuckDB reads a damaged Parquet
    file without complaint) or holds a latency that cannot be.
    """

    def __init__(self, path: Location) -> None:
        self._store = store = RunStore.open(path)
        self.root = store.root
        self._checked, copy = _check(store)
        self.description, self.document = store.description, store.document
        with self.reading():
            self.connection = self._checked.connect(keeps=True)
            if copy is not None:
                weakref.finalize(self.connection, copy.cleanup)
            self.margin = self.description.plan.margin
            self.judge()

    def reading(self) -> AbstractContextManager[None]:
        """Raise `StoreError` where DuckDB misses a file meanwhile because the run's driver has compacted it."""
        return self._store.reading(duckdb.IOException)

    def judge(self) -> None:
        """What statistics say of the samples, where it is asked for."""
        self.verdicts = Verdicts(self.query, self.description.plan)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Another connection over the same files, whose views may be changed."""
        return self._checked.connect()

    def query(self, sql: str, parameters: Sequence[object] | None = None) -> pa.Table:
        """Any SQL over the run's views; ``parameters``: for its question marks.

        Raises RaybenchError with DuckDB's own explanation, StoreError as `reading`.
        """
        try:
            with self.reading():
                return self.connection.sql(sql, params=parameters).to_arrow_table()
        except duckdb.Error as error:
            raise RaybenchError(f"SQL: {error}") from None
        except AttributeError:  # a statement without a result
            return pa.table({})

    def rows(self, sql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.query(sql).to_pylist()
        return found


def make_kept(connection: duckdb.DuckDBPyConnection, file: str) -> None:
    """Make the views of an SQL file from what `timed` shows now, and keep what those of `_KEPT` hold as tables.

    Each before the file's next view is made of it, for which DuckDB would else plan it once more. Those of `_IN_PARTS`
    are made some groups at a time; that takes ``completeness`` to be there.
    """
    for statement in connection.extract_statements(shipped_sql(file)):
        connection.execute(statement)
        view = _VIEW.search(statement.query)
        if view is not None and view[1] in _KEPT.get(file, ()):
            _keep(connection, view[1])


def _keep(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Keep what a view holds as a table, and make it a view of that."""
    kept, by = f"raybench_kept_{name}", _IN_PARTS.get(name)
    if by is None:
        connection.execute(f"CREATE OR REPLACE TABLE {kept} AS FROM {name}")
    else:
        counts: dict[int, int] = dict(connection.execute(shipped_sql(_COUNTS[by])).fetchall())
        for _ in filled(connection.execute, kept, name, by, counts):
            pass
    connection.execute(f"CREATE OR REPLACE VIEW {name} AS FROM {kept}")


class Tables(Views):
    """A run's views and, in the same connection, the tables that statistics make of them (`verdicts.SCHEMAS`)."""

    def judge(self) -> None:
        """The kept views, and every table of `verdicts.SCHEMAS`."""
        super().judge()
        self.derived = self.verdicts.tables()
        for name, table in self.derived.items():
            self.connection.register(f"_{name}", table)
            self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM _{name}")  # noqa: S608  fixed names
            self.connection.unregister(f"_{name}")
        for name in LATER_VIEW_FILES:
            self.connection.execute(shipped_sql(name))


@dataclasses.dataclass(frozen=True, slots=True)
class _Checked:
    """What DuckDB reads of a run: files that the manifest lists and that were found good, and its description."""

    folder: Path
    files: dict[str, list[str]]
    description: str
    rows: dict[str, pa.Table]
    """Of all tables but the samples, which are small."""
    sample_files: pa.Table
    """Of each file of samples the commit that lists it, by number."""
    sample_visits: pa.Table
    """Of each visit its block and round, and its commit."""

    def connect(self, keeps: bool = False) -> duckdb.DuckDBPyConnection:
        """Over these files and no others. The views are those that ``views.sql`` makes after checks of its own.

        ``keeps``: of those of `_KEPT` what they hold, each before others are made of it: DuckDB plans a view anew, with
        all that it is made of, wherever it is named.
        """
        whole = str(self.folder.absolute())  # DuckDB gives '~' and 'file:' at the start a meaning
        # What read_parquet takes for a pattern must not be in the folder's own name.
        folder = re.sub(r"([*?\[])", r"[\1]", whole)
        if folder != whole and "\\" in folder:  # in a pattern that ends a name
            raise InputError(f"{self.folder}: DuckDB reads no path with a backslash and one of * ? [; rename it")
        connection = open_duckdb()
        connection.execute("SET VARIABLE raybench_run = ?", [folder])
        connection.execute("SET VARIABLE raybench_description = ?", [self.description])
        for table, names in self.files.items():
            connection.execute(f"SET VARIABLE raybench_{table} = ?", [[f"{folder}/{name}" for name in names]])
        for table, rows in self.rows.items():
            with _registered(connection, rows):
                hold(connection, table, "raybench_read")
        with _registered(connection, self.sample_files):
            paths = "SELECT number, ? || '/' || path AS path FROM raybench_read"
            connection.execute(f"CREATE TABLE raybench_sample_files AS {paths}", [folder])
        with _registered(connection, self.sample_visits):
            connection.execute("CREATE TABLE raybench_sample_visits AS FROM raybench_read")
        for name in VIEW_FILES:
            if keeps:
                make_kept(connection, name)
            else:
                connection.execute(shipped_sql(name))
            if name == "raw":
                take_in(connection, self.rows)
        return connection


@contextlib.contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> Iterator[None]:
    """Meanwhile SQL finds ``rows`` as ``raybench_read``."""
    connection.register("raybench_read", rows)
    yield
    connection.unregister("raybench_read")


def open_duckdb(threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """In memory, with so many threads (None: one a core).

    What does not fit goes to the temporary folder: the current one, DuckDB's choice, may be a run's.
    """
    spilled = Path(tempfile.gettempdir(), f"raybench-{secrets.token_hex(8)}")  # DuckDB makes it, and removes it
    limits: dict[str, str | bool | int | float | list[str]] = {} if threads is None else {"threads": threads}
    connection = duckdb.connect(config={"temp_directory": str(spilled), **limits})
    connection.execute("SET parquet_metadata_cache = true")  # many views ask the same files
    return connection


def _check(store: RunStore) -> tuple[_Checked, tempfile.TemporaryDirectory[str] | None]:
    """Check every file of a run; of an object store, in a copy, which lasts as long as it is held.

    Copied, a store is read once, and what DuckDB reads is what was checked. Reading through it, the views of a run
    of 136 files took 1,950 requests to make (`docs/design.md`).
    """
    copy = None
    rows = {table: [schema.empty_table()] for table, schema in SCHEMAS.items() if table != "samples"}

    def hold(table: str, found: pa.Table) -> None:
        if table in rows:
            rows[table].append(found)

    if isinstance(store.root, Path):
        folder = store.root
        store.verify(hold=hold)
    else:
        copy = tempfile.TemporaryDirectory(prefix="raybench-")
        folder = Path(copy.name)
        store.verify(open_storage(folder).replace, hold)
    entries = store.entries()
    files = {
        table: [file.path for entry in entries for file in entry.files if file.table == table] for table in SCHEMAS
    }
    paths = [(number, f.path) for number, entry in enumerate(entries) for f in entry.files if f.table == "samples"]
    visits = [(number, visit.block, visit.round) for number, entry in enumerate(entries) for visit in entry.visits]
    tables = {table: pa.concat_tables(parts).combine_chunks() for table, parts in rows.items()}
    return _Checked(
        folder,
        files,
        json.dumps(store.document),
        tables,
        _table(paths, {"number": pa.int64(), "path": pa.string()}),
        _table(visits, {"number": pa.int64(), "block": pa.string(), "round": pa.int32()}),
    ), copy


def _table(rows: Sequence[tuple[object, ...]], columns: Mapping[str, pa.DataType]) -> pa.Table:
    parts = zip(*rows, strict=True) if rows else [()] * len(columns)
    return pa.table({name: pa.array(part, kind) for (name, kind), part in zip(columns.items(), parts, strict=True)})


def views_sql() -> str:
    """What a run's ``views.sql`` holds: the checks of its files, then every view's SQL as the package ships it."""
    return "\n".join(shipped_sql(name) for name in ("files", *VIEW_FILES))


_Opened = TypeVar("_Opened", bound=Views)


def open_input(path: Location, opened: type[_Opened]) -> _Opened:
    """A run that a command is only to read. Raises InputError for what is none or is damaged.

    ``opened``: `Views`, or `Tables` for what statistics make of them too, which takes longer.
    """
    try:
        return opened(path)
    except StoreError as error:
        raise InputError(str(error)) from None


def write_views(root: Location) -> None:
    """Make the run readable without raybench, from its first moment: ``views.sql``."""
    open_storage(root).replace("views.sql", views_sql().encode())


def write_derived(tables: Tables) -> None:
    """Keep the statistics' tables beside the raw samples too, listed by hash, and name them in ``views.sql``."""
    storage = open_storage(tables.root)
    files = []
    for name, table in tables.derived.items():
        path, data = f"tables/{name}.parquet", _parquet(table)
        storage.replace(path, data)
        files.append({"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})
    storage.replace("tables/manifest.json", (json.dumps({"files": files}, indent=1) + "\n").encode())
    views = [views_sql(), *map(shipped_sql, ("derived_files", *tables.derived, *LATER_VIEW_FILES))]
    storage.replace("views.sql", ("\n".join(views) + "\n").encode())


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())
