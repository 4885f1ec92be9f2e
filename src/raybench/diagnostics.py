"""What a run's own numbers say about how it was measured: dependence, drift, first visits, outliers.

Every finding that a person should act on is a `Caution`, a value with a hint, never a printed line. Latencies come
in any one unit, visits in the order in which they were taken. Nothing is dropped on the strength of what is found.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.tsa.stattools import acovf

Code = Literal["autocorrelated", "first_visit", "change_point", "drift", "visits_differ", "gpus_differ", "outliers"]

_FEWEST_VISITS: Final = 6
"""Below this no order of visits is rare enough to be called a drift: 2 of 5! orders are monotone, 1.7 %."""

_ROUNDING: Final = 1e-12
"""Log latencies this close are equal."""

_MANY_OUTLIERS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Caution:
    """Something about the measurement that a reader should know: what was seen, and what to do about it."""

    code: Code
    message: str
    hint: str


class Visit(NamedTuple):
    """One configuration's timed latencies in one visit, in the order taken, and the GPU that served them."""

    device: str
    latencies: ArrayLike


class Dependence(NamedTuple):
    """How much consecutive requests resemble each other; ``effective_samples`` independent ones tell as much."""

    lag1: float
    samples: int
    effective_samples: float


class ChangePoint(NamedTuple):
    """The most likely step: visits from ``start`` on are ``ratio`` times those before; p of a step that large."""

    start: int
    ratio: float
    p: float


class Drift(NamedTuple):
    """A steady trend over visits: each is ``ratio`` times the one before; p of a trend that steady."""

    ratio: float
    p: float


class FirstVisit(NamedTuple):
    """The first visit is ``ratio`` times the others; p of one visit being that far off."""

    ratio: float
    p: float


class VarianceShares(NamedTuple):
    """Shares, adding up to 1, of the variance of log latency; 0 where a level does not vary or occurs once."""

    requests: float
    visits: float
    devices: float


