"""From a run's views to verdicts: overheads with intervals, significance, percentiles, cautions.

Rows in, rows out: the views are read through the one callable that `Verdicts` is given, and what comes back are
Arrow tables. The statistics themselves are in `stats`, `percentiles` and `diagnostics`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from raybench.analysis import diagnostics, percentiles, run_order, significance, stats
from raybench.analysis.loading import load_cautions
from raybench.analysis.ratios import CLOCKS, Ratios
from raybench.analysis.sequential import dependable_halfwidth
from raybench.analysis.stats import Estimate
from raybench.store import PlanOfRun

Rows = Callable[[str], list[dict[str, Any]]]
"""Runs a query and gives its rows."""

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
    ("more_rounds", pa.int64()),
]
SCHEMAS: Mapping[str, pa.Schema] = {
    "overhead": pa.schema([("configuration", pa.string()), ("deployment", pa.string()), *_RATIO_FIELDS]),
    "by_strategy": pa.schema(
        [
            ("deployment", pa.string()),
            ("strategy", pa.string()),
            ("configurations", pa.int32()),
            ("complete", pa.int32()),
            ("n", pa.int64()),
            ("mean_ms", pa.float64()),
            ("claim", pa.bool_()),
            *_RATIO_FIELDS,
        ]
    ),
    "significance": pa.schema(
        [
            ("deployment", pa.string()),
            ("reference_strategy", pa.string()),
            ("claim", pa.bool_()),
            ("visits", pa.int32()),
            ("t", pa.float64()),
            ("df", pa.float64()),
            ("p", pa.float64()),
            ("p_holm", pa.float64()),
            ("p_permutation", pa.float64()),
            ("study_pairs", pa.int32()),
            ("study_t", pa.float64()),
            ("study_p", pa.float64()),
        ]
    ),
    "percentiles": pa.schema(
        [
            ("configuration", pa.string()),
            ("percentile", pa.float64()),
            ("ms", pa.float64()),
            ("low_ms", pa.float64()),
            ("high_ms", pa.float64()),
            ("n", pa.int64()),
            ("visits", pa.int32()),
            ("refused", pa.string()),
        ]
    ),
    "diagnostics": pa.schema(
        [
            ("configuration", pa.string()),
            ("samples", pa.int64()),
            ("visits", pa.int32()),
            ("lag1", pa.float64()),
            ("effective_samples", pa.float64()),
            ("requests_share", pa.float64()),
            ("visits_share", pa.float64()),
            ("devices_share", pa.float64()),
            ("outliers", pa.int64()),
        ]
    ),
    "cautions": pa.schema(
        [("configuration", pa.string()), ("code", pa.string()), ("message", pa.string()), ("hint", pa.string())]
    ),
}
"""The tables that statistics make."""

Latencies = Mapping[str, Sequence[diagnostics.Visit]]
"""Each configuration's wall times in ms, by visit, in the order in which they were taken."""

_PERMUTATION_SEED = 0


class _Compared(NamedTuple):
    """A row of a table: what is compared, by which clock, whether it is a claim, and the estimate if there is one."""

    row: dict[str, Any]
    pair: frozenset[str]
    reference_strategy: str
    clock: str
    claim: bool
    estimate: Estimate | None


