"""Overheads with their uncertainty, and the verdicts that follow from them.

The unit is one visit, never one sample: a visit gives one ``d = log(mean / mean of the reference)``. Everything
here works on these log ratios, where slower and faster are symmetric, and gives ratios back (1.35 is 35 % slower).
No input or output, no state; the random numbers of the permutation test come from the seed that is passed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Verdict = Literal["slower", "faster", "equivalent", "inconclusive"]

_ROUNDING: Final = 1e-12
"""Log ratios this close are equal: a nanosecond in a minute is 2e-11, below that means only differ by rounding."""

_EXACT_UP_TO: Final = 2**14
"""Sign patterns up to which the permutation test counts them all (14 visits); above it draws this many."""

_MOST_ROUNDS: Final = 10**6


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
    GPU only. ``floor``: the part of the standard error that more visits on the same GPUs would leave.
    """

    log_ratio: float
    standard_error: float
    df: float
    n: int
    strata: int = 1
    devices: int = 1
    floor: float = 0.0

    @property
    def ratio(self) -> float:
        """Times the reference: 1.35 is 35 % slower."""
        return math.exp(self.log_ratio)

    def interval(self, confidence: float = 0.95) -> Interval:
        """Student's t interval, as ratios; (0, inf) where one visit is all there is."""
        reach = self._reach(confidence)
        if math.isinf(reach):
            return Interval(0.0, math.inf)
        return Interval(math.exp(self.log_ratio - reach), math.exp(self.log_ratio + reach))

    def halfwidth(self, confidence: float = 0.95) -> float:
        """Upper reach of the interval relative to the ratio: 0.01 is +1 %; inf where one visit is all there is."""
        reach = self._reach(confidence)
        return math.inf if math.isinf(reach) else math.expm1(reach)

    def p_value(self) -> float:
        """Two-sided t test of "the ratio is 1"; nan where one visit is all there is."""
        if self.df <= 0:
            return math.nan
        if self.standard_error == 0:
            return 1.0 if self.log_ratio == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.log_ratio) / self.standard_error, self.df))

    def equivalence_p(self, margin: float) -> float:
        """Two one-sided t tests of "the ratio is outside [1 / (1 + margin), 1 + margin]": the larger p.

        The margin is symmetric on the log scale, so that A against B and B against A agree. nan where one visit
        is all there is. Schuirmann (1987), J. Pharmacokinet. Biopharm. 15, 657-680.
        """
        bound = _log_bound(margin)
        if self.df <= 0:
            return math.nan
        if self.standard_error == 0:
            return 0.0 if abs(self.log_ratio) < bound else 1.0
        return float(stats.t.sf((bound - abs(self.log_ratio)) / self.standard_error, self.df))

    def _reach(self, confidence: float) -> float:
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
        if self.df <= 0:
            return math.inf
        return float(stats.t.ppf((1 + confidence) / 2, self.df)) * self.standard_error


def from_visits(log_ratios: Sequence[float]) -> Estimate:
    """One block's overhead on one GPU from one log ratio a visit: mean, s / sqrt(n), n - 1 degrees of freedom.

    Raises ValueError for no visits, or for a log ratio that is not finite.
    """
    values = _finite(log_ratios)
    mean, sd = _mean_sd(values)
    return Estimate(mean, sd / math.sqrt(values.size), values.size - 1, values.size)


def from_devices(log_ratios_by_device: Mapping[str, Sequence[float]]) -> Estimate:
    """A block's overhead over several GPUs: one mean log ratio for each GPU, then a t interval over GPUs.

    GPUs count alike, however many visits each took, because it is GPUs that the answer is about. With two of
    them there is one degree of freedom and the 95 % interval reaches 12.7 standard errors: it is right, and wide.
    With one GPU this is `from_visits`. Raises ValueError like it.
    """
    return from_blocks({"": log_ratios_by_device})


def from_blocks(log_ratios: Mapping[str, Mapping[str, Sequence[float]]]) -> Estimate:
    """A strategy's average over blocks, each counting alike; ``log_ratios[block][gpu]`` holds one a visit.

    With one GPU, `combine` of the blocks. With several, a GPU's own ratio is in every block it served, so blocks
    are not independent: block and GPU effects are fitted side by side (least squares; not every GPU need have
    served every block), which leaves one ratio for each GPU, and a t interval is taken over those. Where too few
    visits crossed for the two to be told apart, the average comes without an interval (df 0).

    Raises ValueError for no blocks, no visits, or a log ratio that is not finite.
    """
    devices = sorted({device for by_device in log_ratios.values() for device in by_device})
    served = [by_device for by_device in log_ratios.values() if by_device]
    if len(devices) < 2:
        blocks = [from_visits(by_device[devices[0]]) for by_device in served]
        return combine(blocks, [1 / len(blocks) for _ in blocks])
    visits = [
        (block, devices.index(device), value)
        for block, by_device in enumerate(served)
        for device, values in by_device.items()
        for value in _finite(values)
    ]
    block, device, d = (np.array(column) for column in zip(*visits, strict=True))
    # One column for each block and, so that the two can be told apart, one for each GPU but the first.
    of_block, of_device = block[:, None] == np.arange(len(served)), device[:, None] == np.arange(1, len(devices))
    design = np.hstack([of_block, of_device]).astype(float)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        mean = float(np.mean([d[block == index].mean() for index in range(len(served))]))
        return Estimate(mean, math.inf, 0, d.size, len(served), len(devices))
    solve = np.linalg.pinv(design)
    # Row g: the average block effect and the effect of GPU g, as a weighted sum of visits.
    average = np.full((len(devices), len(served)), 1 / len(served))
    per_device = np.hstack([average, np.eye(len(devices))[:, 1:]]) @ solve
    answer = from_visits(per_device @ d)
    floor, residual_df = answer.standard_error, d.size - design.shape[1]
    if residual_df:
        residual = d - design @ (solve @ d)
        of_visits = float(residual @ residual) / residual_df * float((per_device.mean(axis=0) ** 2).sum())
        floor = math.sqrt(max(0.0, floor**2 - of_visits))
    return Estimate(
        answer.log_ratio, answer.standard_error, answer.df, d.size, len(served), devices=len(devices), floor=floor
    )


