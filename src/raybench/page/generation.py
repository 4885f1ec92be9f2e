"""Of a language model: the time to the first token, and for each one after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raybench.analysis import Tables
from raybench.page.latencies import distribution
from raybench.page.parts import Limits, Plot, Section, grid, grids
from raybench.page.study import forest_of
from raybench.page.token_gaps import token_gaps
from raybench.page.values import end, fixed
from raybench.report import columns_of, percent, with_open_ends


def generation_section(tables: Tables, quantiles: Sequence[Mapping[str, Any]], limits: Limits) -> Section:
    """Nothing for a classifier. ``quantiles``: rows of `page_quantiles.sql`."""
    title = "First token, and those after it"
    if not any(row["measure"] == "ttft" for row in quantiles):
        return Section("tokens", title)
    plots: list[Plot] = [
        plot
        for measure in ("ttft", "tpot")
        for plot in (forest_of(tables, measure, limits), distribution(quantiles, measure, limits))
        if plot is not None
    ]
    gaps, gap_table = token_gaps(tables, limits)
    plots += [gaps] if gaps is not None else []
    rows = [row for row in tables.rows("FROM deployments") if row["ttft_ms"] is not None]
    means = grid(
        "Means over complete configurations (milliseconds)",
        rows,
        {
            "deployment": ("deployment", str),
            "ttft_ms": ("TTFT", fixed(3)),
            "tpot_ms": ("TPOT", fixed(3)),
            "mean_ms": ("end to end", fixed(3)),
            "tokens_per_second": ("tokens/s", fixed(1)),
        },
        "FROM deployments",
        limits,
    )
    query = "FROM throughput WHERE ratio IS NOT NULL"
    rates = grid(
        "Tokens a second, on the same requests in the same visits",
        [with_open_ends(row) for row in tables.rows(query)],
        columns_of(
            "throughput",
            {
                "deployment": str,
                "reference_deployment": str,
                "ratio": percent,
                "low": end,
                "high": end,
                "verdict": str,
            },
        ),
        query,
        limits,
    )
    line = (
        "TTFT is the time to the first token; TPOT the time per output token after it, of each request the mean of its "
        "steps, which hides one that stalls: the last plot has each step by itself."
    )
    return Section("tokens", title, (line,), tuple(plots), grids(means, gap_table, rates))