class Verdicts:
    """What the committed samples of one run say. ``plan`` is that of the run's description."""

    def __init__(self, rows: Rows, plan: PlanOfRun) -> None:
        self._rows = rows
        self._margin = plan.margin
        # In the independent design the two sides of a ratio may come from different GPUs: rounds are the unit then.
        self._independent = plan.design == "independent"
        self._references = list(plan.references)
        self._claims = {(c.strategy, c.reference) for c in plan.claims}
        self._visit_ratios = rows("FROM visit_ratios ORDER BY configuration, reference_strategy, round")
        self._chains = rows("FROM comparisons WHERE via IS NOT NULL ORDER BY configuration, reference")
        self._all = self._ratios_of(None)
        self._groups = rows("FROM deployments")
        self._labels = {group["role"]: group["deployment"] for group in self._groups}

    def tables(self) -> dict[str, pa.Table]:
        """Every table by its name, in the schema of `SCHEMAS`."""
        latencies = self._latencies()
        made = {
            "overhead": self._overhead(),
            "by_strategy": self._by_strategy(),
            "significance": self._significance(),
            "percentiles": _percentiles(latencies),
            "diagnostics": _diagnostics(latencies),
            "cautions": _cautions(latencies, self._rows("FROM load_notes")),
        }
        return {name: pa.Table.from_pylist(rows, SCHEMAS[name]) for name, rows in made.items()}

    def widest_claims(self) -> list[float]:
        """After each round, the widest half-width (0.01: 1 %) of the claims' 95 % intervals, by wall time."""
        rounds = 1 + max((row["round"] for row in self._visit_ratios), default=-1)
        found = []
        for end in range(1, rounds + 1):
            ratios = self._ratios_of(end)
            claimed = [
                ratios.estimate(group["names"], reference, "wall")
                for group in self._groups
                for reference in self._references
                if self._is_claim(group["role"], reference)
            ]
            found.append(max((dependable_halfwidth(e) for e in claimed if e is not None), default=math.inf))
        return found

    @property
    def devices(self) -> int:
        """Over how many devices the run's intervals are."""
        return 1 if self._independent else len({row["device"] for row in self._visit_ratios})

    def _ratios_of(self, rounds: int | None) -> Ratios:
        return Ratios(self._visit_ratios, self._chains, independent=self._independent, rounds=rounds)

    def _is_claim(self, role: str, reference: str) -> bool:
        return role != reference and (not self._claims or (role, reference) in self._claims)

    def _judged(self, rows: Sequence[_Compared]) -> list[dict[str, Any]]:
        """Complete the rows with interval, p and verdict."""
        found = []
        keys = _claims_of(rows)
        families = Counter(key[1:] for key in {key for key in keys if key is not None})
        for compared, key, p_holm in zip(rows, keys, _holm(rows), strict=True):
            estimate = compared.estimate
            row = {**compared.row, "reference_strategy": compared.reference_strategy, "clock": compared.clock}
            if estimate is not None:
                interval = estimate.interval()
                verdict = stats.verdict(estimate, margin=self._margin, adjusted_p=p_holm)
                claims = families[key[1:]] if key else 1
                row |= {
                    "visits": estimate.n,
                    "ratio": estimate.ratio,
                    "low": interval.low,
                    "high": interval.high,
                    "p": estimate.p_value(),
                    "p_holm": p_holm,
                    "p_equivalence": estimate.equivalence_p(self._margin),
                    "verdict": verdict,
                    "more_rounds": stats.rounds_to_settle(estimate, margin=self._margin, claims=claims)
                    if verdict == "inconclusive" and compared.clock == "wall"
                    else None,
                }
            found.append(row)
        return found

    def _overhead(self) -> list[dict[str, Any]]:
        deployment = {c["name"]: c["deployment"] for c in self._rows("FROM configurations ORDER BY position")}
        order = {name: i for i, name in enumerate(deployment)}
        references: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in self._rows("FROM comparisons"):
            # A chain has the same counterparts as the comparison that it goes by, and is another claim.
            by = "" if row["via"] is None else f"{row['reference_strategy']} by "
            references[row["configuration"], row["reference_strategy"]].append(by + row["reference"])
        clocks = list(CLOCKS.values())
        return self._judged(
            [
                _Compared(
                    {"configuration": name, "deployment": deployment[name]},
                    frozenset([name, *references[name, reference]]),
                    reference,
                    clock,
                    True,
                    self._all.estimate([name], reference, clock),
                )
                for name, reference, clock in sorted(
                    self._all.keys(), key=lambda key: (clocks.index(key[2]), key[1], order[key[0]])
                )
            ]
        )

    def _compared_groups(self, clocks: Iterable[str]) -> list[_Compared]:
        rows = []
        for clock in clocks:
            for group in self._groups:
                for reference in self._references:
                    estimate = self._all.estimate(group["names"], reference, clock)
                    claim = self._is_claim(group["role"], reference)
                    # By wall time a baseline stands in the table too, and so does a claim that could not be tested.
                    if estimate is None and not (clock == "wall" and (claim or group["role"] == reference)):
                        continue
                    row = {k: group[k] for k in ("deployment", "configurations", "complete", "n", "mean_ms")}
                    row |= {"strategy": group["role"], "claim": claim}
                    pair = frozenset([self._labels.get(reference, reference), group["deployment"]])
                    rows.append(_Compared(row, pair, reference, clock, claim, estimate))
        return rows

    def _by_strategy(self) -> list[dict[str, Any]]:
        return self._judged(self._compared_groups(CLOCKS.values()))

    def _significance(self) -> list[dict[str, Any]]:
        compared = self._compared_groups(["wall"])
        means = {r["configuration"]: r["mean_ms"] for r in self._rows("FROM by_configuration")}
        pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in self._rows("FROM comparisons WHERE via IS NULL ORDER BY reference"):
            pairs[row["configuration"], row["reference_strategy"]].append(row["reference"])
        names = {group["deployment"]: group["names"] for group in self._groups}
        found = []
        for item, p_holm in zip(compared, _holm(compared), strict=True):
            estimate, reference = item.estimate, item.reference_strategy
            if estimate is None:
                continue
            units = self._all.units(names[item.row["deployment"]], reference, "wall")
            se = estimate.standard_error
            row = {
                "deployment": item.row["deployment"],
                "reference_strategy": reference,
                "claim": item.claim,
                "visits": estimate.n,
                "t": estimate.log_ratio / se if se and math.isfinite(se) else None,
                "df": estimate.df,
                "p": estimate.p_value(),
                "p_holm": p_holm,
                "p_permutation": significance.permutation_p(units, _PERMUTATION_SEED) if units else None,
            }
            paired = [
                (means[name], float(np.mean([means[r] for r in pairs[name, reference]])))
                for name in names[item.row["deployment"]]
                if pairs.get((name, reference)) and all(means[r] is not None for r in pairs[name, reference])
            ]
            if len(paired) > 1:
                study = significance.study_paired_test([a for a, _ in paired], [b for _, b in paired])
                row |= {"study_pairs": len(paired), "study_t": study.t, "study_p": study.p}
            found.append(row)
        return found

    def _latencies(self) -> Latencies:
        """Each configuration's wall times in ms, by visit, in the order in which they were taken."""
        found: dict[str, dict[str, tuple[tuple[str, float], list[float]]]] = defaultdict(dict)
        for row in self._rows("FROM latencies"):
            key = (row["device"], row["started_at"].timestamp())
            found[row["configuration"]].setdefault(row["visit"], (key, []))[1].append(row["wall_ms"])
        return {
            name: [diagnostics.Visit(device, ms, visit, started) for visit, ((device, started), ms) in visits.items()]
            for name, visits in found.items()
        }


