"""The tables of a run: DuckDB views over its raw samples, and the statistics that need more than SQL."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raybench import stats
from raybench.records import SCHEMAS, RaybenchError
from raybench.stats import Estimate
from raybench.store import RunStore

VIEW_FILES = (
    "raw",
    "completeness",
    "by_configuration",
    "visit_ratios",
    "adapter_switch",
    "memory_and_load",
)
"""The SQL files, in the order in which their views build on each other."""

_RATIO_FIELDS = [
    ("reference_strategy", pa.string()),
    ("clock", pa.string()),
    ("visits", pa.int32()),
    ("ratio", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("p", pa.float64()),
    ("p_holm", pa.float64()),
    ("p_equivalence", pa.float64()),
    ("verdict", pa.string()),
]
OVERHEAD = pa.schema([("configuration", pa.string()), ("deployment", pa.string()), *_RATIO_FIELDS])
BY_STRATEGY = pa.schema(
    [
        ("deployment", pa.string()),
        ("strategy", pa.string()),
        ("configurations", pa.int32()),
        ("complete", pa.int32()),
        ("n", pa.int64()),
        ("mean_ms", pa.float64()),
        *_RATIO_FIELDS,
    ]
)
SIGNIFICANCE = pa.schema(
    [
        ("deployment", pa.string()),
        ("reference_strategy", pa.string()),
        ("visits", pa.int32()),
        ("t", pa.float64()),
        ("df", pa.float64()),
        ("p", pa.float64()),
        ("p_holm", pa.float64()),
        ("study_pairs", pa.int32()),
        ("study_t", pa.float64()),
        ("study_p", pa.float64()),
    ]
)
CLOCKS: Mapping[str, str] = {"wall": "wall", "host": "host", "device_time": "device", "wall_median": "wall median"}
"""Columns of ``visit_ratios`` and what they are called in tables."""


class _Compared(NamedTuple):
    """A row of a table: what is compared, by which clock, and the estimate if there is one."""

    row: dict[str, Any]
    pair: frozenset[str]
    reference_strategy: str
    clock: str
    estimate: Estimate | None


def _holm(families: Sequence[tuple[frozenset[str], str]], estimates: Sequence[Estimate | None]) -> list[float]:
    """Holm's adjusted p for each estimate, within each clock; the same pair the other way round is the same claim."""
    adjusted: dict[tuple[frozenset[str], str], float] = {}
    for clock in {clock for _, clock in families}:
        claims = {
            family: estimate.p_value()
            for family, estimate in zip(families, estimates, strict=True)
            if family[1] == clock and estimate is not None
        }
        adjusted.update(zip(claims, stats.holm(list(claims.values())), strict=True))
    return [adjusted.get(family, math.nan) for family in families]


