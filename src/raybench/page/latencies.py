"""How latencies are distributed, how they grow with the length of a request, and their percentiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from raybench.analysis import Tables, shipped_sql
from raybench.page.parts import Chart, Columns, Grid, Limits, Series, cut, grid, grids
from raybench.page.queries import text_of
from raybench.page.values import end_ms, fixed, whole
from raybench.report import MEASURES

_SHOWN: Final = 100
"""Quantiles from the smallest to that of 99 %: where the slowest of all lies is chance."""
_WIDE: Final = 8.0
"""Where the largest number is that many times the smallest, an axis is logarithmic."""


def distribution(rows: Sequence[Mapping[str, Any]], measure: str, limits: Limits) -> Chart | None:
    """The share of requests answered within a time, by deployment. ``rows``: of `page_quantiles.sql`."""
    own = [row for row in rows if row["measure"] == measure]
    if not own:
        return None
    up_to = tuple(percent / 100 for percent in range(_SHOWN))
    series = [Series(cut(row["deployment"], limits.characters), tuple(row["ms"][:_SHOWN]), up_to) for row in own]
    told = "; ".join(f"half of {one.label} within {one.x[50]:.3f} ms" for one in series[: limits.series])
    return Chart(
        f"distribution-{measure}",
        f"Share of requests within a time, {MEASURES[measure]}, up to 99 %",
        "milliseconds",
        "share",
        tuple(series[: limits.series]),
        told,
        text_of("page_quantiles"),
        steps=True,
        log_x=is_wide([x for one in series[: limits.series] for x in one.x]),
        left_out=max(0, len(series) - limits.series),
    )


def by_length(tables: Tables, limits: Limits) -> tuple[Chart | None, str | None]:
    """Latency against tokens; where all requests are as long, none and why."""
    rows = tables.rows(shipped_sql("page_lengths"))
    if len({row["tokens"] for row in rows}) < 2:
        only = f"every request has {rows[0]['tokens']:g} tokens" if rows else "nothing was timed"
        return None, f"Latency against tokens: {only}."
    of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of.setdefault(row["deployment"], []).append(row)
    series = [
        Series(
            cut(name, limits.characters),
            tuple(row["tokens"] for row in own),
            tuple(row["median_ms"] for row in own),
        )
        for name, own in list(of.items())[: limits.series]
    ]
    told = "; ".join(
        f"{one.label} from {one.y[0]:.3f} ms at {one.x[0]:.0f} tokens to {one.y[-1]:.3f} ms at {one.x[-1]:.0f}"
        for one in series
    )
    chart = Chart(
        "length",
        "Latency against tokens of the request: median of each twentieth of the span",
        "tokens",
        "milliseconds",
        tuple(series),
        told,
        text_of("page_lengths"),
        left_out=max(0, len(of) - limits.series),
    )
    return chart, None


def percentile_grids(tables: Tables, limits: Limits) -> tuple[Grid, ...]:
    """Percentiles with their intervals over visits, where the samples carry them."""
    query = "FROM percentiles WHERE refused IS NULL"
    rows = tables.rows(query)
    several = len({row["measure"] for row in rows}) > 1
    columns: Columns = {
        "configuration": ("configuration", str),
        **({"measure": ("measure", MEASURES.__getitem__)} if several else {}),
        "percentile": ("percentile", lambda value: f"p{value:g}"),
        "ms": ("ms", fixed(3)),
        "low_ms": ("95 % from", end_ms),
        "high_ms": ("to", end_ms),
        "n": ("n", whole),
        "visits": ("visits", whole),
    }
    return grids(grid("Percentiles (milliseconds, 95 % interval over visits)", rows, columns, query, limits))


def is_wide(values: Sequence[float]) -> bool:
    """Whether an axis of these is to be logarithmic."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > _WIDE
