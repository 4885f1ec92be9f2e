"""What a run compares: each configuration and each row of the study's table with each reference, estimated."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from raybench.analysis.claims import Compared
from raybench.analysis.ratios import MEASURES, WALL, Ratios, Timing
from raybench.analysis.sequential import dependable_halfwidth
from raybench.store import PlanOfRun

Rows = Callable[[str], list[dict[str, Any]]]
"""Runs a query over a run's views and gives its rows."""


class Comparisons:
    """The comparisons of one run. ``plan`` is that of the run's description.

    ``names``: of each row of the study's table its complete configurations. ``ratios``: over all rounds.
    ``mean_ms``: of each configuration and measure, over all timed samples. ``measures``: those that the run has.
    """

    def __init__(self, rows: Rows, plan: PlanOfRun) -> None:
        # In the independent design the two sides of a ratio may come from different GPUs: rounds are the unit then.
        self._independent = plan.design == "independent"
        self._references = list(plan.references)
        self._claims = {(c.strategy, c.reference) for c in plan.claims}
        self._visit_ratios = rows("FROM visit_ratios ORDER BY configuration, reference_strategy, round")
        self._chains = rows("FROM comparisons WHERE via IS NOT NULL ORDER BY configuration, reference")
        self._groups = rows("FROM deployments")
        configurations = rows("FROM configurations ORDER BY position")
        self._deployment = {c["name"]: c["deployment"] for c in configurations}
        self._compared_with: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in rows("FROM comparisons"):
            self._compared_with[row["configuration"], row["reference_strategy"]].append(row)
        served = rows("SELECT configuration, measure, n, mean_ms FROM by_measure")
        self._served = {(row["configuration"], row["measure"]): row["n"] for row in served}
        self.mean_ms = {(row["configuration"], row["measure"]): row["mean_ms"] for row in served}
        had = {WALL.measure, *(row["measure"] for row in served)}
        self.measures = [measure for measure in MEASURES if measure in had]
        self.names: dict[str, list[str]] = {group["deployment"]: group["names"] for group in self._groups}
        complete = {name for names in self.names.values() for name in names}
        unfinished = {(c["name"], c["block"]) for c in configurations if c["name"] not in complete}
        self._sides = {
            (deployment, reference): self._with_whole_counterparts(names, reference, unfinished)
            for deployment, names in self.names.items()
            for reference in self._references
        }
        self.ratios = self._ratios_of(None)

    @property
    def samples(self) -> dict[str, int]:
        """Timed samples of each configuration's own block, in the plan's order."""
        return {name: self._served.get((name, WALL.measure), 0) for name in self._deployment}

    @property
    def devices(self) -> int:
        """Over how many devices the intervals are."""
        return 1 if self._independent else len({row["device"] for row in self._visit_ratios})

    def of_configurations(self) -> list[Compared]:
        """Each configuration against each reference, by each measure and clock."""
        order = {name: i for i, name in enumerate(self._deployment)}
        timings = self.ratios.timings
        found = []
        for name, reference, timing in sorted(
            self.ratios.keys(), key=lambda key: (timings.index(key[2]), key[1], order[key[0]])
        ):
            row = {"configuration": name, "deployment": self._deployment[name], **self._of([name], reference, timing)}
            # A chain has the same counterparts as the comparison that it goes by, and is another claim.
            pair = frozenset(
                [name]
                + [
                    ("" if one["via"] is None else f"{reference} by ") + one["reference"]
                    for one in self._compared_with[name, reference]
                ]
            )
            found.append(Compared(row, pair, reference, timing, True, self.ratios.estimate([name], reference, timing)))
        return found

    def of_deployments(self, clocks: Iterable[str]) -> list[Compared]:
        """Each row of the study's table against each reference, by each measure and each of ``clocks``."""
        labels = {group["role"]: group["deployment"] for group in self._groups}
        found = []
        for timing in [Timing(measure, clock) for measure in self.measures for clock in clocks]:
            for group in self._groups:
                for reference in self._references:
                    names = self._sides[group["deployment"], reference]
                    estimate = self.ratios.estimate(names, reference, timing)
                    claim = self._is_claim(group["role"], reference)
                    # By wall time a baseline stands in the table too, and so does a claim that could not be tested.
                    if estimate is None and not (timing.clock == "wall" and (claim or group["role"] == reference)):
                        continue
                    against = self._reference_deployments(group["deployment"], reference)
                    row = {
                        "strategy": group["role"],
                        "claim": claim,
                        "reference_deployment": ", ".join(against) or None,
                        **{k: group[k] for k in ("deployment", "configurations", "complete")},
                        **self._level(group, timing.measure),
                        **self._of(names, reference, timing),
                    }
                    pair = frozenset([group["deployment"], *(against or [labels.get(reference, reference)])])
                    found.append(Compared(row, pair, reference, timing, claim, estimate))
        return found

    def widest_claims(self) -> list[float]:
        """After each round, the widest half-width (0.01: 1 %) of the claims' 95 % intervals, by wall time.

        Of a language model, the widest over its measures as well.
        """
        rounds = 1 + max((row["round"] for row in self._visit_ratios), default=-1)
        found = []
        for end in range(1, rounds + 1):
            ratios = self._ratios_of(end)
            claimed = [
                ratios.estimate(self._sides[group["deployment"], reference], reference, Timing(measure, "wall"))
                for measure in self.measures
                for group in self._groups
                for reference in self._references
                if self._is_claim(group["role"], reference)
            ]
            found.append(max((dependable_halfwidth(e) for e in claimed if e is not None), default=math.inf))
        return found

    def _level(self, group: dict[str, Any], measure: str) -> dict[str, Any]:
        """How many timed samples of a row of the study's table have the measure, and their mean, milliseconds."""
        if measure == WALL.measure:
            return {"n": group["n"], "mean_ms": group["mean_ms"]}
        served = (self._served.get((name, measure), 0) for name in group["names"])
        return {"n": sum(served), "mean_ms": group[f"{measure}_ms"]}

    def _with_whole_counterparts(
        self, names: Iterable[str], reference: str, unfinished: set[tuple[str, str]]
    ) -> list[str]:
        """Those of ``names`` whose counterparts are complete too: a ratio has two sides, and a pair two directions.

        What stands beside several adapters in their own block is there as often as they are, whatever became of it in
        its block. ``unfinished``: configurations that are not complete, with their own blocks.
        """
        return [
            name
            for name in names
            if not any(
                row["via"] is None and (row["reference"], row["reference_block"]) in unfinished
                for row in self._compared_with[name, reference]
            )
        ]

    def _reference_deployments(self, deployment: str, reference: str) -> list[str]:
        """The rows of the study's table that hold what a row is compared with; none where it never is."""
        found: dict[str, None] = {}
        for name, of_name in self._deployment.items():
            if of_name == deployment:
                for row in self._compared_with[name, reference]:
                    # A chain ends at what its links are compared with.
                    ends = [row] if row["via"] is None else self._compared_with[row["reference"], reference]
                    found |= dict.fromkeys(self._deployment[end["reference"]] for end in ends)
        return list(found)

    def _of(self, names: Sequence[str], reference: str, timing: Timing) -> dict[str, Any]:
        """What a ratio is of: two mean wall times, or a chain by way of a third strategy."""
        means = self.ratios.means_ms(names, reference, timing.measure) if timing.clock == "wall" else None
        found: dict[str, Any] = {"via": self.ratios.via(names, reference)}
        return found if means is None else {**found, "compared_ms": means[0], "reference_ms": means[1]}

    def _ratios_of(self, rounds: int | None) -> Ratios:
        return Ratios(self._visit_ratios, self._chains, independent=self._independent, rounds=rounds)

    def _is_claim(self, role: str, reference: str) -> bool:
        return role != reference and (not self._claims or (role, reference) in self._claims)
