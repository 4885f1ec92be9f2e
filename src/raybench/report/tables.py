"""What a person reads of a run: the study's table and its verdicts, all other tables, what failed, what to do next."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.table import Table

from raybench.analysis import Tables
from raybench.records import count, in_percent
from raybench.report.attribution import attribution_lines
from raybench.report.columns import columns_of
from raybench.report.failures import BRIEF, TOLD, all_of_it, failed_headline, has_failed, incomplete_lines
from raybench.report.load import load_tables
from raybench.report.numbers import percent, with_open_ends
from raybench.report.screen import Screen, print_line
from raybench.report.study import (
    MEASURES,
    fidelity_lines,
    is_too_short,
    judged_apart,
    measures_of,
    study_table,
    verdict_lines,
)
from raybench.report.terminal import run_argument, shell_command, shown_place
from raybench.report.words import explained
from raybench.store import Location

_Columns = dict[str, tuple[str, Callable[[Any], str]]]
"""Of a table: what a column is called, and how a value is shown."""

ROWS_SHOWN: Final = 500
"""Of each table at most: no one reads ten thousand in a terminal, and laying them out takes half a minute."""
_AXES: Final[dict[str, str]] = {
    "batch": "batch",
    "dtype": "data type",
    "adapter_dtype": "adapters' data type",
    "kv_cache": "cache",
    "quantization": "quantization",
    "routing": "routing",
    "execution": "execution",
    "form": "form",
    "load": "load",
}
"""Columns of ``by_axis``; how many adapters there are says a deployment's name."""
_APART: Final = "WHERE configuration NOT IN (SELECT configuration FROM adapters_resident)"
"""Where each adapter has a row of its own: of many that share a task there is a table by their number."""


def print_summary(tables: Tables, console: Screen, told: bool = False) -> None:
    """The end of a sweep: that something failed, the study's table, what it changes of the answers, the verdicts.

    ``told``: what failed was told whole when it did, so that it is named in short.
    """
    headline = failed_headline(tables.rows("FROM completeness"))
    if headline is not None:
        print_line(console, headline)
    study_table(tables, console)
    load_tables(tables, console)
    for line in fidelity_lines(tables):
        print_line(console, line)
    console.print()
    for line in verdict_lines(tables):
        print_line(console, line)
    for line in attribution_lines(tables):
        print_line(console, line)
    console.print()
    completeness_lines(tables, console, TOLD if told else BRIEF)
    print_line(console, explained("visit", "block"))


def print_everything(tables: Tables, console: Screen) -> None:
    """All tables of a run."""
    print_summary(tables, console)
    console.print()
    rows = tables.rows("FROM by_configuration")
    generates = any(row["ttft_ms"] is not None for row in rows)
    measure: _Columns = {"measure": ("measure", MEASURES.__getitem__)} if generates else {}
    verdict = _verdict_column(tables)
    _table(
        console,
        "By configuration (wall time of a request, milliseconds)",
        "FROM by_configuration",
        rows,
        {
            "configuration": ("configuration", str),
            "n": ("n", _count),
            "mean_ms": ("mean", _ms),
            "median_ms": ("median", _ms),
            "sd_ms": ("sd", _ms),
            "device_ms": ("device", _ms),
            **(_OF_A_LANGUAGE_MODEL if generates else {}),
            "requests_per_second": ("requests/s, switches in it", _one),
        },
    )
    axis_table(tables, console)
    percentile_tables(tables, console)
    if generates:
        _table(
            console,
            "Tokens a second (change: on the same requests in the same visits)",
            "FROM throughput WHERE ratio IS NOT NULL",
            [with_open_ends(row) for row in tables.rows("FROM throughput WHERE ratio IS NOT NULL")],
            columns_of(
                "throughput",
                {
                    "deployment": str,
                    "tokens_per_second": _one,
                    "reference_deployment": str,
                    "ratio": percent,
                    "low": _end,
                    "high": _end,
                },
            )
            | verdict,
        )
    _table(
        console,
        "Overhead of each configuration (wall time, same requests in the same visits)",
        "FROM overhead WHERE clock = 'wall'",
        [with_open_ends(row) for row in tables.rows("FROM overhead WHERE clock = 'wall'")],
        {
            "configuration": ("configuration", str),
            "reference_strategy": ("against", str),
            **measure,
            "visits": ("visits", _count),
            "compared_ms": ("its mean", _ms),
            "reference_ms": ("theirs", _ms),
            "via": ("by way of", str),
            "ratio": ("overhead", percent),
            "low": ("95 % from", _end),
            "high": ("to", _end),
            "p_holm": ("p (Holm)", _p),
            **verdict,
        },
    )
    for line in () if is_too_short(tables) else judged_apart(tables):
        print_line(console, f"  {line}")
    _table(
        console,
        "Significance: over visits, and the study's own test over its (task, seed) pairs",
        "FROM significance",
        tables.rows("FROM significance"),
        {
            "deployment": ("deployment", str),
            "reference_strategy": ("against", str),
            **measure,
            "visits": ("visits", _count),
            "t": ("t", _two),
            "p": ("p", _p),
            "p_holm": ("p (Holm)", _p),
            "p_permutation": ("p (permutation)", _p),
            "study_pairs": ("study's pairs", _count),
            "study_t": ("study's t", _two),
            "study_p": ("study's p", _p),
        },
    )
    _table(
        console,
        "Choosing an adapter (milliseconds)",
        f"FROM adapter_switch {_APART}",
        tables.rows(f"FROM adapter_switch {_APART}"),
        columns_of(
            "adapter_switch",
            {
                "configuration": str,
                "adapter": str,
                "n": _count,
                "mean_ms": _ms,
                "p95_ms": _ms,
                "share_of_request": lambda v: in_percent(v, ".1f"),
                "request_ms": _ms,
            },
        ),
    )
    residents_tables(tables, console)
    _table(
        console,
        "Memory (10^6 bytes) and load (milliseconds)",
        "FROM memory_and_load",
        tables.rows("FROM memory_and_load"),
        columns_of(
            "memory_and_load",
            {
                "deployment": str,
                "load_ms": _one,
                "adapter_load_ms": _one,
                "merge_ms": _one,
                "form_ms": _one,
                "compile_ms": _one,
                "weight_mb": _two,
                "adapter_mb": _two,
                "resident_mb": _one,
                "load_peak_mb": _one,
                "forward_peak_mb": _one,
            },
        ),
    )
    console.print()
    caution_lines(tables, console)


