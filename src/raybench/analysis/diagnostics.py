"""What a configuration's own numbers say about how it was measured: dependence, levels of variance, outliers.

Every finding that a person should act on is a `Caution`, a value with a hint, never a printed line. Latencies come
in any one unit, visits in the order in which they were taken. Nothing is dropped on the strength of what is found.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raybench.analysis.distributions import binomial_sf
from raybench.analysis.stats import ROUNDING
from raybench.records import in_percent

Code = Literal[
    "autocorrelated",
    "first_visit",
    "change_point",
    "drift",
    "visits_differ",
    "gpus_differ",
    "outliers",
    "no_spread",
    "stolen_time",
    "busy_machine",
    "cpu_quota",
    "swapping",
    "gpu_throttled",
    "gpu_clocks",
    "gpu_shared",
    "machine_changed",
    "running_server",
    "other_versions",
    "never_idle",
    "caching_unknown",
    "not_held",
    "other_prompts",
    "late_client",
    "at_once",
    "together",
    "random_weights",
    "unused_adapter",
    "weak_adapter",
    "few_requests",
    "disputed",
]

_MANY_OUTLIERS: Final = 0.05
_CHANCE: Final = 0.01
_QUARTILE: Final = 0.6744897501960817
"""Of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Caution:
    """Something about the measurement that a reader should know: what was seen, and what to do about it."""

    code: Code
    message: str
    hint: str


@dataclass(frozen=True, eq=False)
class Visit:
    """One configuration's timed latencies in one visit, in the order taken, and the GPU that served them.

    ``name`` and ``started`` (seconds, from any origin) are the visit's, the same for all that it measured.
    """

    device: str
    latencies: ArrayLike
    name: str = ""
    started: float = 0.0

    @functools.cached_property
    def logs(self) -> NDArray[np.float64]:
        """Natural logs. Raises ValueError for no latencies, or one that is not positive and finite."""
        return np.log(self._checked())

    @property
    def log_mean(self) -> float:
        """Natural log of the mean. Raises like ``logs``."""
        return float(np.log(self._checked().mean()))

    def _checked(self) -> NDArray[np.float64]:
        x = np.asarray(self.latencies, dtype=np.float64)
        if x.size == 0 or not (np.isfinite(x).all() and (x > 0).all()):
            raise ValueError("latencies must be positive, finite and at least one")
        return x


class Dependence(NamedTuple):
    """How much consecutive requests resemble each other; ``effective_samples`` independent ones tell as much."""

    lag1: float
    samples: int
    effective_samples: float


class VarianceShares(NamedTuple):
    """Shares, adding up to 1, of the variance of log latency; 0 where a level does not vary or occurs once."""

    requests: float
    visits: float
    devices: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What one configuration's visits show: the numbers, each computed once, and the cautions that they call for."""

    visits: int
    dependence: Dependence
    shares: VarianceShares
    outliers: int
    all_equal: bool

    def cautions(self) -> list[Caution]:
        """What a person should know of them; nothing where there are fewer than two samples."""
        found = [_dependence_caution(self.dependence), *_share_cautions(self.shares, self.visits)]
        found.append(_outlier_caution(self.outliers, self.dependence.samples))
        if self.all_equal:
            found.append(no_spread(f"all {self.dependence.samples:,} samples took the same time to the last digit"))
        return [caution for caution in found if caution is not None]


def diagnose(visits: Sequence[Visit]) -> Diagnosis:
    """What one configuration's visits show; `run_order.diagnose_run` looks at their order.

    Raises ValueError for no visits, or latencies that are not positive.
    """
    if not visits:
        raise ValueError("need at least one visit")
    depends = dependence(visits)
    shares = variance_shares(visits) if depends.samples > 1 else VarianceShares(0.0, 0.0, 0.0)
    logs = np.concatenate([visit.logs for visit in visits])
    all_equal = logs.size > 1 and float(np.ptp(logs)) <= ROUNDING
    return Diagnosis(len(visits), depends, shares, outliers(visits), all_equal)


def no_spread(message: str) -> Caution:
    """What is equal to the last digit was not measured finely enough, or not at all."""
    return Caution(
        "no_spread",
        message,
        "no machine is that even: the clock is too coarse for these latencies, or the run is made up; equal visits "
        "do not tell how far visits differ, so they have no interval, no p and no verdict",
    )


