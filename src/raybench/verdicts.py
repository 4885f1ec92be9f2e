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

from raybench import diagnostics, percentiles, stats
from raybench.stats import Estimate

Rows = Callable[[str], list[dict[str, Any]]]
"""Runs a query and gives its rows."""

Key = tuple[str, str, str]
"""Configuration, the strategy or role it is compared with, clock."""

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
    "cautions": pa.schema(
        [("configuration", pa.string()), ("code", pa.string()), ("message", pa.string()), ("hint", pa.string())]
    ),
}
"""The tables that statistics make."""

CLOCKS: Mapping[str, str] = {
    "wall": "wall",
    "host": "host",
    "device_time": "device",
    "wall_median": "wall median",
    "host_median": "host median",
    "device_median": "device median",
}
"""Columns of ``visit_ratios`` and what they are called in tables."""

Latencies = Mapping[str, Sequence[diagnostics.Visit]]
"""Each configuration's wall times in ms, by visit, in the order in which they were taken."""

_PERMUTATION_SEED = 0
_CAUTION_LEVEL = 0.05


class _Compared(NamedTuple):
    """A row of a table: what is compared, by which clock, whether it is a claim, and the estimate if there is one."""

    row: dict[str, Any]
    pair: frozenset[str]
    reference_strategy: str
    clock: str
    claim: bool
    estimate: Estimate | None


class Estimates(NamedTuple):
    """Each comparison's log ratio, and the visits' log ratios by device that it was made from (none for a chain)."""

    by_key: Mapping[Key, Estimate]
    visits: Mapping[Key, Mapping[str, Sequence[float]]]


