"""Overheads with their uncertainty, and the verdicts that follow from them.

The unit is one visit, never one sample: a visit gives one ``d = log(mean / mean of the reference)``. Everything
here works on these log ratios, where slower and faster are symmetric, and gives ratios back (1.35 is 35 % slower).
No input or output, no state, no random numbers.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raybench.analysis.distributions import t_ppf, t_sf

Verdict = Literal["slower", "faster", "equivalent", "inconclusive"]

ROUNDING: Final = 1e-12
"""Log ratios this close are equal: a nanosecond in a minute is 2e-11, below that means only differ by rounding."""

ALPHA: Final = 0.05
"""The level of every verdict."""

_MOST_ROUNDS: Final = 2**20

Unknown = Literal["one visit", "equal visits", "devices apart", "one device"]
"""Why an interval is unknown. ``one visit``: of a block there is one, which says nothing of how far they differ.
``equal visits``: all gave the same ratio to the last digit, as no clock that is fine enough does: that says as little.
``devices apart``: blocks met the GPUs so that how far GPUs differ cannot be told from how far blocks do.
``one device``: of two runs, a single one in the one stands against others, and nothing tells how far devices differ."""


class Interval(NamedTuple):
    """A confidence interval; the two ends are ratios (or nanoseconds, for a percentile), not logarithms."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """One log ratio and how sure it is.

    ``standard_error`` is that of ``log_ratio``, infinite where nothing repeated says how large it is; ``df`` its
    degrees of freedom, 0 then. ``n``: visits. ``strata``: blocks that it averages or chains, each of which a
    further round visits once. ``devices``: over how many GPUs the interval was taken; with 1 it speaks of this
    GPU only. ``floor``: the part of the standard error that more visits on the same GPUs would leave. ``unknown``: why
    there is no interval, where there is none.
    """

    log_ratio: float
    standard_error: float
    df: float
    n: int
    strata: int = 1
    devices: int = 1
    floor: float = 0.0
    unknown: Unknown | None = None

    @property
    def ratio(self) -> float:
        """Times the reference: 1.35 is 35 % slower."""
        return math.exp(self.log_ratio)

    def interval(self, confidence: float = 0.95) -> Interval:
        """Student's t interval, as ratios; (0, inf) where it is unknown."""
        reach = self._reach(confidence)
        if math.isinf(reach):
            return Interval(0.0, math.inf)
        return Interval(math.exp(self.log_ratio - reach), math.exp(self.log_ratio + reach))

    def halfwidth(self, confidence: float = 0.95) -> float:
        """Upper reach of the interval relative to the ratio: 0.01 is +1 %; inf where it is unknown."""
        reach = self._reach(confidence)
        return math.inf if math.isinf(reach) else math.expm1(reach)

    def p_value(self) -> float:
        """Two-sided t test of "the ratio is 1"; nan where the spread is unknown."""
        if self.df <= 0:
            return math.nan
        if self.standard_error == 0:
            return 1.0 if self.log_ratio == 0 else 0.0
        return 2 * t_sf(abs(self.log_ratio) / self.standard_error, self.df)

    def equivalence_p(self, margin: float) -> float:
        """Two one-sided t tests of "the ratio is outside [1 / (1 + margin), 1 + margin]": the larger p.

        The margin is symmetric on the log scale, so that A against B and B against A agree. nan where the spread is
        unknown. Schuirmann (1987), J. Pharmacokinet. Biopharm. 15, 657-680.
        """
        bound = _log_bound(margin)
        if self.df <= 0:
            return math.nan
        if self.standard_error == 0:
            return 0.0 if abs(self.log_ratio) < bound else 1.0
        return t_sf((bound - abs(self.log_ratio)) / self.standard_error, self.df)

    def without_interval(self, unknown: Unknown) -> Estimate:
        """The same ratio where nothing says how sure it is."""
        return dataclasses.replace(self, standard_error=math.inf, df=0.0, floor=0.0, unknown=unknown)

    def _reach(self, confidence: float) -> float:
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
        if self.df <= 0:
            return math.inf
        return t_ppf((1 + confidence) / 2, self.df) * self.standard_error


def from_visits(log_ratios: Sequence[float]) -> Estimate:
    """One block's overhead on one GPU from one log ratio a visit: mean, s / sqrt(n), n - 1 degrees of freedom.

    Visits that are equal to the last digit have no interval, as one visit has none: a t test would call them certain.
    Raises ValueError for no visits, or for a log ratio that is not finite.
    """
    values = finite(log_ratios)
    n, mean = values.size, float(values.mean())
    if n == 1:
        return Estimate(mean, math.inf, 0, 1, unknown="one visit")
    if float(np.ptp(values)) <= ROUNDING:
        return Estimate(0.0 if abs(mean) <= ROUNDING else mean, math.inf, 0, n, unknown="equal visits")
    return Estimate(mean, float(values.std(ddof=1)) / math.sqrt(n), n - 1, n)