def dependence(visits: Sequence[Visit]) -> Dependence:
    """Autocorrelation within visits (log latency, about each visit's own mean) and the effective sample size.

    Autocovariances are averaged over visits, and summed as far as pairs of neighbouring lags stay positive:
    Geyer (1992), Statistical Science 7, 473-483. lag1 is nan for visits of one sample or without any spread.
    """
    series = [visit.logs for visit in visits]
    samples = sum(x.size for x in series)
    lags = min((x.size for x in series), default=0)
    if lags < 2:
        return Dependence(math.nan, samples, float(samples))
    covariances = np.average([_autocovariances(x, lags) for x in series], axis=0, weights=[x.size for x in series])
    if covariances[0] <= np.finfo(float).eps:
        return Dependence(math.nan, samples, float(samples))
    rho = covariances / covariances[0]
    pairs = rho[: lags // 2 * 2].reshape(-1, 2).sum(axis=1)
    positive = pairs[: int(np.argmax(pairs <= 0))] if (pairs <= 0).any() else pairs
    time = max(1.0, 2 * float(positive.sum()) - 1)
    return Dependence(float(rho[1]), samples, samples / time)


def _autocovariances(x: NDArray[np.float64], lags: int) -> NDArray[np.float64]:
    """The first ``lags`` of a series about its mean, each over all of its values (biased), by its spectrum.

    To the last digit what ``statsmodels.tsa.stattools.acovf(x, fft=True)`` gives, whose import takes a second.
    """
    size = _fast_length(2 * x.size + 1)  # padded: its end does not meet its beginning
    spectrum = np.fft.fft(x - x.mean(), size)
    found: NDArray[np.float64] = (np.fft.ifft(spectrum * np.conjugate(spectrum))[: x.size] / x.size).real[:lags]
    return found


def _fast_length(least: int) -> int:
    """The smallest product of twos, threes and fives that is at least ``least``: `scipy.fft.next_fast_len` of reals.

    The spectrum of a series of such a length is found the fastest. To import `scipy.fft` for it takes longer.
    """
    best, fives = 1 << (least - 1).bit_length(), 1
    while fives < best:
        odd = fives
        while odd < best:
            best = min(best, odd << (-(-least // odd) - 1).bit_length())
            odd *= 3
        fives *= 5
    return best


def variance_shares(visits: Sequence[Visit]) -> VarianceShares:
    """How the variance of log latency divides into requests within a visit, visits on one GPU, and GPUs.

    Nested analysis of variance, unequal sizes allowed; components that come out negative are zero (Searle, Casella
    and McCulloch 1992, Variance Components, chapter 3). With one visit on each GPU the two levels are one, and
    counted as visits. Raises ValueError for no visits or fewer than two samples in all.
    """
    series = [visit.logs for visit in visits]
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


def outliers(visits: Sequence[Visit]) -> int:
    """Samples whose log latency lies more than 3.5 robust deviations from their visit's median; never dropped.

    The robust deviation, one for all visits since a short one has none of its own, is the scaled median absolute
    deviation, or, where more than half of the samples are equal, the scaled mean absolute deviation: Iglewicz and
    Hoaglin (1993), How to Detect and Handle Outliers.

    Raises ValueError for no visits or latencies that are not positive.
    """
    series = [visit.logs for visit in visits]
    away = [np.abs(x - np.median(x)) for x in series]
    # In a visit of an odd number one sample is the median; that it is no distance from itself says nothing.
    spread = np.concatenate([np.partition(x, 0)[x.size % 2 :] for x in away])
    scale = float(np.median(spread)) / _QUARTILE if spread.size else 0.0
    scale = scale or float(np.concatenate([np.sort(x) for x in away]).mean()) * math.sqrt(math.pi / 2)
    return int(np.count_nonzero(np.concatenate(away) > 3.5 * scale)) if scale else 0


def _dependence_caution(seen: Dependence) -> Caution | None:
    # Twice the samples needed, and no chance product of few of them (nan compares false).
    if not (seen.effective_samples < seen.samples / 2 and seen.lag1 * math.sqrt(seen.samples) > 2.6):
        return None
    return Caution(
        "autocorrelated",
        f"consecutive requests resemble each other (lag-1 autocorrelation {seen.lag1:.2f}): "
        f"{seen.samples:,} samples tell as much as {seen.effective_samples:,.0f} independent ones",
        "the intervals allow for it; more rounds narrow them, more requests in a visit hardly do",
    )


def _share_cautions(shares: VarianceShares, visits: int) -> list[Caution | None]:
    if visits < 2:
        return []
    found: list[Caution | None] = []
    if shares.visits > 0.5:
        found.append(
            Caution(
                "visits_differ",
                f"{in_percent(shares.visits, '.0f')} of the variance lies between visits, "
                f"{in_percent(shares.requests, '.0f')} between requests",
                "more rounds narrow the intervals, more requests in a visit hardly do",
            )
        )
    if shares.devices > 0.5:
        found.append(
            Caution(
                "gpus_differ",
                f"{in_percent(shares.devices, '.0f')} of the variance lies between GPUs",
                "read absolute latencies GPU by GPU; more GPUs narrow the intervals, more rounds hardly do",
            )
        )
    return found


def _outlier_caution(count: int, samples: int) -> Caution | None:
    # Of few samples a share this large may be chance.
    if binomial_sf(count - 1, samples, _MANY_OUTLIERS) >= _CHANCE:
        return None
    return Caution(
        "outliers",
        f"{count:,} of {samples:,} samples are more than 3.5 robust deviations from their visit's median",
        "they are kept; compare the medians beside the means, and look for what shares the machine",
    )
