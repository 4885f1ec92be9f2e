"""What the order of a run's visits shows: a slow first visit, a step, a drift.

Nothing is dropped on the strength of what is found; each finding becomes a `Caution`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raybench.analysis.diagnostics import Caution, Visit
from raybench.analysis.distributions import t_sf
from raybench.analysis.stats import ROUNDING
from raybench.records import in_percent

_FEWEST_VISITS: Final = 6
"""Below this no order of visits is rare enough to be called a drift: 2 of 5! orders are monotone, 1.7 %."""

_ORDERS: Final = 9_999
_MOST_DRAWN: Final = 30_000_000
"""Levels drawn for the random orders of one run: longer ones get fewer orders, 999 at least."""
_DRAWN_AT_ONCE: Final = 1_000_000


class Level(NamedTuple):
    """How slow a visit was: the mean log latency of what it measured, each less its own average on that GPU.

    ``stratum``: the same number for visits that measured the same configurations on the same GPU. Only those can
    change places with each other: their levels are about an average of their own, so that of two one mirrors the other.
    """

    visit: str
    log: float
    stratum: int = 0


class ChangePoint(NamedTuple):
    """The most likely step: visits from ``start`` on are ``ratio`` times those before; p of a step that large.

    ``explained``: the share of the variance within strata.
    """

    start: int
    ratio: float
    p: float
    explained: float = 0.0


class Drift(NamedTuple):
    """A steady trend over visits: each is ``ratio`` times the one before; p of a trend that steady.

    ``explained``: the share of the variance within strata.
    """

    ratio: float
    p: float
    explained: float = 0.0


class FirstVisit(NamedTuple):
    """The first visit is ``ratio`` times the others; p of one visit being that far off."""

    ratio: float
    p: float


def change_point(levels: Sequence[float], strata: Sequence[int] | None = None, seed: int = 0) -> ChangePoint | None:
    """The likeliest step in a series of visits' log latencies, with a permutation p; None below six visits.

    Strata and a step are fitted side by side (``strata``: a number for each visit; None: all alike). The step that
    explains most (the CUSUM statistic, where there is one stratum) is set against its distribution under random
    orders of the same visits, those of a stratum among themselves. ``seed`` draws 9,999 of them, 999 where visits are
    very many. A penalised search for any number of steps has no error rate for series this short.
    """
    x, of = _within(levels, strata)
    if x.size < _FEWEST_VISITS:
        return None
    spread = _step_spread(of)
    if float(np.ptp(x)) <= ROUNDING or not spread.any():
        return ChangePoint(0, 1.0, 1.0)

    def largest(series: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (np.abs(_after(series)) * scale).max(axis=-1)
        return found

    scale = np.divide(1.0, np.sqrt(spread), out=np.zeros_like(spread), where=spread > ROUNDING)
    before = int(np.argmax(np.abs(_after(x)) * scale))
    step = float(_after(x)[before] / spread[before])
    p = _permutation_p(x, of, largest, seed)
    return ChangePoint(before + 1, math.exp(step), p, step**2 * float(spread[before] / (x @ x)))


def drift(levels: Sequence[float], strata: Sequence[int] | None = None, seed: int = 0) -> Drift | None:
    """A trend in a series of visits' log latencies; None below six visits.

    The slope is that of a least squares fit of strata and a line side by side; its p that of the correlation of ranks
    with the order (Spearman's, where there is one stratum), which one odd visit does not move, against the same
    random orders as in `change_point`.
    """
    x, of = _within(levels, strata)
    if x.size < _FEWEST_VISITS:
        return None
    order, _ = _within(np.arange(x.size, dtype=np.float64), of)
    if float(np.ptp(x)) <= ROUNDING or not order.any():
        return Drift(1.0, 1.0)
    slope = float(x @ order / (order @ order))
    p = _permutation_p(_ranks(x), of, lambda series: np.abs(series @ order), seed)
    return Drift(math.exp(slope), p, slope**2 * float((order @ order) / (x @ x)))


def first_visit(levels: Sequence[float], strata: Sequence[int] | None = None) -> FirstVisit | None:
    """Whether the first visit's log latency is one more of the others'; None below four visits.

    The two-sample t test of one value against the rest; where the rest are equal, how likely the first place is by
    chance. With ``strata`` the ratio is to those of its own.
    """
    x = np.asarray(levels, dtype=np.float64)
    if x.size < 4:
        return None
    rest = x[1:]
    difference = float(x[0] - rest.mean())
    error = float(rest.std(ddof=1)) * math.sqrt(1 + 1 / rest.size)
    alike = rest if strata is None else rest[np.asarray(strata[1:]) == strata[0]]
    ratio = math.exp(float(x[0] - alike.mean()) if alike.size else difference)
    if float(np.ptp(rest)) <= ROUNDING:
        # Equal values have no spread to set it against: only that of as many places the odd one has the first.
        return FirstVisit(ratio, 1.0 if abs(difference) <= ROUNDING else 1 / x.size)
    return FirstVisit(ratio, 2 * t_sf(abs(difference) / error, rest.size - 1))


class VisitMean(NamedTuple):
    """What `visit_levels` asks of one configuration's visit; ``log_mean``: natural log of its mean latency."""

    device: str
    name: str
    started: float
    log_mean: float

    @classmethod
    def of(cls, visit: Visit) -> VisitMean:
        """Raises ValueError for latencies that are none."""
        return cls(visit.device, visit.name, visit.started, visit.log_mean)


def visit_levels(configurations: Iterable[Sequence[VisitMean]]) -> list[Level]:
    """The levels of a run's visits, in the order in which they were begun, over all that each of them measured.

    One series for the run tells a slow spell from noise where ten visits of one configuration cannot. What a
    configuration measured only once on a GPU has no average to be compared with and is left out.
    """
    residuals: dict[tuple[float, str], list[float]] = defaultdict(list)
    measured: dict[tuple[float, str], list[object]] = defaultdict(list)
    for number, visits in enumerate(configurations):
        by_device: dict[str, list[VisitMean]] = defaultdict(list)
        for visit in visits:
            by_device[visit.device].append(visit)
        for device, of_device in by_device.items():
            if len(of_device) > 1:
                average = float(np.mean([visit.log_mean for visit in of_device]))
                for visit in of_device:
                    residuals[visit.started, visit.name].append(visit.log_mean - average)
                    measured[visit.started, visit.name].append((number, device))
    strata: dict[tuple[object, ...], int] = {}
    return [
        Level(key[1], float(np.mean(found)), strata.setdefault(tuple(measured[key]), len(strata)))
        for key, found in sorted(residuals.items())
    ]


def diagnose_run(levels: Sequence[Level], *, level: float = 0.01, seed: int = 0) -> list[Caution]:
    """What the order of a run's visits (`visit_levels`) shows: a slow first visit, a step or a drift.

    ``level``: the share of sound runs in which each of the three tests may raise a false alarm. Of a step and a
    drift the one that explains more is named.
    """
    found: list[Caution] = []
    logs, strata = [one.log for one in levels], [one.stratum for one in levels]
    step = change_point(logs, strata, seed)
    # The first visit is compared with those before a step, unless it is itself what looks like one.
    until = step.start if step is not None and step.p < level and step.start > 1 else len(logs)
    first = first_visit(logs[:until], strata[:until])
    skipped = 0
    if first is not None and first.p < level:
        found.append(
            Caution(
                "first_visit",
                f"the first visit ({levels[0].visit}) was {_percent(first.ratio)} than the others (p = {first.p:.2g})",
                "add warm-up requests or let the machine warm up before the run; the visit is kept in the tables",
            )
        )
        skipped, logs, strata = 1, logs[1:], strata[1:]
        step = change_point(logs, strata, seed)
    trend = drift(logs, strata, seed)
    is_step, is_trend = step is not None and step.p < level, trend is not None and trend.p < level
    if step is not None and trend is not None and is_step and is_trend:
        is_step = step.explained > trend.explained
    if step is not None and is_step:
        found.append(
            Caution(
                "change_point",
                f"visits from {levels[step.start + skipped].visit} on (number {step.start + skipped + 1}) were "
                f"{_percent(step.ratio)} than those before (p = {step.p:.2g})",
                "look for what started or ended then (clocks, temperature, neighbours); comparisons within visits "
                "allow for it, absolute latencies mix both states",
            )
        )
    elif trend is not None and is_trend:
        found.append(
            Caution(
                "drift",
                f"from visit to visit latencies went {_percent(trend.ratio, 3)} (p = {trend.p:.2g})",
                "warm the machine up for longer or lock its clocks; comparisons within visits allow for it",
            )
        )
    return found


def _within(values: ArrayLike, strata: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """``values`` less the average of their stratum, and the strata, numbered."""
    x = np.asarray(values, dtype=np.float64)
    of: NDArray[np.intp] = np.zeros(x.size, dtype=np.intp)
    if strata is not None:
        of = np.unique(np.asarray(strata), return_inverse=True)[1]
    return x - (np.bincount(of, x) / np.bincount(of))[of], of


def _after(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of all after each visit but the last, along the last axis, of series whose sum is zero."""
    sums: NDArray[np.float64] = -np.cumsum(series, axis=-1)[..., :-1]
    return sums


def _step_spread(of: NDArray[np.intp]) -> NDArray[np.float64]:
    """The sum of squares within strata of a step of 1 after each visit but the last."""
    sizes = np.bincount(of)
    by_stratum = np.argsort(of, kind="stable")
    earlier = np.empty(of.size)  # in its own stratum
    earlier[by_stratum] = np.arange(of.size) - (np.cumsum(sizes) - sizes)[of[by_stratum]]
    # With a visits before and b after, a stratum adds a b / (a + b); one visit more before changes a and b by one.
    spread: NDArray[np.float64] = np.cumsum((sizes[of] - 2 * earlier - 1) / sizes[of])[:-1]
    return np.maximum(spread, 0.0)


def _ranks(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 1; those of equal values are their mean."""
    _, of, counts = np.unique(x, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[of]
    return ranks


def _permutation_p(
    x: NDArray[np.float64],
    of: NDArray[np.intp],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    seed: int,
) -> float:
    """How rarely random orders within the strata give a ``statistic`` (along the last axis) as large as this one.

    scipy.stats.permutation_test knows no strata.
    """
    rng = np.random.default_rng(seed)
    places = np.argsort(of, kind="stable")
    as_large = float(statistic(x)) * (1 - ROUNDING)
    orders = min(_ORDERS, max(999, _MOST_DRAWN // x.size))
    at_once = max(1, _DRAWN_AT_ONCE // x.size)
    reached = 0
    for drawn in range(0, orders, at_once):
        keys = rng.random((min(at_once, orders - drawn), x.size))
        series = np.empty_like(keys)
        # Sorted by stratum and, within one, at random.
        series[:, places] = x[np.argsort(of + keys, axis=-1)]
        reached += int(np.count_nonzero(statistic(series) >= as_large))
    return (1 + reached) / (1 + orders)


def _percent(ratio: float, digits: int = 1) -> str:
    return f"{in_percent(abs(ratio - 1), f'.{digits}f')} {'slower' if ratio > 1 else 'faster'}"
