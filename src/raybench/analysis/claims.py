"""What is compared with what, adjusted for being several (Holm), and the verdict on each."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from raybench.analysis import significance, stats
from raybench.analysis.ratios import PAIRED, Timing, compared_in
from raybench.analysis.stats import Estimate


class Compared(NamedTuple):
    """A row of a table: what is compared, by which timing, whether it is a claim, and the estimate if there is one.

    ``row``: the columns that stand before those of the ratio. ``pair``: the two, whichever way round.
    """

    row: dict[str, Any]
    pair: frozenset[str]
    reference_strategy: str
    timing: Timing
    claim: bool
    estimate: Estimate | None


class _Claim(NamedTuple):
    """What is compared, whichever way round, by which timing; whether the plan claims it, or it is one of the rest."""

    pair: frozenset[str]
    timing: Timing
    claimed: bool

    @property
    def family(self) -> tuple[str, bool]:
        """Adjusted together: all measures by one clock, claims apart from the rest."""
        return self.timing.clock, self.claimed


def judged(rows: Sequence[Compared], margin: float) -> list[dict[str, Any]]:
    """The rows, completed with interval, p and verdict; ``margin``: within it two are equivalent (0.02 is 2 %).

    What the means call slower or faster and the requests' own ratios (the clock `ratios.PAIRED`) do not is disputed,
    and inconclusive: some requests make the difference, as stalls of a busy machine do, or it is close to what can be
    told at all, so that the one is sure of it after Holm and the other is not.
    """
    claims, adjusted = _claims_of(rows), adjusted_p(rows)
    families = Counter(claim.family for claim in {claim for claim in claims if claim is not None})
    found = [{**r.row, "reference_strategy": r.reference_strategy, **r.timing._asdict()} for r in rows]
    paired = {
        compared_in(row): (compared.estimate, p_holm)
        for row, compared, p_holm in zip(found, rows, adjusted, strict=True)
        if row["clock"] == PAIRED and compared.estimate is not None and compared.estimate.df > 0
    }
    for row, compared, claim, p_holm in zip(found, rows, claims, adjusted, strict=True):
        if compared.estimate is not None:
            beside = families[claim.family] if claim else 1
            by_requests = paired.get(compared_in(row)) if row["clock"] == "wall" else None
            row |= _answer(compared.estimate, margin, p_holm, beside, row["clock"] == "wall", by_requests)
    return found


def _disputed(estimate: Estimate, by_requests: tuple[Estimate, float], margin: float) -> bool:
    """Whether the requests' own ratios, with their p, do not bear out that the means are different.

    They show nothing, or the opposite, or something within the margin where the means are further apart than that.
    """
    paired, p_holm = by_requests
    same_way = p_holm < stats.ALPHA and (paired.log_ratio > 0) == (estimate.log_ratio > 0)
    negligible = paired.equivalence_p(margin) < stats.ALPHA and abs(estimate.log_ratio) > math.log1p(margin)
    return not same_way or negligible


def adjusted_p(rows: Sequence[Compared]) -> list[float]:
    """Holm's adjusted p, within each clock over the claims of all measures, and over the rest among themselves.

    A claim that could not be tested counts too: that one failed makes the others no surer. nan for a baseline, and for
    a row that has no p of its own, though its mirror, of other visits, may have one.
    """
    families: dict[tuple[str, bool], dict[_Claim, float]] = defaultdict(dict)
    claims = _claims_of(rows)
    own = [math.nan if row.estimate is None else row.estimate.p_value() for row in rows]
    for claim, p in zip(claims, own, strict=True):
        if claim is not None:
            family = families[claim.family]
            # Where the two sides are not the same visits (one has more configurations), the larger p counts that is
            # known; nan where neither is, whichever of the two comes first.
            family[claim] = float(np.fmax(p, family.get(claim, math.nan)))
    adjusted = {
        claim: p
        for family in families.values()
        for claim, p in zip(family, significance.holm(list(family.values())), strict=True)
    }
    return [
        math.nan if claim is None or math.isnan(p) else adjusted[claim] for claim, p in zip(claims, own, strict=True)
    ]


def _claims_of(rows: Sequence[Compared]) -> list[_Claim | None]:
    """Each row's claim; None for a baseline, which claims nothing. A pair and its mirror are one."""
    claimed = {(row.pair, row.timing) for row in rows if row.claim}
    return [
        _Claim(row.pair, row.timing, (row.pair, row.timing) in claimed)
        if row.claim or row.estimate is not None
        else None
        for row in rows
    ]


def _answer(
    estimate: Estimate,
    margin: float,
    p_holm: float,
    claims: int,
    forecast: bool,
    by_requests: tuple[Estimate, float] | None,
) -> dict[str, Any]:
    """What one estimate says; ``claims``: in how large a family. ``forecast``: the rounds that would settle it.

    ``by_requests``: the same by the requests' own ratios, and its p, where there is one.
    """
    interval = estimate.interval()
    verdict = stats.verdict(estimate, margin=margin, adjusted_p=p_holm)
    disputed = None
    if by_requests is not None:
        disputed = verdict in ("slower", "faster") and _disputed(estimate, by_requests, margin)
    found = {
        "visits": estimate.n,
        "ratio": estimate.ratio,
        "verdict": "inconclusive" if disputed else verdict,
        "unknown": estimate.unknown,
        "disputed": disputed,
    }
    if estimate.unknown == "equal visits":  # neither open ends nor p: nothing was seen that they could be said of
        return found
    if forecast and verdict == "inconclusive":
        found["more_rounds"] = stats.rounds_to_settle(estimate, margin=margin, claims=claims)
    return found | {
        "low": interval.low,
        "high": interval.high,
        "p": estimate.p_value(),
        "p_holm": p_holm,
        "p_equivalence": estimate.equivalence_p(margin),
    }
