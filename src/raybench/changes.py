"""A change between two runs, B / A: estimated from the visits of both, and judged beside its fellows by Holm.

Visits that served the same requests are paired by round (t test), else all visits are compared unpaired (Welch).
Pairing takes out what the requests of a round have in common, their token lengths above all: unpaired, that spread
would count as uncertainty twice over, and a run compared with itself would be inconclusive. Nothing here reads or
writes.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from raybench import stats
from raybench.stats import Estimate, Verdict

Method = Literal["paired", "welch", "devices"]
"""``paired``: one difference a round. ``welch``: visits of either run, unpaired. ``devices``: one difference a GPU."""

_ROUNDING: Final = 1e-12
"""Log ratios this close to 0 differ from it by rounding only."""


class Visit(NamedTuple):
    """One number of one visit, with what must agree for it to be paired: where it ran and what it served."""

    device: str
    served: object
    log: float


Visits = Mapping[int, Visit]
"""Of one configuration in one run, by round."""


@dataclass(frozen=True, slots=True)
class Change:
    """B / A with its uncertainty: 1.1 is 10 % slower in B. ``p_holm``: p after Holm over all rows of its kind.

    ``more_rounds``: how many more of each run would settle an inconclusive one (`stats.rounds_to_settle`).
    """

    estimate: Estimate
    method: Method
    p_equivalence: float
    p_holm: float
    verdict: Verdict
    more_rounds: int | None

    def as_json(self) -> dict[str, Any]:
        """Ratios, p-values and counts; None for what one visit leaves unknown."""
        interval = self.estimate.interval()
        known = math.isfinite(interval.high)
        return {
            "ratio": self.estimate.ratio,
            "low": interval.low if known else None,
            "high": interval.high if known else None,
            "visits": self.estimate.n,
            "method": self.method,
            "p": _known(self.estimate.p_value()),
            "p_holm": _known(self.p_holm),
            "p_equivalence": _known(self.p_equivalence),
            "verdict": self.verdict,
            "more_rounds": self.more_rounds,
        }


def estimate_change(a: Visits, b: Visits, matched: bool) -> tuple[Estimate, Method]:
    """B less A, by the sharpest comparison that the visits allow. ``matched``: equal requests are the same inputs."""
    devices_a, devices_b = ({visit.device for visit in run.values()} for run in (a, b))
    paired = matched and a.keys() == b.keys() and all(a[r].served == b[r].served for r in a)
    one_each = len(devices_a) == len(devices_b) == 1
    if paired and (one_each or all(a[r].device == b[r].device for r in a)):
        changes: dict[str, list[float]] = defaultdict(list)
        for r in sorted(a):
            changes[a[r].device].append(b[r].log - a[r].log)
        return _rounded(stats.from_devices(changes)), "paired"
    by_device_a, by_device_b = _by_device(a), _by_device(b)
    if devices_a == devices_b and len(devices_a) > 1:
        return _rounded(_over_devices(by_device_a, by_device_b)), "devices"
    parts = [stats.from_devices(by_device_b), stats.from_devices(by_device_a)]
    return _rounded(stats.combine(parts, [1, -1])), "welch"


def judge(
    found: Mapping[str, tuple[Estimate, Method]], claims: Mapping[str, frozenset[str]], margin: float
) -> dict[str, Change]:
    """Verdicts after Holm over the claims; two configurations may share one."""
    p_values = {claims[name]: estimate.p_value() for name, (estimate, _) in found.items()}
    adjusted = dict(zip(p_values, stats.holm(list(p_values.values())), strict=True))
    changes = {}
    for name, (estimate, method) in found.items():
        p_holm = adjusted[claims[name]]
        verdict = stats.verdict(estimate, margin=margin, adjusted_p=p_holm)
        more = None
        if verdict == "inconclusive":
            more = stats.rounds_to_settle(estimate, margin=margin, claims=len(p_values))
        changes[name] = Change(estimate, method, estimate.equivalence_p(margin), p_holm, verdict, more)
    return changes


def _by_device(visits: Visits) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for r in sorted(visits):
        found[visits[r].device].append(visits[r].log)
    return found


def _over_devices(a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]]) -> Estimate:
    """The same GPUs in both runs: one change for each, then a t interval over GPUs. Their own speed cancels."""
    each = {
        device: stats.combine([stats.from_visits(b[device]), stats.from_visits(a[device])], [1, -1]) for device in a
    }
    over = stats.from_devices({device: [part.log_ratio] for device, part in each.items()})
    of_visits = math.fsum(part.standard_error**2 for part in each.values()) / len(each) ** 2
    floor = math.sqrt(max(0.0, over.standard_error**2 - of_visits))
    return dataclasses.replace(over, n=sum(part.n for part in each.values()), strata=2, floor=floor)


def _rounded(estimate: Estimate) -> Estimate:
    return dataclasses.replace(estimate, log_ratio=0.0) if abs(estimate.log_ratio) <= _ROUNDING else estimate


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
