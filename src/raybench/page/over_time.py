"""The run over time: how slow each visit was beside the others, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.analysis import Tables, shipped_sql
from raybench.page.parts import Chart, Limits, Section, Series, cut
from raybench.page.queries import text_of
from raybench.records import count
from raybench.report import duration, percent


def time_section(tables: Tables, limits: Limits) -> Section:
    """Nothing where there are no visits."""
    rows = tables.rows(shipped_sql("page_visits"))
    if not rows:
        return Section("time", "The run over time")
    (spent,) = tables.rows("FROM run_time")
    without = spent["visits"] - sum(row["visits"] for row in rows)
    nothing = f", nothing was timed in {without:,} of them" if without else ""
    lines = [
        f"{count(spent['visits'], 'visit')} on {count(spent['devices'], 'device')}{nothing}: "
        f"{duration(spent['timing_s'])} of timed turns, {duration(spent['warmup_s'])} of warm-ups, "
        f"{duration(spent['load_s'])} of loading and checking, {duration(spent['fork_s'])} of starting processes."
    ]
    drifts = tables.rows(
        "FROM cautions WHERE configuration IS NULL AND code IN ('first_visit', 'change_point', 'drift')"
    )
    lines += [f"Caution, {row['code']}: {row['message']}." for row in drifts]
    of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of.setdefault(row["device"], []).append(row)
    series = tuple(
        Series(
            cut(device, limits.characters),
            tuple(row["started_s"] / 60 for row in own),
            tuple(row["ratio"] for row in own),
        )
        for device, own in list(of.items())[: limits.series]
    )
    in_order = sorted(rows, key=lambda row: row["ratio"])
    fastest, slowest = in_order[0], in_order[-1]
    told = (
        f"visits are between {percent(fastest['ratio'])} and {percent(slowest['ratio'])} of their mean; the slowest "
        f"is visit {slowest['first'] + 1:,}"
    )
    chart = Chart(
        "visits",
        "Each visit against the mean of its like, in the order of the run",
        "minutes after the first visit began",
        "slower than the mean",
        series,
        told,
        text_of("page_visits"),
        joined=False,
        percent_y=True,
        band=(1 / (1 + tables.margin), 1 + tables.margin),
        left_out=max(0, len(of) - limits.series),
    )
    return Section("time", "The run over time", tuple(lines), (chart,))
