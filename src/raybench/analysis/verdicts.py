"""From a run's views to verdicts: overheads with intervals, significance, percentiles, cautions.

Arrow in, Arrow out: the views are read through the one callable that `Verdicts` is given. Samples stay arrays; what is
a row for each visit or configuration becomes a dict. `comparisons` says what is compared, `claims` judges it,
`conditions` looks at each one's latencies; the statistics themselves are in `stats`, `blocks`, `percentiles`,
`diagnostics` and `run_order`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import pyarrow as pa

from raybench.analysis.claims import judged
from raybench.analysis.comparisons import Comparisons
from raybench.analysis.conditions import caution_rows, diagnosis_rows, percentile_rows
from raybench.analysis.diagnostics import Caution, Diagnosis, diagnose
from raybench.analysis.goodput import goodput_rows, limits_of
from raybench.analysis.growth import growth_rows
from raybench.analysis.latencies import Latencies, Query, read_latencies
from raybench.analysis.machines import machine_cautions
from raybench.analysis.ratios import CLOCKS, MEASURES, WALL
from raybench.analysis.run_order import VisitMean, visit_levels
from raybench.analysis.schemas import SCHEMAS
from raybench.analysis.served import served_cautions
from raybench.analysis.study import significance_rows
from raybench.store import PlanOfRun

_THREADS: Final = 4
_Seen = tuple[str, dict[str, list[dict[str, Any]]], Diagnosis, list[VisitMean]]


class Verdicts:
    """What the committed samples of one run say. ``plan`` is that of the run's description."""

    def __init__(self, query: Query, plan: PlanOfRun) -> None:
        self._query = query
        self._plan, self._margin = plan, plan.margin
        self._comparisons = Comparisons(self._rows, plan)

    def tables(self) -> dict[str, pa.Table]:
        """Every table by its name, in the schema of `SCHEMAS`."""
        diagnoses: dict[str, Diagnosis] = {}
        percentiles: dict[str, list[dict[str, Any]]] = {measure: [] for measure in MEASURES}
        means: list[list[VisitMean]] = []
        samples = self._comparisons.samples
        seen = {one[0]: one for one in _looked_at(read_latencies(self._query, samples))}
        for name, rows, diagnosis, of_visits in (seen[name] for name in samples if name in seen):
            for measure, of_measure in rows.items():
                percentiles[measure] += of_measure
            diagnoses[name] = diagnosis
            means.append(of_visits)
        compared = self._rows("FROM comparisons ORDER BY reference")
        asked = self._rows("FROM raybench_load_visits") if self._plan.servers else []
        notes = self._rows("FROM load_notes")
        overhead = judged(self._comparisons.of_configurations(), self._margin)
        by_strategy = judged(self._comparisons.of_deployments(CLOCKS.values()), self._margin)
        made = {
            "overhead": overhead,
            "by_strategy": by_strategy,
            "significance": significance_rows(self._comparisons, compared),
            "percentiles": [row for measure in MEASURES for row in percentiles[measure]],
            "diagnostics": diagnosis_rows(diagnoses),
            "adapter_growth": list(growth_rows(self._rows("FROM raybench_resident_rounds ORDER BY position, round"))),
            "goodput": list(goodput_rows(asked, limits_of(self._plan))),
            "cautions": caution_rows(
                visit_levels(means),
                diagnoses,
                overhead,
                by_strategy,
                notes,
                self._rows("FROM distinct_requests"),
                self._of_servers(asked, notes) if self._plan.servers else None,
                machine_cautions(self._rows("FROM raybench_visit_conditions")),
            ),
        }
        return {name: pa.Table.from_pylist(rows, SCHEMAS[name]) for name, rows in made.items()}

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._query(sql).to_pylist()
        return found

    def _of_servers(self, asked: list[dict[str, Any]], notes: list[dict[str, Any]]) -> list[tuple[str | None, Caution]]:
        """The cautions of a run of servers. ``asked``: what these were, visit by visit."""
        kept = self._rows("SELECT environment FROM visits ORDER BY started_at, visit")
        return served_cautions(
            asked,
            self._rows("FROM raybench_other_prompts"),
            self._plan.servers,
            notes,
            [row["environment"] for row in kept],
        )

    def widest_claims(self) -> list[float]:
        """After each round, the widest half-width (0.01: 1 %) of the claims' 95 % intervals, by wall time."""
        return self._comparisons.widest_claims()

    @property
    def devices(self) -> int:
        """Over how many devices the run's intervals are."""
        return self._comparisons.devices


def _looked_at(latencies: Iterable[Latencies]) -> Iterator[_Seen]:
    """What `_look` finds of each; some at a time, by threads, which NumPy lets run side by side."""
    with ThreadPoolExecutor(_THREADS) as threads:
        looking: deque[Future[_Seen]] = deque()
        for one in latencies:
            looking.append(threads.submit(_look, one))
            if len(looking) > _THREADS:
                yield looking.popleft().result()
        while looking:
            yield looking.popleft().result()


def _look(latencies: Latencies) -> _Seen:
    """A configuration's name, its rows of percentiles by measure, its diagnosis, and the means of its visits."""
    name, by_measure = latencies
    rows = {measure: percentile_rows(name, measure, visits) for measure, visits in by_measure.items()}
    visits = by_measure[WALL.measure]
    return name, rows, diagnose(visits), [VisitMean.of(visit) for visit in visits]