class Verdicts:
    """What the committed samples of one run say. ``plan`` is that of the run's description."""

    def __init__(self, rows: Rows, plan: Mapping[str, Any]) -> None:
        self._rows = rows
        self._margin = float(plan["margin"])
        # In the independent design the two sides of a ratio may come from different GPUs: rounds are the unit then.
        self._independent = plan["design"] == "independent"
        self._references = [str(r) for r in plan["references"]]
        self._claims = {(c["strategy"], c["reference"]) for c in plan.get("claims") or []}
        self._ratios = rows("FROM visit_ratios ORDER BY configuration, reference_strategy, round")
        self._chains = rows("FROM comparisons WHERE via IS NOT NULL ORDER BY configuration, reference")
        self._groups = rows("FROM deployments")
        self._labels = {group["role"]: group["deployment"] for group in self._groups}
        self._estimates = self.estimates()

    def tables(self) -> dict[str, pa.Table]:
        """Every table by its name, in the schema of `SCHEMAS`."""
        latencies = self._latencies()
        made = {
            "overhead": self._overhead(),
            "by_strategy": self._by_strategy(),
            "significance": self._significance(),
            "percentiles": _percentiles(latencies),
            "cautions": _cautions(latencies),
        }
        return {name: pa.Table.from_pylist(rows, SCHEMAS[name]) for name, rows in made.items()}

    def estimates(self, rounds: int | None = None) -> Estimates:
        """The log ratio of each comparison, from the visits of the first ``rounds`` rounds (default: of all)."""
        by_device: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in self._ratios:
            if rounds is None or row["round"] < rounds:
                for column, clock in CLOCKS.items():
                    if row[column] is not None:
                        key = (row["configuration"], row["reference_strategy"], clock)
                        by_device[key]["any" if self._independent else row["device"]].append(row[column])
        found = {key: stats.from_devices(devices) for key, devices in by_device.items()}
        chains: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for row in self._chains:
            chains[row["configuration"], row["reference_strategy"], row["via"]].append(row["reference"])
        for (configuration, reference, via), links in chains.items():
            for clock in CLOCKS.values():
                parts = [found.get((configuration, via, clock))]
                parts += [found.get((link, reference, clock)) for link in links]
                known = [part for part in parts if part is not None]
                if len(known) == len(parts):
                    weights = [1.0, *[1.0 / len(links)] * len(links)]
                    found[configuration, reference, clock] = stats.combine(known, weights)
        return Estimates(found, by_device)

    def widest_claims(self) -> list[float]:
        """After each round, the widest half-width (0.01: 1 %) of the claims' 95 % intervals, by wall time."""
        rounds = 1 + max((row["round"] for row in self._ratios), default=-1)
        found = []
        for end in range(1, rounds + 1):
            estimates = self.estimates(end)
            grouped = [
                self._grouped(estimates, group, reference, "wall")
                for group in self._groups
                for reference in self._references
                if self._is_claim(group["role"], reference)
            ]
            found.append(max((e.halfwidth() for e in grouped if e is not None), default=math.inf))
        return found

    def _is_claim(self, role: str, reference: str) -> bool:
        return role != reference and (not self._claims or (role, reference) in self._claims)

    def _grouped(self, estimates: Estimates, group: Mapping[str, Any], reference: str, clock: str) -> Estimate | None:
        """A deployment's average log ratio over its complete configurations, each a stratum of its own."""
        names = [name for name in group["names"] if (name, reference, clock) in estimates.by_key]
        if not names:
            return None
        if all((name, reference, clock) in estimates.visits for name in names):
            return stats.from_blocks({name: estimates.visits[name, reference, clock] for name in names})
        parts = [estimates.by_key[name, reference, clock] for name in names]
        return stats.combine(parts, [1.0 / len(parts)] * len(parts))

    def _judged(self, rows: Sequence[_Compared]) -> list[dict[str, Any]]:
        """Complete the rows with interval, p and verdict."""
        found = []
        families = Counter((clock, claim) for _, clock, claim in {(r.pair, r.clock, r.claim) for r in rows})
        for compared, p_holm in zip(rows, _holm(rows), strict=True):
            estimate = compared.estimate
            row = {**compared.row, "reference_strategy": compared.reference_strategy, "clock": compared.clock}
            if estimate is not None:
                interval = estimate.interval()
                verdict = stats.verdict(estimate, margin=self._margin, adjusted_p=p_holm)
                claims = families[compared.clock, compared.claim]
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
                    estimate,
                )
                for (name, reference, clock), estimate in sorted(
                    self._estimates.by_key.items(),
                    key=lambda item: (clocks.index(item[0][2]), item[0][1], order[item[0][0]]),
                )
            ]
        )

    def _compared_groups(self, clocks: Iterable[str]) -> list[_Compared]:
        rows = []
        for clock in clocks:
            for group in self._groups:
                for reference in self._references:
                    estimate = self._grouped(self._estimates, group, reference, clock)
                    if estimate is None and not (clock == "wall" and group["role"] == reference):
                        continue
                    row = {k: group[k] for k in ("deployment", "configurations", "complete", "n", "mean_ms")}
                    claim = self._is_claim(group["role"], reference)
                    row |= {"strategy": group["role"], "claim": claim}
                    pair = frozenset([self._labels.get(reference, reference), group["deployment"]])
                    rows.append(_Compared(row, pair, reference, clock, claim, estimate))
        return rows

    def _by_strategy(self) -> list[dict[str, Any]]:
        return self._judged(self._compared_groups(CLOCKS.values()))

    def _significance(self) -> list[dict[str, Any]]:
        compared = [row for row in self._compared_groups(["wall"]) if row.estimate is not None]
        means = {r["configuration"]: r["mean_ms"] for r in self._rows("FROM by_configuration")}
        pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in self._rows("FROM comparisons WHERE via IS NULL ORDER BY reference"):
            pairs[row["configuration"], row["reference_strategy"]].append(row["reference"])
        names = {group["deployment"]: group["names"] for group in self._groups}
        found = []
        for item, p_holm in zip(compared, _holm(compared), strict=True):
            estimate, reference = item.estimate, item.reference_strategy
            assert estimate is not None
            visits = [
                r["wall"]
                for r in self._ratios
                if r["configuration"] in names[item.row["deployment"]] and r["reference_strategy"] == reference
            ]
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
                "p_permutation": stats.permutation_p(visits, _PERMUTATION_SEED) if visits else None,
            }
            paired = [
                (means[name], float(np.mean([means[r] for r in pairs[name, reference]])))
                for name in names[item.row["deployment"]]
                if pairs.get((name, reference)) and all(means[r] is not None for r in pairs[name, reference])
            ]
            if len(paired) > 1:
                study = stats.study_paired_test([a for a, _ in paired], [b for _, b in paired])
                row |= {"study_pairs": len(paired), "study_t": study.t, "study_p": study.p}
            found.append(row)
        return found

    def _latencies(self) -> Latencies:
        """Each configuration's wall times in ms, by visit, in the order in which they were taken."""
        found: dict[str, dict[str, tuple[str, list[float]]]] = defaultdict(dict)
        for row in self._rows("FROM latencies"):
            visit = found[row["configuration"]].setdefault(row["visit"], (row["device"], []))
            visit[1].append(row["wall_ms"])
        return {name: [diagnostics.Visit(d, values) for d, values in v.values()] for name, v in found.items()}


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
        for one in percentiles.percentiles([visit.latencies for visit in visits])
    ]


def _cautions(latencies: Latencies) -> list[dict[str, Any]]:
    level = _CAUTION_LEVEL / max(1, len(latencies))  # a run of many configurations cries wolf no more than one
    return [
        {"configuration": name, "code": caution.code, "message": caution.message, "hint": caution.hint}
        for name, visits in latencies.items()
        if sum(len(np.asarray(visit.latencies)) for visit in visits) > 1
        for caution in diagnostics.diagnose(visits, level=level)
    ]


def _holm(rows: Sequence[_Compared]) -> list[float]:
    """Holm's adjusted p, within each clock over the claims, and over the rest among themselves.

    The same pair the other way round is the same claim.
    """
    adjusted: dict[tuple[frozenset[str], str, bool], float] = {}
    claimed = {(row.pair, row.clock) for row in rows if row.claim}
    keys = [(row.pair, row.clock, (row.pair, row.clock) in claimed) for row in rows]
    for clock, claim in {(clock, claim) for _, clock, claim in keys}:
        family: dict[tuple[frozenset[str], str, bool], float] = {}
        for key, row in zip(keys, rows, strict=True):
            if key[1:] == (clock, claim) and row.estimate is not None:
                # Where the two sides are not the same visits (one has more configurations), the larger p counts.
                p = row.estimate.p_value()
                family[key] = p if key not in family or math.isnan(p) else max(p, family[key])
        adjusted.update(zip(family, stats.holm(list(family.values())), strict=True))
    return [adjusted.get(key, math.nan) for key in keys]
