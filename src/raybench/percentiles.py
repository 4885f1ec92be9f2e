"""Latency percentiles whose intervals take whole visits as the unit, or a reason why there is none.

Requests of one visit share its memory layout, clocks and neighbours, so 500 samples of 10 visits are not 500
independent ones. Nothing here reads or writes; latencies go in and come out in the unit they have (nanoseconds).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from raybench.stats import Interval

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)

_BEYOND: Final = 2
"""Samples that must lie beyond a percentile before it is printed: one alone is as likely a stray as a tail."""

_SURE: Final = 0.99


@dataclass(frozen=True, slots=True)
class Percentile:
    """One percentile of one configuration, in the samples' unit.

    Where ``refused`` says why it is not to be printed, ``value`` is None and the interval is (0, inf).
    An upper end of inf means that the visits differ too much, or are too few, to bound the percentile from above.
    """

    percent: float
    value: float | None
    interval: Interval
    samples: int
    visits: int
    refused: str | None = None


@functools.cache
def samples_needed(percent: float) -> int:
    """The fewest samples of which, with 99 % probability, at least two lie beyond the percentile.

    Binomial: 662 for p99 and 6,636 for p99.9. Raises ValueError unless 0 < percent < 100.
    """
    if not 0 < percent < 100:
        raise ValueError(f"a percentile must be between 0 and 100, not {percent}")
    tail = min(percent, 100 - percent) / 100
    low, high = 1, 2
    while stats.binom.sf(_BEYOND - 1, high, tail) < _SURE:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if stats.binom.sf(_BEYOND - 1, middle, tail) >= _SURE else (middle, high)
    return high


def percentile(visits: Sequence[ArrayLike], percent: float, confidence: float = 0.95) -> Percentile:
    """The pooled samples' percentile with an interval over visits; ``visits`` holds the samples of each.

    It speaks of further visits on the GPUs that were measured. Pass the samples of each GPU in place of each visit
    to have it speak of further GPUs. Below three visits the interval is (0, inf).

    Method: whole visits are resampled by leaving out each of them once (the jackknife: Tukey 1958, Ann. Math. Stat.
    29, 614), which says how much the share of samples below the percentile varies; a t interval for that share is
    read back through the pooled samples (Woodruff 1952, J. Amer. Stat. Assoc. 47, 635-646). Each of its ends is the
    farther of the linear and the arcsine scale's (Anscombe 1948), because near 100 % the linear one is too short
    below and the arcsine one above. Bootstrapping whole visits is after the same spread and with ten of them too
    narrow: for p95 it covers 75 to 90 %. This covers 94 to 97 % for p50 and p95, and 91 to 98 % for p99, the least
    where visits or GPUs differ as much as requests do.

    Raises ValueError for no visits, an empty one, or samples that are not finite.
    """
    needed = samples_needed(percent)
    groups = [np.asarray(visit, dtype=np.float64) for visit in visits]
    if not groups or any(group.size == 0 for group in groups):
        raise ValueError("need at least one visit, and samples in each")
    pooled = np.concatenate(groups)
    if not np.isfinite(pooled).all():
        raise ValueError("samples must be finite")
    n = pooled.size
    if n < needed:
        reason = f"p{percent:g} needs {needed:,} samples, there are {n:,}"
        return Percentile(percent, None, Interval(0.0, math.inf), n, len(groups), reason)
    p = percent / 100
    # Hazen's plotting positions, (i - 1/2) / n, both here and for the ends, so that the value lies within them.
    value = float(np.quantile(pooled, p, method="hazen"))
    if len(groups) < 3:
        return Percentile(percent, value, Interval(0.0, math.inf), n, len(groups))
    below = np.array([np.count_nonzero(group <= value) for group in groups])
    sizes = np.array([group.size for group in groups])
    left_out = (below.sum() - below) / (n - sizes)
    standard_error = math.sqrt(len(groups) - 1) * float(left_out.std())
    reach = float(stats.t.ppf((1 + confidence) / 2, len(groups) - 1)) * standard_error
    low, high = _share_interval(p, reach)
    return Percentile(
        percent,
        value,
        Interval(
            float(np.quantile(pooled, low, method="hazen")) if low > 0 else 0.0,
            float(np.quantile(pooled, high, method="hazen")) if high < 1 else math.inf,
        ),
        n,
        len(groups),
    )


def percentiles(
    visits: Sequence[ArrayLike],
    percents: Sequence[float] = PERCENTILES,
    confidence: float = 0.95,
) -> list[Percentile]:
    """`percentile` for each of ``percents``."""
    return [percentile(visits, percent, confidence) for percent in percents]


def _share_interval(p: float, reach: float) -> tuple[float, float]:
    angle, turn = math.asin(math.sqrt(p)), reach / (2 * math.sqrt(p * (1 - p)))
    low = math.sin(max(angle - turn, 0.0)) ** 2
    high = math.sin(min(angle + turn, math.pi / 2)) ** 2
    return min(p - reach, low), max(p + reach, high)