def combine(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """A weighted sum of independent estimates, with Welch and Satterthwaite's degrees of freedom.

    With weights 1 / B this is a strategy's average over B blocks; with (1, 1) it chains two ratios, multi /
    separate and separate / full to multi / full; with (1, -1) it compares two runs. Blocks that share several GPUs
    are not independent: `from_blocks` averages those. A part that one visit is all there is of has an unknown
    spread, and so has the sum (df 0).

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
    if any(e.df <= 0 for e, _ in used):
        return Estimate(log_ratio, math.inf, 0, n, strata, devices)
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
    alpha: float = 0.05,
    adjusted_p: float | None = None,
) -> Verdict:
    """What the estimate says at level ``alpha``.

    ``equivalent`` goes first: a difference that can be told from none, yet surely lies within the margin, is one
    that nobody has to act on. Then ``slower`` or ``faster`` if the t test (``adjusted_p``, its p after `holm`,
    where the plan declares several claims) is below alpha. Else ``inconclusive``, and so with one visit.
    """
    p = estimate.p_value() if adjusted_p is None else adjusted_p
    if estimate.equivalence_p(margin) < alpha:
        return "equivalent"
    if p < alpha and estimate.log_ratio != 0:
        return "slower" if estimate.log_ratio > 0 else "faster"
    return "inconclusive"


def rounds_to_settle(estimate: Estimate, *, margin: float, alpha: float = 0.05, claims: int = 1) -> int | None:
    """How many more rounds would settle an inconclusive estimate, if ratio and spread stay what they are now.

    Settled: the 1 - alpha interval excludes 1, or the equivalence test passes. 0 if it is settled already; None if
    no number of rounds on these GPUs would do (GPUs differ too much: add GPUs) or one visit leaves the spread
    unknown. ``claims``: how many claims Holm adjusts for; the difference is then asked for at alpha / claims,
    the first and hardest of Holm's steps. A forecast at the values seen, so as likely too low as too high.
    """

    def settled(rounds: int) -> bool:
        forecast = _after(estimate, rounds)
        return forecast.equivalence_p(margin) < alpha or forecast.p_value() < alpha / claims

    if estimate.df <= 0:
        return None
    low, high = -1, 0
    while not settled(high):
        if high >= _MOST_ROUNDS:
            return None
        low, high = high, max(1, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return high


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
    values = _finite(log_ratios)
    if values.size == 1:
        return 1.0
    result = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_EXACT_UP_TO,
        random_state=np.random.default_rng(seed),
    )
    return float(result.pvalue)


class PairedTest(NamedTuple):
    """A paired t test; all nan with fewer than two pairs."""

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
    if len(means) < 2:
        return PairedTest(math.nan, math.nan, math.nan)
    result = stats.ttest_rel(means, reference_means)
    return PairedTest(float(result.statistic), float(result.df), float(result.pvalue))


def _log_bound(margin: float) -> float:
    if not margin > 0:
        raise ValueError(f"an equivalence margin must be positive (0.02 is 2 %), not {margin}")
    return math.log1p(margin)


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError("need at least one visit")
    if not np.isfinite(array).all():
        raise ValueError("log ratios must be finite: a latency of zero, or none, was passed on")
    return array


def _mean_sd(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation, nan-free: an infinite deviation for one value, zero for equal ones."""
    mean = float(values.mean())
    if values.size == 1:
        return mean, math.inf
    if float(np.ptp(values)) <= _ROUNDING:
        return (0.0 if abs(mean) <= _ROUNDING else mean), 0.0
    return mean, float(values.std(ddof=1))


def _after(estimate: Estimate, rounds: int) -> Estimate:
    """The estimate that as many more rounds would give, with the spread seen so far."""
    n = estimate.n + rounds * estimate.strata
    shrinks = estimate.standard_error**2 - estimate.floor**2
    standard_error = math.sqrt(estimate.floor**2 + shrinks * estimate.n / n)
    df = estimate.df
    if estimate.devices == 1:
        df *= (n - estimate.strata) / (estimate.n - estimate.strata)
    return Estimate(estimate.log_ratio, standard_error, df, n, estimate.strata, estimate.devices, estimate.floor)
