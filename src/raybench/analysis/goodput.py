"""What a server carries under a load, over visits: rates, latencies, and requests that kept what they must keep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from raybench.analysis.distributions import t_ppf
from raybench.analysis.percentiles import over_devices
from raybench.analysis.stats import ALPHA, combine, from_visits
from raybench.store import PlanOfRun

_RATES: Final = {"requests_per_s": "request_s", "output_tokens_per_s": "token_s"}
"""Of each rate what a visit says of it: seconds for one."""
_PERCENTS: Final = (50.0, 99.0)

Visit = Mapping[str, Any]
"""A row of the view raybench_load_visits."""
_Value = TypeVar("_Value")


class Limits(NamedTuple):
    """Milliseconds that a request must keep to count, until its first token and for each further one; None: any."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None


def limits_of(plan: PlanOfRun) -> Limits:
    """Those of a run's plan."""
    return Limits() if plan.goodput is None else Limits(plan.goodput.ttft_ms, plan.goodput.tpot_ms)


class Level(NamedTuple):
    """A mean over visits and its 95 % interval; None where nothing says how far visits differ."""

    mean: float
    low: float | None
    high: float | None


def over_visits(by_configuration: Sequence[Sequence[float]]) -> Level:
    """The mean of several configurations' means over visits, Student's t, with Satterthwaite's degrees of freedom."""
    estimates = [from_visits(values) for values in by_configuration]
    found = combine(estimates, [1 / len(estimates)] * len(estimates))
    if found.df <= 0:
        return Level(found.log_ratio, None, None)
    reach = t_ppf(1 - ALPHA / 2, found.df) * found.standard_error
    return Level(found.log_ratio, found.log_ratio - reach, found.log_ratio + reach)


def ratio_over_visits(by_configuration: Sequence[Sequence[tuple[float, float]]]) -> Level | None:
    """The mean over visits of the first of two values over that of the second, and its 95 % interval.

    Several configurations count alike. A rate is 1 over the mean of seconds for one: the mean of visits' own rates is
    above it by a share of about 1 / requests of a visit. Fieller (1954), J. R. Stat. Soc. B 16, 175-185: all ratios r
    for which the mean of ``first - r second`` cannot be told from 0, by Student's t; where the first is always 1 those
    are the ends of the interval of the second's mean, inverted. The upper end is infinite where that mean cannot be
    told from 0. None where the second's mean is not above 0.
    """
    weights = [1 / len(by_configuration)] * len(by_configuration)
    first, second = (
        sum(
            weight * float(np.mean([pair[i] for pair in of]))
            for weight, of in zip(weights, by_configuration, strict=True)
        )
        for i in (0, 1)
    )
    if not second > 0:
        return None
    ratio = first / second
    found = combine([from_visits([one - ratio * other for one, other in of]) for of in by_configuration], weights)
    if found.df <= 0:
        return Level(ratio, None, None)
    reach = t_ppf(1 - ALPHA / 2, found.df)
    within = np.array([np.cov(np.array(of).T) / len(of) for of in by_configuration])
    spread = within.sum(axis=0) * (reach * weights[0]) ** 2
    # a r^2 - 2 b r + c <= 0
    a, b, c = (float(one) for one in (second**2 - spread[1, 1], first * second - spread[0, 1], first**2 - spread[0, 0]))
    root = math.sqrt(max(0.0, b * b - a * c))
    if a > 0:
        return Level(ratio, (b - root) / a, (b + root) / a)
    ends = [(b + sign * root) / a for sign in (1, -1)] if a < 0 else [c / (2 * b)] if b else []
    return Level(ratio, max((end for end in ends if 0 < end <= ratio), default=0.0), math.inf)