def residents_tables(tables: Tables, console: Screen) -> None:
    """What changes as more adapters of one task are resident, and what each further one costs."""
    rows = tables.rows("FROM adapters_resident")
    load: dict[str, Callable[[Any], str]] = {"load": str} if any(row["load"] is not None for row in rows) else {}
    _table(
        console,
        "As adapters become more (switch in microseconds, times in milliseconds, memory in 10^6 bytes)",
        "FROM adapters_resident",
        rows,
        columns_of(
            "adapters_resident",
            {
                "strategy": str,
                "routing": str,
                "batch": _count,
                **load,
                "resident": _count,
                "switch_us": _one,
                "mean_ms": _ms,
                "add_ms": _ms,
                "remove_ms": _ms,
                "adapter_load_ms": _one,
                "resident_mb": _one,
            },
        ),
    )
    _table(
        console,
        "Each further adapter (nanoseconds that it adds, 95 % interval over rounds)",
        "FROM adapter_growth",
        tables.rows("FROM adapter_growth"),
        columns_of(
            "adapter_growth",
            {
                "strategy": str,
                "routing": str,
                "batch": _count,
                **load,
                "measure": str,
                "least": _count,
                "most": _count,
                "least_us": _one,
                "most_us": _one,
                "ns_per_adapter": _two,
                "low": _two,
                "high": _two,
                "verdict": str,
            },
        ),
    )


def axis_table(tables: Tables, console: Screen) -> None:
    """Times and throughput along the axes of the plan: where a strategy is there at several of their values."""
    rows = [with_open_ends(row) for row in tables.rows("FROM by_axis")]
    by_strategy: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_strategy.setdefault(row["strategy"], []).append(row)
    varying = [axis for axis in _AXES if any(len({row[axis] for row in of}) > 1 for of in by_strategy.values())]
    if not varying:
        return
    measures = measures_of(row["measure"] for row in rows)
    _table(
        console,
        f"By {', '.join(_AXES[axis] for axis in varying)} (wall time, milliseconds)",
        "FROM by_axis",
        rows,
        {
            "strategy": ("strategy", str),
            **{axis: (_AXES[axis], str) for axis in varying},
            **({"measure": ("measure", MEASURES.__getitem__)} if len(measures) > 1 else {}),
            "mean_ms": ("mean", _ms),
            **(
                {"tokens_per_second": ("tokens/s", _one)}
                if len(measures) > 1
                else {"prompts_per_second": ("prompts/s", _one)}
            ),
            "reference_strategy": ("against", str),
            "ratio": ("overhead", percent),
            "low": ("95 % from", _end),
            "high": ("to", _end),
            **_verdict_column(tables),
        },
    )


def percentile_tables(tables: Tables, console: Screen) -> None:
    """Percentiles with their intervals over visits, by measure; those that the samples cannot carry are named below."""
    rows = tables.rows("FROM percentiles")
    measures = measures_of(row["measure"] for row in rows)
    for measure in measures:
        of = f" of {MEASURES[measure]}" if len(measures) > 1 else ""
        digits = 2 if measure == "end_to_end" else 3
        _percentile_table(f"Percentiles{of}", [row for row in rows if row["measure"] == measure], digits, console)
    if any(row["refused"] is None for row in rows):
        for reason in _refusals(rows):
            print_line(console, f"  Not shown: {reason}.")


