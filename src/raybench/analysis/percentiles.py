"""Latency percentiles whose intervals take whole visits as the unit, or a reason why there is none.

Requests of one visit share its memory layout, clocks and neighbours, so 500 samples of 10 visits are not 500
independent ones. Nothing here reads or writes; latencies go in and come out in the unit they have (nanoseconds).
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raybench.analysis.distributions import beta_ppf, binomial_sf, normal_ppf, t_ppf
from raybench.analysis.stats import Interval
from raybench.records import count

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)

_BEYOND: Final = 2
"""Samples that must lie beyond a percentile before it is printed: one alone is as likely a stray as a tail."""

_SURE: Final = 0.99

_MANY: Final = 10
"""Visits from which on their own spread says enough: below, they may all agree by chance."""


@dataclasses.dataclass(frozen=True, slots=True)
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
    enough = math.ceil(10 / tail)  # where ten lie beyond on average, two do with 99.95 %
    numbers = range(_BEYOND, enough + 1)
    return numbers[bisect.bisect_left(numbers, _SURE, key=lambda n: binomial_sf(_BEYOND - 1, n, tail))]


def percentile(visits: Sequence[ArrayLike], percent: float, confidence: float = 0.95) -> Percentile:
    """The pooled samples' percentile with an interval over visits; ``visits`` holds the samples of each.

    It speaks of further visits on the GPU that was measured; for several GPUs see `over_devices`. Below three visits
    the interval is (0, inf). It also speaks of the requests that were served: where those are few and go round
    again, as one's own texts may, samples are no further draws of them, and `repeats` has the caution.

    Method: whole visits are resampled by leaving out each of them once (the jackknife: Tukey 1958, Ann. Math. Stat.
    29, 614), which says how much the share of samples below the percentile varies; a t interval for that share is
    read back through the pooled samples (Woodruff 1952, J. Amer. Stat. Assoc. 47, 635-646). Each of its ends is the
    farther of the linear and the arcsine scale's (Anscombe 1948), because near 100 % the linear one is too short
    below and the arcsine one above. Where the upper end is open (inf), visits differ by more than their requests do,
    and the lower end is at most the exact binomial one for as many samples as the share's variance says that there
    are (Korn and Graubard 1998, Survey Methodology 24, 193-201): else one slow visit out of twenty would pass for
    what all of them reach. Bootstrapping whole visits is after the same spread and with ten of them too narrow: for
    p95 it covers 75 to 90 %. This covers 94 to 99 % for p50 and p95, and 92 to 98 % for p99, but where visits differ
    by 20 % and a few requests in each are half as slow again, 86 %. The upper end is often open: where visits differ
    by 1 %, as launches do, ten of them bound a p95 from above in one of four.

    Raises ValueError for no visits, an empty one, or samples that are not finite.
    """
    return _percentile(_pool(visits), percent, confidence)


class _Pool(NamedTuple):
    """Samples of all groups: in the order of groups, which begin at ``starts``, and by size."""

    samples: NDArray[np.float64]
    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]
    ordered: NDArray[np.float64]


def _pool(visits: Sequence[ArrayLike]) -> _Pool:
    groups = [np.asarray(visit, dtype=np.float64) for visit in visits]
    if not groups or any(group.size == 0 for group in groups):
        raise ValueError("need at least one visit, and samples in each")
    pooled = np.concatenate(groups)
    if not np.isfinite(pooled).all():
        raise ValueError("samples must be finite")
    sizes = np.array([group.size for group in groups])
    return _Pool(pooled, np.cumsum(sizes) - sizes, sizes, np.sort(pooled))


def _percentile(pool: _Pool, percent: float, confidence: float) -> Percentile:
    needed, n, groups = samples_needed(percent), pool.samples.size, pool.sizes.size
    if n < needed:
        reason = f"p{percent:g} needs {count(needed, 'sample')}, there {'is' if n == 1 else 'are'} {n:,}"
        return Percentile(percent, None, Interval(0.0, math.inf), n, groups, reason)
    p = percent / 100
    # Hazen's plotting positions, (i - 1/2) / n, both here and for the ends, so that the value lies within them.
    value = _hazen(pool.ordered, p)
    if groups < 3:
        return Percentile(percent, value, Interval(0.0, math.inf), n, groups)
    below, at = (np.add.reduceat(by(pool.samples, value), pool.starts, dtype=np.int64) for by in (np.less, np.equal))
    if at.any():  # those that are equal count as below as far as makes the share of all that of the percentile
        below = below + at * min(max((p * n - below.sum()) / at.sum(), 0.0), 1.0)
    left_out = (below.sum() - below) / (n - pool.sizes)
    standard_error = math.sqrt(groups - 1) * float(left_out.std())
    level = (1 + confidence) / 2
    reach = t_ppf(level, groups - 1) * standard_error
    if groups < _MANY or not standard_error:
        # A few visits may agree by chance, and any number on a coarse clock; their samples are no surer than
        # independent ones all the same.
        reach = max(reach, normal_ppf(level) * math.sqrt(p * (1 - p) / n))
    low, high = _share_interval(p, reach)
    if high >= 1:
        low = min(low, _exact_low(p, standard_error, groups, level))
    return Percentile(
        percent,
        value,
        Interval(
            _hazen(pool.ordered, low) if low > 0 else 0.0,
            _hazen(pool.ordered, high) if high < 1 else math.inf,
        ),
        n,
        groups,
    )


def _hazen(ordered: NDArray[np.float64], p: float) -> float:
    """``numpy.quantile(ordered, p, method="hazen")`` to the last digit, which sorts anew each time."""
    place = min(max(ordered.size * p + 0.5 - 1, 0.0), ordered.size - 1.0)  # rounded as NumPy rounds it
    before = math.floor(place)
    low, high = float(ordered[before]), float(ordered[min(before + 1, ordered.size - 1)])
    share = place - before
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)


def over_devices(
    visits: Sequence[tuple[str, ArrayLike]],
    percents: Sequence[float] = PERCENTILES,
    confidence: float = 0.95,
) -> list[Percentile]:
    """`percentile` for each of ``percents``; ``visits`` holds the device and the samples of each visit.

    With several devices the samples of a device stand in place of those of a visit, so that the interval speaks of
    further devices like these: those of one model differ by more than visits on one do. Below three it is (0, inf).
    """
    by_device: dict[str, list[ArrayLike]] = {}
    for device, samples in visits:
        by_device.setdefault(device, []).append(samples)
    groups = [np.concatenate(of_device) for of_device in by_device.values()]
    if len(groups) < 2:
        groups = [np.asarray(samples) for _, samples in visits]
    pool = _pool(groups)
    found = [_percentile(pool, percent, confidence) for percent in percents]
    return [dataclasses.replace(one, visits=len(visits)) for one in found]


def _share_interval(p: float, reach: float) -> tuple[float, float]:
    angle, turn = math.asin(math.sqrt(p)), reach / (2 * math.sqrt(p * (1 - p)))
    low = math.sin(max(angle - turn, 0.0)) ** 2
    high = math.sin(min(angle + turn, math.pi / 2)) ** 2
    return min(p - reach, low), max(p + reach, high)


def _exact_low(p: float, standard_error: float, groups: int, level: float) -> float:
    """Clopper and Pearson's lower end for a share ``p`` of as many samples as have this standard error.

    They are fewer by the square of the normal quantile over t's, for the standard error is itself an estimate.
    """
    if standard_error == 0:
        return p
    t, z = t_ppf(level, groups - 1), normal_ppf(level)
    samples = p * (1 - p) / standard_error**2 * (z / t) ** 2
    return beta_ppf(1 - level, samples * p, samples * (1 - p) + 1)
