"""What each configuration's latencies say of themselves: the tables percentiles, diagnostics and cautions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from raybench.analysis.diagnostics import Caution, Diagnosis, Visit, no_spread
from raybench.analysis.disputes import disputes
from raybench.analysis.loading import load_cautions
from raybench.analysis.percentiles import over_devices
from raybench.analysis.ratios import WALL
from raybench.analysis.repeats import repeat_cautions
from raybench.analysis.run_order import Level, diagnose_run
from raybench.records import count


def percentile_rows(configuration: str, measure: str, visits: Sequence[Visit]) -> list[dict[str, Any]]:
    """A row for each percentile of ``measure``, milliseconds."""
    return [
        {
            "configuration": configuration,
            "measure": measure,
            "percentile": one.percent,
            "ms": one.value,
            "low_ms": None if one.value is None else one.interval.low,
            "high_ms": None if one.value is None else one.interval.high,
            "n": one.samples,
            "visits": one.visits,
            "refused": one.refused,
        }
        for one in over_devices([(visit.device, visit.latencies) for visit in visits])
    ]


def diagnosis_rows(diagnoses: Mapping[str, Diagnosis]) -> list[dict[str, Any]]:
    """A row for each configuration that has two samples."""
    return [
        {
            "configuration": name,
            "samples": one.dependence.samples,
            "visits": one.visits,
            "lag1": None if math.isnan(one.dependence.lag1) else one.dependence.lag1,
            "effective_samples": one.dependence.effective_samples,
            "requests_share": one.shares.requests,
            "visits_share": one.shares.visits,
            "devices_share": one.shares.devices,
            "outliers": one.outliers,
        }
        for name, one in diagnoses.items()
        if one.dependence.samples > 1
    ]


def caution_rows(
    levels: Sequence[Level],
    diagnoses: Mapping[str, Diagnosis],
    overhead: Sequence[Mapping[str, Any]],
    by_strategy: Sequence[Mapping[str, Any]],
    notes: Sequence[Mapping[str, Any]],
    requests: Sequence[Mapping[str, Any]],
    served: Sequence[tuple[str | None, Caution]] | None = None,
    machines: Sequence[tuple[None, Caution]] = (),
) -> list[dict[str, Any]]:
    """Those of the run as a whole first; they have no configuration.

    ``levels``: of the run's visits (`visit_levels`). ``overhead``, ``by_strategy``: the rows of those tables.
    ``notes``: of the view ``load_notes``. ``requests``: of ``distinct_requests``.
    ``served``: cautions of a run of servers; None: it is none.
    ``machines``: of what befell the machines.
    """
    of_servers = served or ()
    found: list[tuple[str | None, Caution]] = [(None, one) for one in diagnose_run(levels)]
    found += machines
    found += [one for one in of_servers if one[0] is None]
    found += disputes(by_strategy)
    equal: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in overhead:
        if row.get("unknown") == "equal visits" and row["via"] is None:
            equal[row["configuration"]].append(row)
    for name, one in diagnoses.items():
        found += [(name, caution) for caution in one.cautions()]
        if equal[name] and not one.all_equal:
            found.append((name, _equal_visits(equal[name])))
    found += disputes(overhead)
    found += load_cautions(notes, served is not None)
    found += repeat_cautions(requests)
    found += [one for one in of_servers if one[0] is not None]
    return [
        {"configuration": name, "code": caution.code, "message": caution.message, "hint": caution.hint}
        for name, caution in found
    ]


def _equal_visits(rows: Sequence[Mapping[str, Any]]) -> Caution:
    references = ", ".join(dict.fromkeys(row["reference_strategy"] for row in rows))
    clocks = ", ".join(
        dict.fromkeys(
            row["clock"] if row["measure"] == WALL.measure else f"{row['measure']} {row['clock']}" for row in rows
        )
    )
    visits = count(rows[0]["visits"], "visit")
    return no_spread(f"the ratio to {references} is the same to the last digit in all of {visits}, by {clocks}")
