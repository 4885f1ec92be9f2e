"""What a server carries under a load, over visits: rates, latencies, and requests that kept what they must keep."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from raybench.analysis.distributions import t_ppf
from raybench.analysis.percentiles import over_devices
from raybench.analysis.stats import ALPHA, combine, from_visits
from raybench.store import PlanOfRun

RATES: Final = ("requests_per_s", "output_tokens_per_s")
_PERCENTS: Final = (50.0, 99.0)

Visit = Mapping[str, Any]
"""A row of the view raybench_load_visits."""


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
    if first["load"] is not None:
        for rate in RATES:
            row |= _level(rate, visits, [v[rate] for v in visits])
    for measure in ("ttft_ms", "tpot_ms"):
        row |= _percentiles(measure, visits)
    if limits != Limits():
        shares = [good_share(v, limits) for v in visits]
        row |= _level("good_share", visits, shares)
        if first["load"] is not None:
            good = [share * v["requests_per_s"] for share, v in zip(shares, visits, strict=True)]
            row |= _level("goodput_per_s", visits, good)
    late = [ms for v in visits for ms in v["late_ms"] or ()]
    told = [v for v in visits if v["prompt_tokens"]]
    return row | {
        "late_p99_ms": float(np.quantile(late, 0.99)) if late else None,
        "cached_share": sum(v["cached_tokens"] for v in told) / sum(v["prompt_tokens"] for v in told) if told else None,
    }


def _level(name: str, visits: Sequence[Visit], values: Sequence[float]) -> dict[str, float | None]:
    """A rate or a share, neither of which lies below 0, nor a share above 1."""
    by_configuration: dict[str, list[float]] = {}
    for visit, value in zip(visits, values, strict=True):
        by_configuration.setdefault(visit["configuration"], []).append(value)
    mean, low, high = over_visits(list(by_configuration.values()))
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
