"""Of a language model: the times between its tokens, each by itself. A request's mean does not show one that stalls."""

from __future__ import annotations

from raybench.analysis import Tables, shipped_sql
from raybench.page.latencies import is_wide
from raybench.page.parts import Chart, Grid, Limits, Series, cut, grid
from raybench.page.queries import text_of
from raybench.page.values import fixed, whole

_TOGETHER_MS = 0.001
"""Tokens that a server sent together are a nanosecond apart, which would leave the plot to them: it begins here."""
_SHOWN = 100
"""Quantiles from the smallest to that of 99 %, as in the other plots of shares."""


def token_gaps(tables: Tables, limits: Limits) -> tuple[Chart | None, Grid | None]:
    """Their share within a time, by deployment, and the tail of it; nothing where no answer has a second token."""
    rows = tables.rows(shipped_sql("page_gaps"))
    if not rows:
        return None, None
    up_to = tuple(percent / 100 for percent in range(_SHOWN))
    series = [
        Series(
            cut(row["deployment"], limits.characters), tuple(max(_TOGETHER_MS, ms) for ms in row["ms"][:_SHOWN]), up_to
        )
        for row in rows[: limits.series]
    ]
    told = "; ".join(
        f"half of those of {one.label} within {one.x[50]:.3f} ms, 99 % within {one.x[99]:.3f}" for one in series
    )
    every = rows[0]["every"]
    of = "all requests" if every == 1 else f"one request in {every:,}"
    chart = Chart(
        "gaps",
        f"Share of the times between tokens within a time, each by itself, of {of}, up to 99 %",
        "milliseconds from one token to the next",
        "share",
        tuple(series),
        told,
        text_of("page_gaps"),
        steps=True,
        log_x=is_wide([x for one in series for x in one.x]),
        left_out=max(0, len(rows) - limits.series),
    )
    shown = [row | {"p50_ms": row["ms"][50], "p99_ms": row["ms"][99], "longest_ms": row["ms"][100]} for row in rows]
    table = grid(
        "Times between tokens (milliseconds): over all visits, and p99 of the calmest and of the worst",
        shown,
        {
            "deployment": ("deployment", str),
            "n": ("n", whole),
            "visits": ("visits", whole),
            "p50_ms": ("p50", fixed(3)),
            "p99_ms": ("p99", fixed(3)),
            "p99_least_ms": ("least of a visit", fixed(3)),
            "p99_most_ms": ("most of a visit", fixed(3)),
            "p999_ms": ("p99.9", fixed(3)),
            "longest_ms": ("longest", fixed(3)),
        },
        text_of("page_gaps"),
        limits,
    )
    return chart, table