def combine(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """A weighted sum of independent estimates, with Welch and Satterthwaite's degrees of freedom.

    With weights 1 / B this is a strategy's average over B blocks; with (1, 1) it chains two ratios, multi /
    separate and separate / full to multi / full; with (1, -1) it compares two runs. Blocks that share several GPUs
    are not independent: `blocks.from_blocks` averages those. Where the spread of a part is unknown, so is that of
    the sum (df 0).

    Raises ValueError for no estimates, or as many weights as there are not estimates.
    Source: Satterthwaite (1946), Biometrics Bulletin 2, 110-114.
    """
    if not estimates or len(estimates) != len(weights):
        raise ValueError(f"{len(estimates)} estimates and {len(weights)} weights: need one weight for each")
    used = [(e, w) for e, w in zip(estimates, weights, strict=True) if w]
    if not used:
        raise ValueError("all weights are zero")
    n, strata = sum(e.n for e, _ in used), sum(e.strata for e, _ in used)
    devices = min(e.devices for e, _ in used)
    log_ratio = math.fsum(w * e.log_ratio for e, w in used)
    if unknown := [e.unknown for e, _ in used if e.df <= 0]:
        return Estimate(log_ratio, math.inf, 0, n, strata, devices, unknown=unknown[0])
    parts = [(w * e.standard_error) ** 2 for e, w in used]
    variance = math.fsum(parts)
    df = math.fsum(e.df for e, _ in used)
    if variance > 0:
        # Divided before squaring: the square of a small variance would underflow.
        df = 1 / math.fsum((part / variance) ** 2 / e.df for part, (e, _) in zip(parts, used, strict=True))
    floor = math.sqrt(math.fsum((w * e.floor) ** 2 for e, w in used))
    return Estimate(log_ratio, math.sqrt(variance), df, n, strata, devices, floor)


def verdict(
    estimate: Estimate,
    *,
    margin: float,
    alpha: float = ALPHA,
    adjusted_p: float | None = None,
) -> Verdict:
    """What the estimate says at level ``alpha``.

    ``equivalent`` goes first: a difference that can be told from none, yet surely lies within the margin, is one
    that nobody has to act on. Then ``slower`` or ``faster`` if the t test (``adjusted_p``, its p after `holm`,
    where the plan declares several claims) is below alpha. Else ``inconclusive``, and so where the spread is unknown.
    """
    own_p = estimate.p_value()
    if math.isnan(own_p):
        return "inconclusive"
    p = own_p if adjusted_p is None else adjusted_p
    if estimate.equivalence_p(margin) < alpha:
        return "equivalent"
    if p < alpha and estimate.log_ratio != 0:
        return "slower" if estimate.log_ratio > 0 else "faster"
    return "inconclusive"


def rounds_to_settle(estimate: Estimate, *, margin: float, alpha: float = ALPHA, claims: int = 1) -> int | None:
    """How many more rounds would settle an inconclusive estimate, if ratio and spread stay what they are now.

    Settled: the 1 - alpha interval excludes 1, or the equivalence test passes. 0 if it is settled already; None if
    no number of rounds on these GPUs would do (GPUs differ too much: add GPUs) or the spread is
    unknown. ``claims``: how many claims Holm adjusts for; the difference is then asked for at alpha / claims,
    the first and hardest of Holm's steps. A forecast at the values seen, so as likely too low as too high.
    """

    def settled(forecast: Estimate) -> bool:
        return forecast.equivalence_p(margin) < alpha or forecast.p_value() < alpha / claims

    return rounds_until(estimate, settled)


def rounds_until(estimate: Estimate, settled: Callable[[Estimate], bool]) -> int | None:
    """The fewest further rounds after which the forecast is ``settled``, which more rounds must not undo.

    None if no number of rounds on these GPUs would do, or where nothing says how far visits differ.
    """
    if estimate.df <= 0:
        return None
    rounds = bisect.bisect_left(range(_MOST_ROUNDS + 1), True, key=lambda more: settled(_after(estimate, more)))
    return rounds if rounds <= _MOST_ROUNDS else None


def _log_bound(margin: float) -> float:
    if not margin > 0:
        raise ValueError(f"an equivalence margin must be positive (0.02 is 2 %), not {margin}")
    return math.log1p(margin)


def finite(values: Sequence[float]) -> NDArray[np.float64]:
    """Log ratios as an array. Raises ValueError for none, or for one that is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError("need at least one visit")
    if not np.isfinite(array).all():
        raise ValueError("log ratios must be finite: a latency of zero, or none, was passed on")
    return array


def _after(estimate: Estimate, rounds: int) -> Estimate:
    """The estimate that as many more rounds would give, with the spread seen so far."""
    n = estimate.n + rounds * estimate.strata
    shrinks = estimate.standard_error**2 - estimate.floor**2
    standard_error = math.sqrt(estimate.floor**2 + shrinks * estimate.n / n)
    df = estimate.df
    if estimate.devices == 1:
        df *= (n - estimate.strata) / (estimate.n - estimate.strata)
    return Estimate(estimate.log_ratio, standard_error, df, n, estimate.strata, estimate.devices, estimate.floor)
