"""Overheads with their uncertainty, and the verdicts that follow from them.

The unit is one visit, never one sample: a visit gives one ``d = log(mean / mean of the reference)``. Everything
here works on these log ratios, where slower and faster are symmetric, and gives ratios back (1.35 is 35 % slower).
No input or output, no state, no random numbers.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Verdict = Literal["slower", "faster", "equivalent", "inconclusive"]

ROUNDING: Final = 1e-12
"""Log ratios this close are equal: a nanosecond in a minute is 2e-11, below that means only differ by rounding."""

_MOST_ROUNDS: Final = 2**20


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

    def without_interval(self) -> Estimate:
        """The same ratio where nothing says how sure it is."""
        return dataclasses.replace(self, standard_error=math.inf, df=0.0)

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
    values = finite(log_ratios)
    mean, sd = _mean_sd(values)
    return Estimate(mean, sd / math.sqrt(values.size), values.size - 1, values.size)


def from_devices(log_ratios_by_device: Mapping[str, Sequence[float]]) -> Estimate:
    """A block's overhead over several GPUs: one mean log ratio for each GPU, then a t interval over GPUs.

    GPUs count alike, however many visits each took, because it is GPUs that the answer is about. With two of
    them there is one degree of freedom and the 95 % interval reaches 12.7 standard errors: it is right, and wide.
    With one GPU this is `from_visits`. Raises ValueError like it.
    """
    return from_blocks({"": log_ratios_by_device})


def from_blocks(
    log_ratios: Mapping[str, Mapping[str, Sequence[float]]], weights: Mapping[str, float] | None = None
) -> Estimate:
    """A strategy's average over blocks; ``log_ratios[block][gpu]`` holds one a visit. Blocks count alike.

    ``weights``: how much each block counts instead. With one GPU, `combine` of the blocks. With several, a GPU's own
    ratio is in every block it served, so blocks are not independent: block and GPU effects are fitted side by side
    (least squares; not every GPU need have served every block), which leaves one ratio for each GPU, and a t interval
    is taken over those. Where too few visits crossed for the two to be told apart, the average comes without an
    interval (df 0).

    Raises ValueError for no blocks, no visits, or a log ratio that is not finite.
    """
    return from_chain([(log_ratios, weights)])


Link = tuple[Mapping[str, Mapping[str, Sequence[float]]], Mapping[str, float] | None]
"""One ratio of a chain: ``log_ratios[block][gpu]``, and how much each block counts (None: alike, 1 in all)."""


def from_chain(links: Sequence[Link]) -> Estimate:
    """Ratios that multiply, such as multi / separate and separate / full, each averaged over its blocks.

    With one GPU their visits are independent, and `combine` adds them up. With several, the same GPUs are in all of
    them: the links are added GPU by GPU and a t interval is taken over the GPUs that served every link. Where fewer
    than two did, or too few visits crossed, there is no interval (df 0).

    Raises ValueError like `from_blocks`.
    """
    kept = [_weighted(*link) for link in links]
    if not kept:
        raise ValueError("a chain needs at least one link")
    served = [{device for by_device in blocks.values() for device in by_device} for blocks, _ in kept]
    if len(set.union(*served)) < 2:
        parts = [
            (from_visits(next(iter(v.values()))), weights[name])
            for blocks, weights in kept
            for name, v in blocks.items()
        ]
        return combine([part for part, _ in parts], [weight for _, weight in parts])
    n, strata = 0, 0
    per_device: list[dict[str, float]] = []
    of_visits = 0.0
    means = []
    for blocks, weights in kept:
        fitted = _DeviceFit.of(blocks, weights)
        n, strata = n + fitted.n, strata + len(blocks)
        means.append(fitted.mean)
        per_device.append(fitted.per_device)
        of_visits += fitted.variance
    common = sorted(set.intersection(*(set(values) for values in per_device)))
    if len(common) < 2:
        return Estimate(math.fsum(means), math.inf, 0, n, strata, len(set.union(*served)))
    answer = from_visits([math.fsum(values[device] for values in per_device) for device in common])
    floor = math.sqrt(max(0.0, answer.standard_error**2 - of_visits))
    return Estimate(answer.log_ratio, answer.standard_error, answer.df, n, strata, len(common), floor)


def device_ratios(log_ratios: Mapping[str, Mapping[str, Sequence[float]]]) -> list[float]:
    """What a permutation test may flip: a log ratio for each visit, or with several GPUs one for each GPU.

    Empty where too few visits crossed for GPUs to be told from blocks. Raises ValueError like `from_blocks`.
    """
    blocks, weights = _weighted(log_ratios, None)
    if len({device for by_device in blocks.values() for device in by_device}) < 2:
        return [value for by_device in blocks.values() for values in by_device.values() for value in values]
    return list(_DeviceFit.of(blocks, weights).per_device.values())


def _weighted(
    log_ratios: Mapping[str, Mapping[str, Sequence[float]]], weights: Mapping[str, float] | None
) -> tuple[dict[str, Mapping[str, Sequence[float]]], dict[str, float]]:
    blocks = {name: by_device for name, by_device in log_ratios.items() if by_device}
    if not blocks:
        raise ValueError("need at least one block with visits")
    return blocks, dict(weights) if weights is not None else dict.fromkeys(blocks, 1 / len(blocks))


class _DeviceFit(NamedTuple):
    """Block and GPU effects, fitted side by side.

    ``per_device``: the weighted average over blocks on each GPU; empty where the two cannot be told apart.
    ``variance``: the part of the mean's variance that comes from visits. ``mean``: without regard to GPUs.
    """

    per_device: dict[str, float]
    variance: float
    mean: float
    n: int

    @classmethod
    def of(cls, blocks: Mapping[str, Mapping[str, Sequence[float]]], weights: Mapping[str, float]) -> _DeviceFit:
        devices = sorted({device for by_device in blocks.values() for device in by_device})
        share = np.array([weights[name] for name in blocks])
        visits = [
            (index, devices.index(device), value)
            for index, by_device in enumerate(blocks.values())
            for device, values in by_device.items()
            for value in finite(values)
        ]
        block, device, d = (np.array(column) for column in zip(*visits, strict=True))
        mean = float(share @ [d[block == index].mean() for index in range(len(blocks))])
        # One column for each block and, so that the two can be told apart, one for each GPU but the first.
        of_block, of_device = block[:, None] == np.arange(len(blocks)), device[:, None] == np.arange(1, len(devices))
        design = np.hstack([of_block, of_device]).astype(float)
        if np.linalg.matrix_rank(design) < design.shape[1]:
            return cls({}, 0.0, mean, d.size)
        solve = np.linalg.pinv(design)
        # Row g: the weighted block effects and the effect of GPU g, as a weighted sum of visits.
        average = np.tile(share, (len(devices), 1))
        per_device = np.hstack([average, share.sum() * np.eye(len(devices))[:, 1:]]) @ solve
        variance, residual_df = 0.0, d.size - design.shape[1]
        if residual_df:
            residual = d - design @ (solve @ d)
            variance = float(residual @ residual) / residual_df * float((per_device.mean(axis=0) ** 2).sum())
        return cls(dict(zip(devices, (per_device @ d).tolist(), strict=True)), variance, mean, d.size)


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
    rounds = bisect.bisect_left(range(_MOST_ROUNDS + 1), True, key=settled)  # what is settled stays so
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


def _mean_sd(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation, nan-free: an infinite deviation for one value, zero for equal ones."""
    mean = float(values.mean())
    if values.size == 1:
        return mean, math.inf
    if float(np.ptp(values)) <= ROUNDING:
        return (0.0 if abs(mean) <= ROUNDING else mean), 0.0
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
