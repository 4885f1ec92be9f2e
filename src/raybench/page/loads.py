"""Of servers under load: what each carries, and how long its requests take then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raybench.analysis import Tables
from raybench.page.latencies import is_wide
from raybench.page.parts import Chart, Limits, Section, Series, cut, grid, grids
from raybench.page.values import fixed, shares, whole
from raybench.records import count
from raybench.report import label_of, share

_LOADED = "FROM goodput WHERE load IS NOT NULL"


def load_section(tables: Tables, limits: Limits) -> Section:
    """Nothing where no server was asked under a load, and where none had limits to keep."""
    title = "Servers under load"
    rows = tables.rows("FROM goodput")
    loaded = [row for row in rows if row["load"] is not None]
    if not loaded and not any(row["good_share"] is not None for row in rows):
        return Section("load", title)
    table = grid(
        "What each carried (TTFT, TPOT and lateness in milliseconds; intervals are in the query)",
        rows,
        {
            "deployment": ("deployment", str),
            "load": ("load", str),
            "requests": ("requests", whole),
            "requests_per_s": ("requests/s", fixed(2)),
            "output_tokens_per_s": ("tokens/s", fixed(1)),
            "ttft_p50_ms": ("TTFT p50", fixed(2)),
            "ttft_p99_ms": ("TTFT p99", fixed(2)),
            "tpot_p50_ms": ("TPOT p50", fixed(2)),
            "tpot_p99_ms": ("TPOT p99", fixed(2)),
            "good_share": ("good", shares),
            "goodput_per_s": ("goodput/s", fixed(2)),
            "late_p99_ms": ("late p99", fixed(3)),
        },
        "FROM goodput",
        limits,
    )
    plots = [
        chart
        for measure, name in (("ttft", "TTFT"), ("tpot", "TPOT"))
        for percent in (50, 99)
        if (chart := _against_load(loaded, measure, name, percent, limits)) is not None
    ]
    return Section("load", title, tuple(_lines(tables, rows)), tuple(plots), grids(table))


def _lines(tables: Tables, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    limits = tables.description.plan.goodput
    if limits is not None:
        asked = [("TTFT", limits.ttft_ms), ("TPOT", limits.tpot_ms)]
        kept = " and ".join(f"{name} of {ms:g} ms" for name, ms in asked if ms is not None)
        yield f"Good is a request within {kept}; goodput is good requests a second."
    alone = [row for row in rows if row["load"] is None]
    if alone:
        yield f"Of {count(len(alone), 'deployment')} requests came one at a time: without rates."
    cached = [row["cached_share"] for row in rows if row["cached_share"]]
    if cached:
        yield f"Out of a cache came up to {share(max(cached))} of a configuration's prompt tokens."


def _against_load(
    rows: Sequence[Mapping[str, Any]], measure: str, name: str, percent: int, limits: Limits
) -> Chart | None:
    """A line for each strategy, over what it served a second; None where the samples carry no such percentile."""
    column = f"{measure}_p{percent}_ms"
    of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row[column] is not None and row["requests_per_s"] is not None:
            of.setdefault(row["strategy"], []).append(row)
    if not of:
        return None
    series = []
    for strategy, own in list(of.items())[: limits.series]:
        own.sort(key=lambda row: row["requests_per_s"])
        label = cut(label_of(strategy, own), limits.characters)
        points = zip(*((row["requests_per_s"], row[column]) for row in own), strict=True)
        x, y = (tuple(values) for values in points)
        series.append(Series(label, x, y))
    told = "; ".join(
        f"{one.label} {one.y[0]:.2f} ms at {one.x[0]:.2f} requests/s, {one.y[-1]:.2f} ms at {one.x[-1]:.2f}"
        for one in series
    )
    return Chart(
        f"load-{measure}-{percent}",
        f"{name} against load, p{percent}",
        "requests served a second",
        "milliseconds",
        tuple(series),
        told,
        _LOADED,
        log_x=is_wide([value for one in series for value in one.x]),
        log_y=is_wide([value for one in series for value in one.y]),
        left_out=max(0, len(of) - limits.series),
    )
