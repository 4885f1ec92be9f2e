"""What each further resident adapter costs: slopes over how many there are, with their uncertainty over rounds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from raybench.analysis.distributions import t_ppf
from raybench.analysis.stats import ALPHA

_MEASURES: Final = ("switch", "request", "add", "remove")
_SERIES: Final = (
    ("role", "form", "execution", "routing", "batch", "load"),
    ("block", "dtype", "adapter_dtype", "quantization", "kv_cache"),
)
"""What configurations have in common that differ in how many adapters are resident: what is shown, and the rest."""


class Slope(NamedTuple):
    """A mean and its interval; None where one value says nothing of how far they differ."""

    mean: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str | None:
        """Whether it is above 0, below, or neither."""
        if self.low is None or self.high is None:
            return None
        return "grows" if self.low > 0 else "shrinks" if self.high < 0 else "flat"


def growth_rows(rounds: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each series of configurations and measure. ``rounds``: of the view raybench_resident_rounds."""
    series: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rounds:
        series[tuple(row[key] for part in _SERIES for key in part)].append(row)
    for key, rows in series.items():
        for measure in _MEASURES:
            points = _points(rows, measure)
            if not points:
                continue
            numbers = sorted(points[0])
            slope = over_rounds([_slope(of_round) for of_round in points])
            ends = [statistics.median(of_round[number] for of_round in points) / 1e3 for number in numbers]
            yield {
                "strategy": key[0],
                **dict(zip(_SERIES[0][1:], key[1:], strict=False)),
                "measure": measure,
                "rounds": len(points),
                "least": numbers[0],
                "most": numbers[-1],
                "least_us": ends[0],
                "most_us": ends[-1],
                "ns_per_adapter": slope.mean,
                "low": slope.low,
                "high": slope.high,
                "verdict": slope.verdict,
            }


def over_rounds(slopes: Sequence[float]) -> Slope:
    """The mean of slopes, one of each round, and its 95 % interval by Student's t."""
    mean, count = statistics.fmean(slopes), len(slopes)
    if count < 2:
        return Slope(mean, None, None)
    reach = t_ppf(1 - ALPHA / 2, count - 1) * statistics.stdev(slopes) / count**0.5
    return Slope(mean, mean - reach, mean + reach)


def _points(rows: Sequence[Mapping[str, Any]], measure: str) -> list[dict[int, float]]:
    """Of each round in which all configurations were measured, by the number of resident adapters, nanoseconds."""
    by_round: dict[int, dict[int, float]] = defaultdict(dict)
    for row in rows:
        if row[measure] is not None:
            by_round[row["round"]][row["resident"]] = row[measure]
    whole = {number for points in by_round.values() for number in points}
    return [points for points in by_round.values() if len(points) == len(whole) > 1]


def _slope(points: Mapping[int, float]) -> float:
    """Of a line through them, by least squares."""
    x, y = np.array(list(points), dtype=float), np.array(list(points.values()))
    x -= x.mean()
    y -= y.mean()
    return float((x * y).sum() / (x * x).sum())