def _refusals(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Why percentiles are not shown, each once: how many samples there are may differ by measure and configuration."""
    found: dict[str, list[int]] = {}
    for row in rows:
        if row["refused"]:
            found.setdefault(row["refused"].rpartition(", there are ")[0], []).append(row["n"])
    return [
        f"{needs}, there are {least:,}" + (f" to {most:,}" if most > least else "")
        for needs, least, most in sorted((needs, min(of), max(of)) for needs, of in found.items())
    ]


def _percentile_table(title: str, rows: Sequence[dict[str, Any]], digits: int, console: Screen) -> None:
    percents = sorted({row["percentile"] for row in rows if row["refused"] is None})
    if not percents:
        return
    table = Table(title=f"{title} (milliseconds, 95 % interval over visits)", box=box.SIMPLE, title_justify="left")
    table.add_column("configuration", overflow="fold")
    for percent_ in percents:
        table.add_column(f"p{percent_:g}", justify="right", overflow="fold")
    cells: dict[str, dict[float, str]] = {}
    for row in rows:
        shown = cells.setdefault(row["configuration"], {})
        if row["refused"] is None:
            value, low, high = (f"{row[column]:.{digits}f}" for column in ("ms", "low_ms", "high_ms"))
            shown[row["percentile"]] = f"{value} [{low}, {'open' if math.isinf(row['high_ms']) else high}]"
    for configuration in list(cells)[:ROWS_SHOWN]:
        table.add_row(configuration, *(cells[configuration].get(p, "-") for p in percents))
    console.print(table)
    _rest_line(len(cells), "FROM percentiles", console)


def caution_lines(tables: Tables, console: Screen) -> None:
    """What a reader should know of how the run was measured: each finding once, with whom it concerns."""
    rows = tables.rows("FROM cautions")
    by_hint: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_hint.setdefault((row["code"], row["hint"]), []).append(row)
    for (code, hint), found in by_hint.items():
        of_run = found[0]["configuration"] is None
        where = "the run" if of_run else count(len(found), "configuration")
        print_line(console, f"Caution, {code} in {where}. {hint[0].upper()}{hint[1:]}.")
        for row in found[:3]:
            print_line(console, f"  {row['message']}" if of_run else f"  {row['configuration']}: {row['message']}")
        if len(found) > 3:
            print_line(console, f"  and {len(found) - 3} more: FROM cautions WHERE code = '{code}'")


def completeness_lines(tables: Tables, console: Screen, most: int = BRIEF) -> bool:
    """How many configurations are complete, and why the others are not, in ``most`` characters. True if all are."""
    rows = tables.rows("FROM completeness")
    complete = sum(row["complete"] for row in rows)
    print_line(console, f"{complete:,} of {count(len(rows), 'configuration')} complete.")
    incomplete = [row for row in rows if not row["complete"]]
    lines = incomplete_lines(incomplete, most)
    for line in lines[:ROWS_SHOWN]:
        print_line(console, f"  {line}")
    _rest_line(len(lines), "FROM completeness WHERE NOT complete", console)
    if any(map(has_failed, incomplete)):
        print_line(console, f"  {all_of_it(shown_place(tables.root))}")
    return bool(complete == len(rows))


def print_next_commands(root: Location, console: Screen) -> None:
    """Where the results are and what to do with them."""
    shown = shown_place(root)
    run = shell_command([run_argument(shown)])
    print_line(console, f"Results: {shown}")
    print_line(console, f"  raybench tables {run}        all tables again, from the raw samples")
    print_line(console, f'  raybench sql {run} "FROM by_configuration"')
    if isinstance(root, Path):
        print_line(console, f"  cd {run} && duckdb -init views.sql        the same views, without raybench")
    else:
        print_line(console, f"  SET VARIABLE raybench_run = '{root}';        then {root}/views.sql in any DuckDB")


def _verdict_column(tables: Tables) -> _Columns:
    """None of a run that is too short for verdicts."""
    return {} if is_too_short(tables) else {"verdict": ("verdict", str)}


def _table(
    console: Screen,
    title: str,
    query: str,
    rows: Sequence[dict[str, Any]],
    columns: _Columns,
) -> None:
    """``query``: SQL that gives ``rows``, for whoever wants those that are not shown."""
    if not rows:
        return
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for key, (header, _) in columns.items():
        table.add_column(header, justify="left" if isinstance(rows[0][key], str) else "right", overflow="fold")
    for row in rows[:ROWS_SHOWN]:
        table.add_row(*("-" if row[key] is None else show(row[key]) for key, (_, show) in columns.items()))
    console.print(table)
    _rest_line(len(rows), query, console)


def _rest_line(count: int, query: str, console: Screen) -> None:
    if count > ROWS_SHOWN:
        print_line(console, f"  and {count - ROWS_SHOWN:,} more: {query}")


def _end(ratio: float) -> str:
    """An end of an interval; that of one visit says nothing."""
    return "open" if ratio == 0 or math.isinf(ratio) else percent(ratio)


def _count(value: int) -> str:
    return f"{value:,}"


def _ms(value: float) -> str:
    return f"{value:.3f}"


def _one(value: float) -> str:
    return f"{value:.1f}"


def _two(value: float) -> str:
    return f"{value:.2f}"


_OF_A_LANGUAGE_MODEL: Final[_Columns] = {
    "ttft_ms": ("TTFT", _ms),
    "tpot_ms": ("TPOT", _ms),
    "tokens_per_second": ("tokens/s", _one),
}


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
