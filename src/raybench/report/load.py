"""What each load did, for people: rates, latencies, and requests that kept what they must keep."""

from __future__ import annotations

import math
from typing import Any

from rich import box
from rich.table import Table

from raybench.analysis import Tables
from raybench.report.numbers import share
from raybench.report.screen import Screen, print_line


def load_tables(tables: Tables, console: Screen) -> None:
    """Of a run of servers, where requests came under a load or had limits to keep."""
    rows = tables.rows("FROM goodput")
    limits = tables.description.plan.goodput
    if not any(row["load"] is not None or row["good_share"] is not None for row in rows):
        return
    table = Table(
        title="Under load (95 % interval over visits; TTFT and TPOT in milliseconds)",
        box=box.SIMPLE,
        title_justify="left",
    )
    table.add_column("Deployment", overflow="fold")
    headers = ["requests", "requests/s", "tokens/s", "TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99"]
    for header in [*headers, *(("good", "goodput/s") if limits else ()), "late p99"]:
        table.add_column(header, justify="right", overflow="fold")
    for row in rows:
        cells = [f"{row['requests']:,}"]
        cells += [_cell(row, name, 2) for name in ("requests_per_s", "output_tokens_per_s")]
        cells += [_cell(row, f"{measure}_p{p}_ms", 2) for measure in ("ttft", "tpot") for p in (50, 99)]
        if limits:
            cells += [_share(row), _cell(row, "goodput_per_s", 2)]
        late = row["late_p99_ms"]
        table.add_row(row["deployment"], *cells, "-" if late is None else f"{late:.3f}")
    console.print(table)
    if limits:
        asked = [("TTFT", limits.ttft_ms), ("TPOT", limits.tpot_ms)]
        kept = " and ".join(f"{name} of {ms:g} ms" for name, ms in asked if ms is not None)
        print_line(console, f"Good: a request within {kept}. Goodput: good requests a second.")
    if any(row["load"] is None for row in rows):
        print_line(console, "Without rates: asked one at a time, each request after the one before.")
    cached = [row["cached_share"] for row in rows if row["cached_share"]]
    if cached:
        print_line(console, f"Out of a cache came up to {share(max(cached))} of a configuration's prompt tokens.")


def _share(row: dict[str, Any]) -> str:
    if row["good_share"] is None:
        return "-"
    ends = (
        "" if row["good_share_low"] is None else f" [{share(row['good_share_low'])}, {share(row['good_share_high'])}]"
    )
    return share(row["good_share"]) + ends


def _cell(row: dict[str, Any], name: str, digits: int) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if value is None:
        return "-"
    if low is None or (low == 0 and math.isinf(high)):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {'open' if math.isinf(high) else f'{high:.{digits}f}'}]"
