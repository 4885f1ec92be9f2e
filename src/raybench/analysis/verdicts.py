"""From a run's views to verdicts: overheads with intervals, significance, percentiles, cautions.

Rows in, rows out: the views are read through the one callable that `Verdicts` is given, and what comes back are
Arrow tables. `comparisons` says what is compared, `claims` judges it, `conditions` looks at each one's latencies; the
statistics themselves are in `stats`, `blocks`, `percentiles`, `diagnostics` and `run_order`.
"""

from __future__ import annotations

import pyarrow as pa

from raybench.analysis.claims import judged
from raybench.analysis.comparisons import Comparisons, Rows
from raybench.analysis.conditions import caution_rows, diagnosis_rows, latencies_of, percentile_rows
from raybench.analysis.diagnostics import diagnose
from raybench.analysis.ratios import CLOCKS, MEASURES
from raybench.analysis.schemas import SCHEMAS
from raybench.analysis.study import significance_rows
from raybench.store import PlanOfRun


class Verdicts:
    """What the committed samples of one run say. ``plan`` is that of the run's description."""

    def __init__(self, rows: Rows, plan: PlanOfRun) -> None:
        self._rows = rows
        self._margin = plan.margin
        self._comparisons = Comparisons(rows, plan)

    def tables(self) -> dict[str, pa.Table]:
        """Every table by its name, in the schema of `SCHEMAS`."""
        times = self._rows("FROM latencies")
        latencies = latencies_of(times)
        diagnoses = {name: diagnose(visits) for name, visits in latencies.items()}
        compared = self._rows("FROM comparisons ORDER BY reference")
        overhead = judged(self._comparisons.of_configurations(), self._margin)
        made = {
            "overhead": overhead,
            "by_strategy": judged(self._comparisons.of_deployments(CLOCKS.values()), self._margin),
            "significance": significance_rows(self._comparisons, compared),
            "percentiles": percentile_rows(latencies, "end_to_end")
            + [
                row
                for measure in MEASURES[1:]
                for row in percentile_rows(latencies_of(times, f"{measure}_ms"), measure)
            ],
            "diagnostics": diagnosis_rows(diagnoses),
            "cautions": caution_rows(
                latencies,
                diagnoses,
                overhead,
                self._rows("FROM load_notes"),
                self._rows("FROM distinct_requests"),
            ),
        }
        return {name: pa.Table.from_pylist(rows, SCHEMAS[name]) for name, rows in made.items()}

    def widest_claims(self) -> list[float]:
        """After each round, the widest half-width (0.01: 1 %) of the claims' 95 % intervals, by wall time."""
        return self._comparisons.widest_claims()

    @property
    def devices(self) -> int:
        """Over how many devices the run's intervals are."""
        return self._comparisons.devices