def good_share(visit: Visit, limits: Limits) -> float:
    """The share of a visit's timed requests that keep the limits; one without a further token keeps that on them."""
    asked = list(zip(visit["ttft_ms"], visit["tpot_ms"], strict=True))
    kept: list[bool] = [
        (limits.ttft_ms is None or ttft <= limits.ttft_ms)
        and (limits.tpot_ms is None or tpot is None or tpot <= limits.tpot_ms)
        for ttft, tpot in asked
    ]
    return float(np.mean(kept))


def goodput_rows(visits: Sequence[Visit], limits: Limits) -> Iterator[dict[str, Any]]:
    """A row for each deployment with a complete configuration. ``visits``: in the plan's order of configurations."""
    counted = [visit for visit in visits if visit["complete"]]
    order = {deployment: place for place, deployment in enumerate(dict.fromkeys(v["deployment"] for v in counted))}
    for deployment, found in itertools.groupby(
        sorted(counted, key=lambda v: order[v["deployment"]]), key=lambda v: v["deployment"]
    ):
        yield _row(deployment, list(found), limits)


def _row(deployment: str, visits: Sequence[Visit], limits: Limits) -> dict[str, Any]:
    first = visits[0]
    row: dict[str, Any] = {"deployment": deployment}
    row |= {key: first[key] for key in ("strategy", "load", "concurrency", "rate_per_s")}
    row |= {
        "configurations": len({v["configuration"] for v in visits}),
        "visits": len(visits),
        "requests": sum(len(v["ttft_ms"]) for v in visits),
    }
    for rate, seconds in _RATES.items():
        row |= _rate(rate, [(v, 1.0, v[seconds]) for v in visits])
    for measure in ("ttft_ms", "tpot_ms"):
        row |= _percentiles(measure, visits)
    if limits != Limits():
        shares = [good_share(v, limits) for v in visits]
        row |= _level("good_share", over_visits(_by_configuration(visits, shares)))
        row |= _rate("goodput_per_s", [(v, share, v["request_s"]) for v, share in zip(visits, shares, strict=True)])
    late = [ms for v in visits for ms in v["late_ms"] or ()]
    told = [v for v in visits if v["prompt_tokens"]]
    return row | {
        "late_p99_ms": float(np.quantile(late, 0.99)) if late else None,
        "cached_share": sum(v["cached_tokens"] for v in told) / sum(v["prompt_tokens"] for v in told) if told else None,
    }


def _rate(name: str, visits: Sequence[tuple[Visit, float, float | None]]) -> dict[str, float | None]:
    """How many a second: of each visit how many of what it counts, and seconds for one; nothing without these."""
    told = [(visit, (count, seconds)) for visit, count, seconds in visits if seconds is not None]
    if not told:
        return {}
    level = ratio_over_visits(_by_configuration([visit for visit, _ in told], [pair for _, pair in told]))
    return {} if level is None else _level(name, level)


def _by_configuration(visits: Sequence[Visit], values: Sequence[_Value]) -> list[list[_Value]]:
    found: dict[str, list[_Value]] = {}
    for visit, value in zip(visits, values, strict=True):
        found.setdefault(visit["configuration"], []).append(value)
    return list(found.values())


def _level(name: str, level: Level) -> dict[str, float | None]:
    """A rate or a share, neither of which lies below 0, nor a share above 1."""
    mean, low, high = level
    low = None if low is None else max(0.0, low)
    high = min(1.0, high) if high is not None and name == "good_share" else high
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _percentiles(measure: str, visits: Sequence[Visit]) -> dict[str, float | None]:
    """Of all timed requests that have the measure; nothing where these are too few."""
    taken = [(v["device"], [ms for ms in v[measure] if ms is not None]) for v in visits]
    had = [(device, values) for device, values in taken if values]
    found: dict[str, float | None] = {}
    for one in over_devices(had, _PERCENTS) if had else ():
        if one.value is not None:
            name = measure.replace("_ms", f"_p{one.percent:g}_ms")
            found |= {name: one.value, f"{name}_low": one.interval.low, f"{name}_high": one.interval.high}
    return found
