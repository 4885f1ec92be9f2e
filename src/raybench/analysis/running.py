"""A run while it goes on: of each visit that is over its ratios, by the views and statistics of the tables.

What is found is provisional: nothing is adjusted for being looked at, and no verdict is drawn. A visit's samples are
asked once, by themselves; what is kept of them are its ratios.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa

from raybench.analysis.ratios import WALL, Ratios
from raybench.analysis.shipped import shipped_sql
from raybench.analysis.stats import Estimate
from raybench.analysis.tables import Views, open_duckdb
from raybench.records import RaybenchError
from raybench.schemas import SCHEMAS
from raybench.store import PlanOfRun

_VIEWS: Final = ("raw", "measures", "visit_ratios", "watched_ratios")
_COLUMNS: Final = [
    *("visit", "block", "configuration", "round", "task", "request", "phase"),
    *("host_ns", "wall_ns", "device_ns", "batch"),
]
"""Of the samples: a language model's steps are long, and have no part in it."""


class RunningRow(NamedTuple):
    """A row of the study's table so far: what it is compared as, its timed samples, its ratios of wall time."""

    deployment: str
    role: str
    n: int
    against: Mapping[str, Estimate]


class RunningRatios:
    """What the visits of a run say so far. ``document``: of ``run.json``; ``plan``: that of the run's description.

    Of the independent design there are no ratios: the two sides of one are of different visits.
    """

    def __init__(self, document: Mapping[str, Any], plan: PlanOfRun) -> None:
        self._connection = open_duckdb(threads=1)
        self._connection.execute("SET VARIABLE raybench_description = ?", [json.dumps(document)])
        for table in SCHEMAS:
            self._connection.execute(f"SET VARIABLE raybench_{table} = ?", [list[str]()])
        for name in _VIEWS:
            self._connection.execute(shipped_sql(name))
        self.references = list(plan.references) if plan.design == "paired" else []
        chains = _rows(self._connection, "FROM comparisons WHERE via IS NOT NULL ORDER BY configuration, reference")
        self._ratios = Ratios([], chains)
        self._samples: Counter[str] = Counter()
        self._waiting: list[pa.Table] = []
        self._names: dict[tuple[str, str], list[str]] = {}
        for row in _rows(self._connection, "SELECT name, deployment, role FROM configurations ORDER BY position"):
            self._names.setdefault((row["deployment"], row["role"]), []).append(row["name"])

    def take(self, samples: pa.Table, device: str) -> None:
        """The samples (schema `schemas.SAMPLES`) of a visit that is over, on ``device``."""
        devices = pa.array([device] * samples.num_rows, pa.string())
        # Copied, as by the recorder: what waits to be looked at would else stay in the object store of Ray.
        self._waiting.append(samples.select(_COLUMNS).combine_chunks().append_column("device", devices))

    def take_up(self, views: Views) -> None:
        """What a run has that is gone on with."""
        views.connection.execute(shipped_sql("watched_ratios"))
        self._ask(views.connection)

    def rows(self) -> list[RunningRow]:
        """The rows of the study's table, in its order, with all that was taken. Raises RaybenchError."""
        if self._waiting:
            taken, self._waiting = pa.concat_tables(self._waiting), []
            self._connection.register("raybench_read", taken)
            self._connection.execute("CREATE OR REPLACE TABLE raybench_watched AS FROM raybench_read")
            self._connection.unregister("raybench_read")
            self._connection.execute(shipped_sql("watched"))
            self._ask(self._connection)
        return [self._row(deployment, role, names) for (deployment, role), names in self._names.items()]

    def _ask(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self.references:
            self._ratios.add(_rows(connection, "FROM raybench_watched_ratios"))
        counted = _rows(connection, "FROM raybench_watched_samples")
        self._samples.update({row["configuration"]: row["n"] for row in counted})

    def _row(self, deployment: str, role: str, names: Sequence[str]) -> RunningRow:
        found = {reference: self._ratios.estimate(names, reference, WALL) for reference in self.references}
        known = {reference: estimate for reference, estimate in found.items() if estimate is not None}
        return RunningRow(deployment, role, sum(self._samples[name] for name in names), known)


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
    except duckdb.Error as error:
        raise RaybenchError(f"SQL: {error}") from None
    return found