def _percentiles(latencies: Latencies) -> list[dict[str, Any]]:
    return [
        {
            "configuration": name,
            "percentile": one.percent,
            "ms": one.value,
            "low_ms": None if one.value is None else one.interval.low,
            "high_ms": None if one.value is None else one.interval.high,
            "n": one.samples,
            "visits": one.visits,
            "refused": one.refused,
        }
        for name, visits in latencies.items()
        for one in percentiles.over_devices([(visit.device, visit.latencies) for visit in visits])
    ]


def _diagnostics(latencies: Latencies) -> list[dict[str, Any]]:
    found = []
    for name, visits in latencies.items():
        seen = diagnostics.dependence([visit.latencies for visit in visits])
        if seen.samples < 2:
            continue
        shares = diagnostics.variance_shares(visits)
        found.append(
            {
                "configuration": name,
                "samples": seen.samples,
                "visits": len(visits),
                "lag1": seen.lag1,
                "effective_samples": seen.effective_samples,
                "requests_share": shares.requests,
                "visits_share": shares.visits,
                "devices_share": shares.devices,
                "outliers": diagnostics.outliers([visit.latencies for visit in visits]),
            }
        )
    return found


def _cautions(latencies: Latencies, notes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of the run as a whole first; they have no configuration."""
    of_run = run_order.diagnose_run(run_order.visit_levels(latencies.values()))
    found: list[tuple[str | None, diagnostics.Caution]] = [(None, caution) for caution in of_run]
    for name, visits in latencies.items():
        if sum(np.size(visit.latencies) for visit in visits) > 1:
            found += [(name, caution) for caution in diagnostics.diagnose(visits)]
    found += load_cautions(notes)
    return [
        {"configuration": name, "code": caution.code, "message": caution.message, "hint": caution.hint}
        for name, caution in found
    ]


_Claim = tuple[frozenset[str], str, bool]
"""What is compared, whichever way round, by which clock, and whether the plan claims it (else: one of the rest)."""


def _claims_of(rows: Sequence[_Compared]) -> list[_Claim | None]:
    """Each row's claim; None for a baseline, which claims nothing. A pair and its mirror are one."""
    claimed = {(row.pair, row.clock) for row in rows if row.claim}
    return [
        (row.pair, row.clock, (row.pair, row.clock) in claimed) if row.claim or row.estimate is not None else None
        for row in rows
    ]


def _holm(rows: Sequence[_Compared]) -> list[float]:
    """Holm's adjusted p, within each clock over the claims, and over the rest among themselves.

    A claim that could not be tested counts too: that one failed makes the others no surer.
    """
    families: dict[tuple[str, bool], dict[_Claim, float]] = defaultdict(dict)
    keys = _claims_of(rows)
    for key, row in zip(keys, rows, strict=True):
        if key is not None:
            p = math.nan if row.estimate is None else row.estimate.p_value()
            family = families[key[1:]]
            # Where the two sides are not the same visits (one has more configurations), the larger p counts.
            family[key] = p if key not in family or math.isnan(p) else max(p, family[key])
    adjusted = {
        key: p
        for family in families.values()
        for key, p in zip(family, significance.holm(list(family.values())), strict=True)
    }
    return [math.nan if key is None else adjusted[key] for key in keys]