def dependence(visits: Sequence[ArrayLike]) -> Dependence:
    """Autocorrelation within visits (log latency, about each visit's own mean) and the effective sample size.

    Autocovariances are averaged over visits, and summed as far as pairs of neighbouring lags stay positive:
    Geyer (1992), Statistical Science 7, 473-483. lag1 is nan for visits of one sample or without any spread.
    """
    series = [_logs(visit) for visit in visits]
    samples = sum(x.size for x in series)
    lags = min((x.size for x in series), default=0)
    if lags < 2:
        return Dependence(math.nan, samples, float(samples))
    covariances = np.average([acovf(x, fft=True)[:lags] for x in series], axis=0, weights=[x.size for x in series])
    if covariances[0] <= np.finfo(float).eps:
        return Dependence(math.nan, samples, float(samples))
    rho = covariances / covariances[0]
    pairs = rho[: lags // 2 * 2].reshape(-1, 2).sum(axis=1)
    positive = pairs[: int(np.argmax(pairs <= 0))] if (pairs <= 0).any() else pairs
    time = max(1.0, 2 * float(positive.sum()) - 1)
    return Dependence(float(rho[1]), samples, samples / time)


def change_point(levels: Sequence[float], seed: int = 0) -> ChangePoint | None:
    """The likeliest step in a series of visits' log latencies, with a permutation p; None below six visits.

    The largest standardised difference between the visits before and after (the CUSUM statistic), against its
    distribution under random orders of the same visits. ``seed`` draws 9,999 of them (all, where they are fewer).
    A penalised search for any number of steps has no error rate for series this short.
    """
    x = np.asarray(levels, dtype=np.float64)
    if x.size < _FEWEST_VISITS:
        return None
    if float(np.ptp(x)) <= _ROUNDING:
        return ChangePoint(0, 1.0, 1.0)
    result = stats.permutation_test(
        (x,),
        lambda series, axis: _steps(series, axis).max(axis=-1),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=9_999,
        alternative="greater",
        random_state=np.random.default_rng(seed),
    )
    start = int(np.argmax(_steps(x, 0))) + 1
    return ChangePoint(start, math.exp(x[start:].mean() - x[:start].mean()), float(result.pvalue))


def drift(levels: Sequence[float]) -> Drift | None:
    """A trend in a series of visits' log latencies; None below six visits.

    Kendall's tau against the order (the Mann-Kendall test) and Theil and Sen's slope: one odd visit moves neither.
    """
    x = np.asarray(levels, dtype=np.float64)
    if x.size < _FEWEST_VISITS:
        return None
    order = np.arange(x.size)
    p = float(stats.kendalltau(order, x).pvalue)
    return Drift(math.exp(stats.theilslopes(x, order).slope), 1.0 if math.isnan(p) else p)


def first_visit(levels: Sequence[float]) -> FirstVisit | None:
    """Whether the first visit's log latency is one more of the others'; None below four visits.

    The two-sample t test of one value against the rest.
    """
    x = np.asarray(levels, dtype=np.float64)
    if x.size < 4:
        return None
    rest = x[1:]
    difference = float(x[0] - rest.mean())
    error = float(rest.std(ddof=1)) * math.sqrt(1 + 1 / rest.size)
    if float(np.ptp(rest)) <= _ROUNDING:
        return FirstVisit(math.exp(difference), 1.0 if abs(difference) <= _ROUNDING else 0.0)
    return FirstVisit(math.exp(difference), float(2 * stats.t.sf(abs(difference) / error, rest.size - 1)))


def variance_shares(visits: Sequence[Visit]) -> VarianceShares:
    """How the variance of log latency divides into requests within a visit, visits on one GPU, and GPUs.

    Nested analysis of variance, unequal sizes allowed; components that come out negative are zero (Searle, Casella
    and McCulloch 1992, Variance Components, chapter 3). With one visit on each GPU the two levels are one, and
    counted as visits. Raises ValueError for no visits or fewer than two samples in all.
    """
    series = [_logs(visit.latencies) for visit in visits]
    n = sum(x.size for x in series)
    if n < 2:
        raise ValueError("need at least two samples")
    served = Counter(visit.device for visit in visits)
    device_of = np.array([visit.device for visit in visits])
    sizes, means = np.array([x.size for x in series]), np.array([x.mean() for x in series])
    groups = [device_of == device for device in served]
    if max(served.values()) == 1:
        groups = [np.ones(len(visits), dtype=bool)]
    device_sizes = np.array([sizes[group].sum() for group in groups])
    device_means = np.array([np.average(means[group], weights=sizes[group]) for group in groups])
    grand = float(np.average(device_means, weights=device_sizes))

    within_df, visits_df, devices_df = n - len(visits), len(visits) - len(groups), len(groups) - 1
    within_ss = math.fsum(float(((x - x.mean()) ** 2).sum()) for x in series)
    visits_ss = math.fsum(
        float(sizes[group] @ (means[group] - mean) ** 2) for group, mean in zip(groups, device_means, strict=True)
    )
    devices_ss = float(device_sizes @ (device_means - grand) ** 2)
    # Expected mean squares of the unbalanced nested design: how often each component enters each of them.
    squares = [float((sizes[group] ** 2).sum()) for group in groups]
    inner = math.fsum(s / size for s, size in zip(squares, device_sizes, strict=True))
    requests = within_ss / within_df if within_df else 0.0
    between_visits = 0.0
    if visits_df:
        between_visits = max(0.0, (visits_ss / visits_df - requests) / ((n - inner) / visits_df))
    between_devices = 0.0
    if devices_df:
        by_visits = (inner - sum(squares) / n) / devices_df
        by_devices = (n - float((device_sizes**2).sum()) / n) / devices_df
        between_devices = max(0.0, (devices_ss / devices_df - requests - by_visits * between_visits) / by_devices)
    total = requests + between_visits + between_devices
    if total <= 0:
        return VarianceShares(0.0, 0.0, 0.0)
    return VarianceShares(requests / total, between_visits / total, between_devices / total)


def outliers(latencies: ArrayLike) -> int:
    """Samples whose log latency lies more than 3.5 robust deviations from the median; counted, never dropped.

    The robust deviation is the scaled median absolute deviation, or, where more than half of the samples are equal,
    the scaled mean absolute deviation: Iglewicz and Hoaglin (1993), How to Detect and Handle Outliers.
    """
    x = _logs(latencies)
    away = np.abs(x - np.median(x))
    scale = float(stats.median_abs_deviation(x, scale="normal")) or float(away.mean()) * math.sqrt(math.pi / 2)
    return int(np.count_nonzero(away > 3.5 * scale)) if scale else 0


def diagnose(visits: Sequence[Visit], *, level: float = 0.01, seed: int = 0) -> list[Caution]:
    """Every caution that one configuration's visits, in the order taken, give rise to.

    ``level``: the share of sound runs in which a test (first visit, step or drift) may raise a false alarm;
    divide it by the number of configurations diagnosed. Of a step and a drift the one that fits better is named.
    Raises ValueError for no visits, or latencies that are not positive.
    """
    if not visits:
        raise ValueError("need at least one visit")
    found = [_dependence_caution(visits), *_order_cautions(visits, level, seed), *_share_cautions(visits)]
    found.append(_outlier_caution(visits))
    return [caution for caution in found if caution is not None]


def _dependence_caution(visits: Sequence[Visit]) -> Caution | None:
    seen = dependence([visit.latencies for visit in visits])
    # Twice the samples needed, and no chance product of few of them (nan compares false).
    if not (seen.effective_samples < seen.samples / 2 and seen.lag1 * math.sqrt(seen.samples) > 2.6):
        return None
    return Caution(
        "autocorrelated",
        f"consecutive requests resemble each other (lag-1 autocorrelation {seen.lag1:.2f}): "
        f"{seen.samples:,} samples tell as much as {seen.effective_samples:,.0f} independent ones",
        "the intervals allow for it; more rounds narrow them, more requests in a visit hardly do",
    )


def _order_cautions(visits: Sequence[Visit], level: float, seed: int) -> list[Caution | None]:
    found: list[Caution | None] = []
    levels = _levels(visits)
    first = first_visit(levels)
    skipped = 0
    if first is not None and first.p < level:
        found.append(
            Caution(
                "first_visit",
                f"the first visit was {_percent(first.ratio)} than the others (p = {first.p:.2g})",
                "add warm-up requests or let the machine warm up before the run; the visit is kept in the tables",
            )
        )
        skipped, levels = 1, levels[1:]
    step, trend = change_point(levels, seed), drift(levels)
    is_step, is_trend = step is not None and step.p < level, trend is not None and trend.p < level
    if is_step and is_trend:
        is_step = _is_rather_a_step(levels)
    if step is not None and is_step:
        found.append(
            Caution(
                "change_point",
                f"visits from number {step.start + skipped + 1} on were {_percent(step.ratio)} than those before "
                f"(p = {step.p:.2g})",
                "look for what started or ended then (clocks, temperature, neighbours); comparisons within visits "
                "allow for it, absolute latencies mix both states",
            )
        )
    elif trend is not None and is_trend:
        found.append(
            Caution(
                "drift",
                f"each visit was {_percent(trend.ratio)} than the one before (p = {trend.p:.2g})",
                "warm the machine up for longer or lock its clocks; comparisons within visits allow for it",
            )
        )
    return found


def _is_rather_a_step(levels: Sequence[float]) -> bool:
    """Whether a step explains more of the variance than a straight line: each looks like the other to its test."""
    x = np.asarray(levels, dtype=np.float64)
    by_step = float(_steps(x, 0).max() ** 2) / float(((x - x.mean()) ** 2).sum())
    return by_step > float(np.corrcoef(np.arange(x.size), x)[0, 1] ** 2)


def _share_cautions(visits: Sequence[Visit]) -> list[Caution | None]:
    if len(visits) < 2:
        return []
    shares = variance_shares(visits)
    found: list[Caution | None] = []
    if shares.visits > 0.5:
        found.append(
            Caution(
                "visits_differ",
                f"{shares.visits:.0%} of the variance lies between visits, {shares.requests:.0%} between requests",
                "more rounds narrow the intervals, more requests in a visit hardly do",
            )
        )
    if shares.devices > 0.5:
        found.append(
            Caution(
                "gpus_differ",
                f"{shares.devices:.0%} of the variance lies between GPUs",
                "read absolute latencies GPU by GPU; more GPUs narrow the intervals, more rounds hardly do",
            )
        )
    return found


def _outlier_caution(visits: Sequence[Visit]) -> Caution | None:
    count = sum(outliers(visit.latencies) for visit in visits)
    samples = sum(np.size(visit.latencies) for visit in visits)
    if count <= _MANY_OUTLIERS * samples:
        return None
    return Caution(
        "outliers",
        f"{count:,} of {samples:,} samples are more than 3.5 robust deviations from their visit's median",
        "they are kept; compare the medians beside the means, and look for what shares the machine",
    )


def _levels(visits: Sequence[Visit]) -> list[float]:
    """Each visit's log mean latency less its GPU's average; visits alone on their GPU say nothing and are left out.

    With one GPU nothing is subtracted that an order of visits could show.
    """
    served = Counter(visit.device for visit in visits)
    kept = [visit for visit in visits if served[visit.device] > 1]
    logs = [math.log(float(np.mean(np.asarray(visit.latencies, dtype=np.float64)))) for visit in kept]
    average = {
        device: float(np.mean([log for log, visit in zip(logs, kept, strict=True) if visit.device == device]))
        for device in served
        if served[device] > 1
    }
    return [log - average[visit.device] for log, visit in zip(logs, kept, strict=True)]


def _steps(series: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The standardised difference of means for a step before each visit but the first, along the last axis."""
    x = np.moveaxis(series, axis, -1)
    n = x.shape[-1]
    k = np.arange(1, n)
    sums: NDArray[np.float64] = np.cumsum(x - x.mean(axis=-1, keepdims=True), axis=-1)[..., :-1]
    standardised: NDArray[np.float64] = np.abs(sums) / np.sqrt(k * (n - k) / n)
    return standardised


def _percent(ratio: float) -> str:
    return f"{abs(ratio - 1):.1%} {'slower' if ratio > 1 else 'faster'}"


def _logs(latencies: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(latencies, dtype=np.float64)
    if x.size == 0 or not (np.isfinite(x).all() and (x > 0).all()):
        raise ValueError("latencies must be positive, finite and at least one")
    return np.log(x)
