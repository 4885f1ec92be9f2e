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
from typing import Any, Literal, NamedTuple, TypeVar

from raybench.analysis import ROUNDING, Estimate, Unknown, Verdict, combine, from_chain, holm, rounds_to_settle, verdict

_Key = TypeVar("_Key")
Method = Literal["paired", "welch", "devices"]
"""``paired``: one difference a round. ``welch``: visits of either run, unpaired. ``devices``: one difference a GPU."""


class Visit(NamedTuple):
    """One number of one visit, with what must agree for it to be paired: where it ran and what it served."""

    device: str
    served: object
    log: float


Visits = Mapping[int, Visit]
"""Of one configuration in one run, by round."""


class Compared(NamedTuple):
    """B / A, how it was compared, and what each run says by itself, as logarithms: B less A is the change."""

    estimate: Estimate
    method: Method
    a: float
    b: float


@dataclass(frozen=True, slots=True)
class Change:
    """B / A with its uncertainty: 1.1 is 10 % slower in B. ``p_holm``: p after Holm over all rows of its kind.

    ``a``, ``b``: what each run says by itself, nanoseconds or the ratio to the baseline; ``b / a`` is the change.
    ``more_rounds``: how many more of each run would settle an inconclusive one (`stats.rounds_to_settle`).
    """

    estimate: Estimate
    method: Method
    a: float
    b: float
    p_equivalence: float
    p_holm: float
    verdict: Verdict
    more_rounds: int | None

    @property
    def unknown(self) -> Unknown | None:
        """Why there is no interval; None where there is one."""
        return self.estimate.unknown

    def as_json(self) -> dict[str, Any]:
        """Ratios, p-values and counts; None for what is unknown."""
        interval = self.estimate.interval()
        known = math.isfinite(interval.high)
        return {
            "ratio": self.estimate.ratio,
            "low": interval.low if known else None,
            "high": interval.high if known else None,
            "visits": self.estimate.n,
            "method": self.method,
            "unknown": self.unknown,
            "p": _known(self.estimate.p_value()),
            "p_holm": _known(self.p_holm),
            "p_equivalence": _known(self.p_equivalence),
            "verdict": self.verdict,
            "more_rounds": self.more_rounds,
        }


Link = tuple[Mapping[str, tuple[Visits, Visits]], Mapping[str, float] | None]
"""One factor of what is compared: the visits of each block in A and in B, and how much blocks count (None: alike)."""


def estimate_change(links: Sequence[Link], matched: bool, devices_alike: bool = False) -> Compared:
    """B less A, by the sharpest comparison that the visits allow. ``matched``: equal requests are the same inputs.

    ``links`` multiply, as those of `stats.from_chain` do; one link is an average over its blocks. ``devices_alike``:
    devices differ no more than visits on one do, so that all count as one.
    """
    if devices_alike:
        links = [({name: (_alike(a), _alike(b)) for name, (a, b) in blocks.items()}, w) for blocks, w in links]
    pairs = [pair for blocks, _ in links for pair in blocks.values()]
    devices_a, devices_b = ({visit.device for pair in pairs for visit in pair[i].values()} for i in (0, 1))
    estimate, method = _estimate(links, matched, devices_a, devices_b)
    if devices_a != devices_b and min(len(devices_a), len(devices_b)) == 1:
        estimate = estimate.without_interval("one device")
    a, b = (from_chain(_one_run(links, i)).log_ratio for i in (0, 1))
    return Compared(_rounded(estimate), method, a, b)


def _estimate(
    links: Sequence[Link], matched: bool, devices_a: set[str], devices_b: set[str]
) -> tuple[Estimate, Method]:
    one_each = len(devices_a) == len(devices_b) == 1
    if matched and all(_pairable(a, b, one_each) for blocks, _ in links for a, b in blocks.values()):
        changes = [({name: _differences(a, b) for name, (a, b) in blocks.items()}, w) for blocks, w in links]
        found = from_chain(changes)
        if found.unknown == "equal visits" and all(_is_copy(a, b) for blocks, _ in links for a, b in blocks.values()):
            # The same measurements twice: that they are equal is no estimate.
            found = Estimate(0.0, 0.0, found.n - found.strata, found.n, found.strata, found.devices)
        return found, "paired"
    in_a, in_b = (_one_run(links, i) for i in (0, 1))
    if devices_a == devices_b and len(devices_a) > 1:
        # The same GPUs in both runs: B less A on each of them, in which its own speed cancels.
        opposite = [(blocks, {name: -weight for name, weight in weights.items()}) for blocks, weights in in_a]
        return from_chain([*in_b, *opposite]), "devices"
    return combine([from_chain(in_b), from_chain(in_a)], [1, -1]), "welch"


def _alike(visits: Visits) -> Visits:
    return {r: visit._replace(device="any") for r, visit in visits.items()}


def judge(found: Mapping[_Key, Compared], margin: float) -> dict[_Key, Change]:
    """Verdicts, after Holm over all that is ``found``."""
    p_values = {name: one.estimate.p_value() for name, one in found.items()}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    changes = {}
    for name, (estimate, method, a, b) in found.items():
        judged = verdict(estimate, margin=margin, adjusted_p=adjusted[name])
        more = None
        if judged == "inconclusive":
            more = rounds_to_settle(estimate, margin=margin, claims=len(p_values))
        p_equivalence = estimate.equivalence_p(margin)
        changes[name] = Change(estimate, method, math.exp(a), math.exp(b), p_equivalence, adjusted[name], judged, more)
    return changes


def _pairable(a: Visits, b: Visits, one_each: bool) -> bool:
    same_requests = a.keys() == b.keys() and all(a[r].served == b[r].served for r in a)
    return same_requests and (one_each or all(a[r].device == b[r].device for r in a))


def _is_copy(a: Visits, b: Visits) -> bool:
    """Whether each visit has the same level in both, and levels differ, as no clock gives them twice."""
    levels = [visit.log for visit in a.values()]
    return max(levels) - min(levels) > ROUNDING and all(abs(a[r].log - b[r].log) <= ROUNDING for r in a)


def _differences(a: Visits, b: Visits) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for r in sorted(a):
        found[a[r].device].append(b[r].log - a[r].log)
    return found


def _one_run(links: Sequence[Link], side: int) -> list[tuple[dict[str, dict[str, list[float]]], dict[str, float]]]:
    return [
        (
            {name: _by_device(pair[side]) for name, pair in blocks.items()},
            dict(weights) if weights is not None else dict.fromkeys(blocks, 1 / len(blocks)),
        )
        for blocks, weights in links
    ]


def _by_device(visits: Visits) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for r in sorted(visits):
        found[visits[r].device].append(visits[r].log)
    return found


def _rounded(estimate: Estimate) -> Estimate:
    return dataclasses.replace(estimate, log_ratio=0.0) if abs(estimate.log_ratio) <= ROUNDING else estimate


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
