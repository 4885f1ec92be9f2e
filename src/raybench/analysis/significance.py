"""Tests beside the t test of an estimate: Holm's adjustment, a permutation test, and the original study's own test.

No input or output, no state; the random numbers of the permutation test come from the seed that is passed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raybench.analysis.distributions import t_sf
from raybench.analysis.stats import ROUNDING, finite

_EXACT_UP_TO: Final = 2**14
"""Sign patterns up to which the permutation test counts them all (14 visits); above it draws this many."""
_DRAWN_AT_ONCE: Final = 1_000_000


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several, so that all the claims together err with probability alpha (Holm 1979).

    A claim that could not be tested (nan) stays nan, and still counts: that one failed makes the others no surer.
    """
    raw = np.asarray(p_values, dtype=float)
    missing = np.isnan(raw)
    order = np.argsort(np.where(missing, 1.0, raw), kind="stable")
    # Not statsmodels' multipletests, which tests hold this against: it collects all garbage at each call, a second
    # of it in a process that has imported torch.
    steps = np.where(missing, 1.0, raw)[order] * np.arange(raw.size, 0, -1)
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in np.where(missing, math.nan, adjusted)]


def permutation_p(log_ratios: Sequence[float], seed: int) -> float:
    """Two-sided sign-flip test of "the ratio is 1", which assumes symmetry and no normality.

    Exact up to 14 visits, above that with 2**14 sign patterns drawn with ``seed``. n visits give no p below
    2 / 2**n: with 5 or fewer it cannot reach 5 %. Raises ValueError like `from_visits`.
    """
    values = finite(log_ratios)
    if values.size == 1:
        return 1.0
    if 2**values.size > _EXACT_UP_TO:
        return _drawn_p(values, np.random.default_rng(seed))
    patterns = np.arange(2**values.size)[:, None] >> np.arange(values.size) & 1
    return min(1.0, 2 * min(_as_far(values, patterns)) / len(patterns))


def _drawn_p(values: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Of sign patterns drawn, each as likely, beside the one that was seen."""
    at_once = max(1, _DRAWN_AT_ONCE // values.size)
    below, above = 0, 0
    for drawn in range(0, _EXACT_UP_TO, at_once):
        shape = min(at_once, _EXACT_UP_TO - drawn), values.size
        found = _as_far(values, rng.integers(0, 2, shape, dtype=np.int8))
        below, above = below + found[0], above + found[1]
    return min(1.0, 2 * (1 + min(below, above)) / (1 + _EXACT_UP_TO))


def _as_far(values: NDArray[np.float64], patterns: NDArray[np.integer[Any]]) -> tuple[int, int]:
    """Of how many sign patterns, rows of 0 and 1, the mean is at most, and at least, that of ``values``.

    Twice the rarer of both, as `scipy.stats.permutation_test` counts them, which draws each pattern one by one: of
    hundreds of visits that takes seconds. `scipy.stats` itself takes most of a second to import.
    """
    observed = float(values.mean())
    rounding = ROUNDING * abs(observed)
    means = (2.0 * patterns - 1.0) @ values / values.size
    return int(np.count_nonzero(means <= observed + rounding)), int(np.count_nonzero(means >= observed - rounding))


class PairedTest(NamedTuple):
    """A paired t test; all nan with fewer than two pairs, or where these differ by the same to the last digit."""

    t: float
    df: float
    p: float


def study_paired_test(means: Sequence[float], reference_means: Sequence[float]) -> PairedTest:
    """The original study's test: paired t over the (task, seed) pairs' mean latencies, on the latency scale.

    It weighs slow tasks more and knows nothing of visits; it stands beside our own under its own name, for
    comparison. Raises ValueError if the two differ in length.
    """
    if len(means) != len(reference_means):
        raise ValueError(f"{len(means)} means and {len(reference_means)} reference means cannot be paired")
    differences = np.subtract(means, reference_means)
    if len(means) < 2 or float(np.ptp(differences)) <= ROUNDING * float(np.max(np.abs(means))):
        return PairedTest(math.nan, math.nan, math.nan)
    # In the order of operations of `scipy.stats.ttest_rel`, whose numbers these are to the last digit.
    n, mean = len(means), float(np.mean(differences))
    variance = float(np.mean((differences - mean) ** 2)) * (n / (n - 1))
    statistic = mean / math.sqrt(variance / n)
    return PairedTest(statistic, n - 1, 2 * t_sf(abs(statistic), n - 1))
