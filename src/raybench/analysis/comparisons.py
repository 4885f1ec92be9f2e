"""What a run compares: each configuration and each row of the study's table with each reference, estimated."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from raybench.analysis.claims import Compared
from raybench.analysis.ratios import CLOCKS, Ratios
from raybench.analysis.sequential import dependable_halfwidth
from raybench.store import PlanOfRun

Rows = Callable[[str], list[dict[str, Any]]]
"""Runs a query over a run's views and gives its rows."""


class Comparisons:
    """The comparisons of one run. ``plan`` is that of the run's description.

    ``names``: of each row of the study's table its complete configurations. ``ratios``: over all rounds.
    """

    def __init__(self, rows: Rows, plan: PlanOfRun) -> None:
        # In the independent design the two sides of a ratio may come from different GPUs: rounds are the unit then.
        self._independent = plan.design == "independent"
        self._references = list(plan.references)
        self._claims = {(c.strategy, c.reference) for c in plan.claims}
        self._visit_ratios = rows("FROM visit_ratios ORDER BY configuration, reference_strategy, round")
        self._chains = rows("FROM comparisons WHERE via IS NOT NULL ORDER BY configuration, reference")
        self._groups = rows("FROM deployments")
        self._deployment = {c["name"]: c["deployment"] for c in rows("FROM configurations ORDER BY position")}
        self._compared = rows("FROM comparisons")
        self.names: dict[str, list[str]] = {group["deployment"]: group["names"] for group in self._groups}
        self.ratios = self._ratios_of(None)

    @property
    def devices(self) -> int:
        """Over how many devices the intervals are."""
        return 1 if self._independent else len({row["device"] for row in self._visit_ratios})

    def of_configurations(self) -> list[Compared]:
        """Each configuration against each reference, by each clock."""
        order = {name: i for i, name in enumerate(self._deployment)}
        references: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in self._compared:
            # A chain has the same counterparts as the comparison that it goes by, and is another claim.
            by = "" if row["via"] is None else f"{row['reference_strategy']} by "
            references[row["configuration"], row["reference_strategy"]].append(by + row["reference"])
        clocks = list(CLOCKS.values())
        return [
            Compared(
                {"configuration": name, "deployment": self._deployment[name], **self._of([name], reference, clock)},
                frozenset([name, *references[name, reference]]),
                reference,
                clock,
                True,
                self.ratios.estimate([name], reference, clock),
            )
            for name, reference, clock in sorted(
                self.ratios.keys(), key=lambda key: (clocks.index(key[2]), key[1], order[key[0]])
            )
        ]

    def of_deployments(self, clocks: Iterable[str]) -> list[Compared]:
        """Each row of the study's table against each reference, by each of ``clocks``."""
        labels = {group["role"]: group["deployment"] for group in self._groups}
        found = []
        for clock in clocks:
            for group in self._groups:
                for reference in self._references:
                    estimate = self.ratios.estimate(group["names"], reference, clock)
                    claim = self._is_claim(group["role"], reference)
                    # By wall time a baseline stands in the table too, and so does a claim that could not be tested.
                    if estimate is None and not (clock == "wall" and (claim or group["role"] == reference)):
                        continue
                    row = {k: group[k] for k in ("deployment", "configurations", "complete", "n", "mean_ms")}
                    row |= {"strategy": group["role"], "claim": claim, **self._of(group["names"], reference, clock)}
                    pair = frozenset([labels.get(reference, reference), group["deployment"]])
                    found.append(Compared(row, pair, reference, clock, claim, estimate))
        return found

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

    def _of(self, names: Sequence[str], reference: str, clock: str) -> dict[str, Any]:
        """What a ratio is of: two mean wall times, or a chain by way of a third strategy."""
        means = self.ratios.means_ms(names, reference) if clock == "wall" else None
        found: dict[str, Any] = {"via": self.ratios.via(names, reference)}
        return found if means is None else {**found, "compared_ms": means[0], "reference_ms": means[1]}

    def _ratios_of(self, rounds: int | None) -> Ratios:
        return Ratios(self._visit_ratios, self._chains, independent=self._independent, rounds=rounds)

    def _is_claim(self, role: str, reference: str) -> bool:
        return role != reference and (not self._claims or (role, reference) in self._claims)