class Tables:
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
        self._register()

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

    def _register(self) -> None:
        """Add the tables that statistics make: overhead, by_strategy, significance."""
        ratios = self._ratios()
        estimates = self._estimates(ratios)
        derived = {
            "overhead": pa.Table.from_pylist(self._overhead(estimates), OVERHEAD),
            "by_strategy": pa.Table.from_pylist(self._by_strategy(estimates), BY_STRATEGY),
            "significance": pa.Table.from_pylist(self._significance(estimates), SIGNIFICANCE),
        }
        for name, table in derived.items():
            self.connection.register(f"_{name}", table)
            self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM _{name}")  # noqa: S608  fixed names
        self.derived = derived

    def _ratios(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM visit_ratios ORDER BY configuration, reference_strategy, round")

    def _estimates(self, ratios: Iterable[dict[str, Any]]) -> dict[tuple[str, str, str], Estimate]:
        """(configuration, reference strategy, clock) -> its log ratio, from visits; chains from their links."""
        by_device: dict[tuple[str, str, str], dict[str, list[float]]] = {}
        for row in ratios:
            for column, clock in CLOCKS.items():
                if row[column] is not None:
                    key = (row["configuration"], row["reference_strategy"], clock)
                    by_device.setdefault(key, {}).setdefault(row["device"], []).append(row[column])
        found = {key: stats.from_devices(devices) for key, devices in by_device.items()}
        chains: dict[tuple[str, str, str], list[str]] = {}
        for row in self.rows("SELECT * FROM comparisons WHERE via IS NOT NULL ORDER BY reference"):
            chains.setdefault((row["configuration"], row["reference_strategy"], row["via"]), []).append(
                row["reference"]
            )
        for (configuration, reference, via), links in chains.items():
            for clock in CLOCKS.values():
                first = found.get((configuration, via, clock))
                rest = [found.get((link, reference, clock)) for link in links]
                known = [e for e in rest if e is not None]
                if first is not None and len(known) == len(links):
                    weights = [1.0, *[1.0 / len(links)] * len(links)]
                    found[configuration, reference, clock] = stats.combine([first, *known], weights)
        return found

    def _judged(self, rows: Sequence[_Compared]) -> list[dict[str, Any]]:
        """Complete the rows with interval, p and verdict; Holm within each clock, a pair and its mirror as one."""
        found = []
        adjusted = _holm([(row.pair, row.clock) for row in rows], [row.estimate for row in rows])
        for compared, p_holm in zip(rows, adjusted, strict=True):
            estimate = compared.estimate
            row = {**compared.row, "reference_strategy": compared.reference_strategy, "clock": compared.clock}
            if estimate is not None:
                interval = estimate.interval()
                row |= {
                    "visits": estimate.n,
                    "ratio": estimate.ratio,
                    "low": interval.low,
                    "high": interval.high,
                    "p": estimate.p_value(),
                    "p_holm": p_holm,
                    "p_equivalence": estimate.equivalence_p(self.margin),
                    "verdict": stats.verdict(estimate, margin=self.margin, adjusted_p=p_holm),
                }
            found.append(row)
        return found

    def _overhead(self, estimates: Mapping[tuple[str, str, str], Estimate]) -> list[dict[str, Any]]:
        deployment = {c["name"]: c["deployment"] for c in self.rows("SELECT * FROM configurations ORDER BY position")}
        order = {name: i for i, name in enumerate(deployment)}
        reference_names: dict[tuple[str, str], list[str]] = {}
        for row in self.rows("SELECT configuration, reference_strategy, reference, via FROM comparisons"):
            if row["via"] is not None:  # the same counterparts as in the comparison that it goes by, another claim
                row["reference"] = f"{row['reference_strategy']} by {row['reference']}"
            reference_names.setdefault((row["configuration"], row["reference_strategy"]), []).append(row["reference"])
        clocks = list(CLOCKS.values())
        rows = [
            _Compared(
                {"configuration": name, "deployment": deployment[name]},
                frozenset([name, *reference_names[name, reference]]),
                reference,
                clock,
                estimates[name, reference, clock],
            )
            for name, reference, clock in sorted(estimates, key=lambda k: (clocks.index(k[2]), k[1], order[k[0]]))
        ]
        return self._judged(rows)

    def _groups(self) -> list[dict[str, Any]]:
        """The rows of the study's table: a deployment, its complete configurations, and their mean."""
        return self.rows(
            """
            SELECT c.deployment, any_value(c.strategy) AS strategy, count(*) AS configurations,
                count(*) FILTER (k.complete) AS complete,
                list(c.name ORDER BY c.position) FILTER (k.complete) AS names,
                coalesce(sum(b.n) FILTER (k.complete), 0) AS n, avg(b.mean_ms) FILTER (k.complete) AS mean_ms
            FROM configurations AS c
            JOIN completeness AS k ON k.configuration = c.name
            JOIN by_configuration AS b ON b.configuration = c.name
            GROUP BY c.deployment
            ORDER BY min(c.position)
            """
        )

    def _references(self) -> list[str]:
        return [str(r) for r in self.description["plan"]["references"]]

    def _grouped(
        self, estimates: Mapping[tuple[str, str, str], Estimate], group: dict[str, Any], reference: str, clock: str
    ) -> Estimate | None:
        """A deployment's average log ratio over its complete configurations, each a stratum of its own."""
        parts = [estimates.get((name, reference, clock)) for name in group["names"] or []]
        known = [part for part in parts if part is not None]
        return stats.combine(known, [1.0 / len(known)] * len(known)) if known else None

    def _by_strategy(self, estimates: Mapping[tuple[str, str, str], Estimate]) -> list[dict[str, Any]]:
        groups = self._groups()
        labels = {group["strategy"]: group["deployment"] for group in groups}
        rows = []
        for clock in CLOCKS.values():
            for group in groups:
                for reference in self._references():
                    estimate = self._grouped(estimates, group, reference, clock)
                    row = {
                        k: group[k] for k in ("deployment", "strategy", "configurations", "complete", "n", "mean_ms")
                    }
                    if estimate is not None or (clock == "wall" and group["strategy"] == reference):
                        pair = frozenset([labels.get(reference, reference), group["deployment"]])
                        rows.append(_Compared(row, pair, reference, clock, estimate))
        return self._judged(rows)

    def _significance(self, estimates: Mapping[tuple[str, str, str], Estimate]) -> list[dict[str, Any]]:
        means = {
            r["configuration"]: r["mean_ms"] for r in self.rows("SELECT configuration, mean_ms FROM by_configuration")
        }
        pairs: dict[tuple[str, str], list[str]] = {}
        for row in self.rows("SELECT configuration, reference_strategy, reference FROM comparisons WHERE via IS NULL"):
            pairs.setdefault((row["configuration"], row["reference_strategy"]), []).append(row["reference"])
        found = []
        families, all_estimates = [], []
        groups = self._groups()
        labels = {group["strategy"]: group["deployment"] for group in groups}
        for group in groups:
            for reference in self._references():
                estimate = self._grouped(estimates, group, reference, "wall")
                if estimate is None:
                    continue
                families.append((frozenset([labels.get(reference, reference), group["deployment"]]), "wall"))
                all_estimates.append(estimate)
                se = estimate.standard_error
                row = {
                    "deployment": group["deployment"],
                    "reference_strategy": reference,
                    "visits": estimate.n,
                    "t": estimate.log_ratio / se if se else None,
                    "df": estimate.df,
                    "p": estimate.p_value(),
                }
                paired = [
                    (means[name], np.mean([means[r] for r in pairs[name, reference]]))
                    for name in group["names"]
                    if (name, reference) in pairs and all(means[r] is not None for r in pairs[name, reference])
                ]
                if len(paired) > 1:
                    study = stats.study_paired_test(*map(list, zip(*paired, strict=True)))
                    row |= {"study_pairs": len(paired), "study_t": study.t, "study_p": study.p}
                found.append(row)
        for row, p in zip(found, _holm(families, all_estimates), strict=True):
            row["p_holm"] = p
        return found


def connect(root: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB with the views of the run at ``root``, in memory."""
    connection = duckdb.connect()
    connection.execute("SET VARIABLE raybench_run = ?", [str(root)])
    connection.execute(views_sql())
    return connection


def views_sql() -> str:
    """Every view's SQL, as the package ships it: the same text that a run's ``views.sql`` holds."""
    folder = resources.files("raybench").joinpath("sql")
    return "\n".join(folder.joinpath(f"{name}.sql").read_text("utf-8") for name in VIEW_FILES)


def write_views(root: Path) -> None:
    """Make the run readable without raybench, from its first moment: ``views.sql``, and empty files to begin with."""
    schema = root / "schema"
    schema.mkdir(exist_ok=True)
    for name, table_schema in SCHEMAS.items():
        pq.write_table(table_schema.empty_table(), schema / f"{name}.parquet")
    _replace(schema / "manifest.json", '{"files": []}\n')
    _replace(root / "views.sql", views_sql())


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
    _replace(tables.root / "views.sql", "\n".join(views) + "\n")


def _replace(path: Path, text: str) -> None:
    """These files can be made again from the samples, so the newest wins."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).chmod(0o644)
    Path(name).replace(path)
