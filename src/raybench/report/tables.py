"""What a person reads: the study's table for this run, verdicts in words, what failed, what to do next."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.table import Table

from raybench.analysis import Tables
from raybench.report.terminal import Screen, print_line, run_argument, shell_command
from raybench.store import Location, redact_uris

_NO_INTERVAL: Final[dict[str, str]] = {
    "one visit": "one launch",
    "equal visits": "all visits equal",
    "devices apart": "GPUs not told from blocks",
}
"""Why there is none, in few words, by the column ``unknown``."""


def print_summary(tables: Tables, console: Screen) -> None:
    """The end of a sweep: the study's table, the verdicts, and the next commands."""
    study_table(tables, console)
    console.print()
    for line in verdict_lines(tables):
        print_line(console, line)
    console.print()
    completeness_lines(tables, console)


def print_everything(tables: Tables, console: Screen) -> None:
    """All tables of a run."""
    print_summary(tables, console)
    console.print()
    _table(
        console,
        "By configuration (wall time of a request, milliseconds)",
        tables.rows("SELECT * FROM by_configuration"),
        {
            "configuration": ("configuration", str),
            "n": ("n", _count),
            "mean_ms": ("mean", _ms),
            "median_ms": ("median", _ms),
            "sd_ms": ("sd", _ms),
            "device_ms": ("device", _ms),
            "requests_per_second": ("requests/s, switches in it", _one),
        },
    )
    percentile_table(tables, console)
    _table(
        console,
        "Overhead of each configuration (wall time, same requests in the same visits)",
        tables.rows("SELECT * FROM overhead WHERE clock = 'wall'"),
        {
            "configuration": ("configuration", str),
            "reference_strategy": ("against", str),
            "visits": ("visits", _count),
            "compared_ms": ("its mean", _ms),
            "reference_ms": ("theirs", _ms),
            "via": ("by way of", str),
            "ratio": ("overhead", percent),
            "low": ("95 % from", _end),
            "high": ("to", _end),
            "p_holm": ("p (Holm)", _p),
            "verdict": ("verdict", str),
        },
    )
    _table(
        console,
        "Significance: over visits, and the study's own test over its (task, seed) pairs",
        tables.rows("SELECT * FROM significance"),
        {
            "deployment": ("deployment", str),
            "reference_strategy": ("against", str),
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
        tables.rows("SELECT * FROM adapter_switch"),
        {
            "configuration": ("configuration", str),
            "adapter": ("adapter", str),
            "n": ("n", _count),
            "mean_ms": ("mean", _ms),
            "p95_ms": ("p95", _ms),
            "share_of_request": ("mean, of a request", lambda v: f"{v:.1%}"),
            "request_ms": ("which takes", _ms),
        },
    )
    _table(
        console,
        "Memory (10^6 bytes) and load (milliseconds)",
        tables.rows("SELECT * FROM memory_and_load"),
        {
            "deployment": ("deployment", str),
            "load_ms": ("load", _one),
            "adapter_load_ms": ("adapters", _one),
            "merge_ms": ("merge", _one),
            "weight_mb": ("weights", _two),
            "adapter_mb": ("adapters", _two),
            "resident_mb": ("resident", _one),
            "load_peak_mb": ("load peak", _one),
            "forward_peak_mb": ("forward peak", _one),
        },
    )
    console.print()
    caution_lines(tables, console)


def study_table(tables: Tables, console: Screen) -> None:
    """The study's table for this run: mean latency, against full fine-tuning, against the separate adapter."""
    rows = tables.rows("SELECT * FROM by_strategy WHERE clock = 'wall'")
    references = list(dict.fromkeys(row["reference_strategy"] for row in rows))
    labels = {row["strategy"]: row["deployment"] for row in rows}
    run = tables.description
    table = Table(
        title=f"{run.plan.name} on {_devices(tables)}: {run.model.name}, {run.plan.design} design",
        box=box.SIMPLE,
        title_justify="left",
    )
    table.add_column("Configuration")
    table.add_column("n", justify="right")
    table.add_column("Mean latency of all", justify="right")
    for reference in references:
        table.add_column(f"vs {labels.get(reference, reference)} (95 % interval)", justify="right")
    by_deployment: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_deployment.setdefault(row["deployment"], {})[row["reference_strategy"]] = row
    for deployment, cells in by_deployment.items():
        first = next(iter(cells.values()))
        mean = "-" if first["mean_ms"] is None else f"{first['mean_ms']:.2f} ms"
        table.add_row(
            deployment,
            _count(first["n"]),
            mean,
            *("-" if r not in cells else _cell(cells[r], labels) for r in references),
        )
    console.print(table)
    for line in _what_percentages_are_of(rows, labels):
        print_line(console, line)


def _what_percentages_are_of(rows: Sequence[dict[str, Any]], labels: dict[str, str]) -> list[str]:
    """Why a percentage is not the quotient of two of the means of all requests."""
    lines = []
    if any(row["compared_ms"] is not None for row in rows):
        lines += [
            "Each percentage is of the two means before it: the same requests in the same visits (geometric over "
            "visits, configurations alike).",
            "The mean of all requests is also over others, at other times: two of those may give another percentage.",
        ]
    for via in dict.fromkeys(row["via"] for row in rows if row["via"] and row["ratio"] is not None):
        who = labels.get(via, via)
        lines.append(f"By {who}: the two were never measured together; against {who}, times {who} against the other.")
    return lines


def verdict_lines(tables: Tables) -> list[str]:
    """Each deployment against each reference, in words."""
    rows = tables.rows("SELECT * FROM by_strategy WHERE clock = 'wall' AND verdict IS NOT NULL")
    labels = {row["strategy"]: row["deployment"] for row in rows}
    margin = f"±{tables.margin * 100:g} %"
    lines = []
    for row in rows:
        reference = labels.get(row["reference_strategy"], row["reference_strategy"])
        interval = _interval(row)
        words = {
            "slower": f"is slower than {reference}: {interval}",
            "faster": f"is faster than {reference}: {interval}",
            "equivalent": f"is equivalent to {reference}: {interval}, within {margin}",
            "inconclusive": f"against {reference} is inconclusive: {interval}; {_more(row)}",
        }[row["verdict"]]
        lines.append(f"{row['deployment']} {words}")
    device = tables.rows("SELECT count(DISTINCT device) AS n FROM visits")[0]["n"]
    if lines and device == 1:
        lines.append("These verdicts hold on this device; with several GPUs they are drawn over GPUs.")
    return lines


def _more(row: dict[str, Any]) -> str:
    """What would settle an inconclusive row."""
    if row["unknown"] == "equal visits":
        return "the clock is too coarse for these latencies, or the run is made up"
    if row["unknown"] == "devices apart":
        return "rounds in which blocks meet other GPUs would settle it"
    if row["more_rounds"] is None:
        return "only repeated launches, or further GPUs, can settle it"
    return f"about {more_rounds(row['more_rounds'])} would settle it, if ratio and spread stay as they are"


def percentile_table(tables: Tables, console: Screen) -> None:
    """Percentiles with their intervals over visits; those that the samples cannot carry are named below."""
    rows = tables.rows("FROM percentiles")
    percents = sorted({row["percentile"] for row in rows if row["refused"] is None})
    if not percents:
        return
    table = Table(title="Percentiles (milliseconds, 95 % interval over visits)", box=box.SIMPLE, title_justify="left")
    table.add_column("configuration", no_wrap=True)
    for percent_ in percents:
        table.add_column(f"p{percent_:g}", justify="right", no_wrap=True)
    cells: dict[str, dict[float, str]] = {}
    for row in rows:
        shown = cells.setdefault(row["configuration"], {})
        if row["refused"] is None:
            high = "open" if math.isinf(row["high_ms"]) else f"{row['high_ms']:.2f}"
            shown[row["percentile"]] = f"{row['ms']:.2f} [{row['low_ms']:.2f}, {high}]"
    for configuration, shown in cells.items():
        table.add_row(configuration, *(shown.get(p, "-") for p in percents))
    console.print(table)
    for reason in sorted({row["refused"] for row in rows if row["refused"]}):
        print_line(console, f"  Not shown: {reason}.")


def caution_lines(tables: Tables, console: Screen) -> None:
    """What a reader should know of how the run was measured: each finding once, with whom it concerns."""
    rows = tables.rows("FROM cautions")
    by_hint: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_hint.setdefault((row["code"], row["hint"]), []).append(row)
    for (code, hint), found in by_hint.items():
        of_run = found[0]["configuration"] is None
        where = "the run" if of_run else f"{len(found)} configuration(s)"
        print_line(console, f"Caution, {code} in {where}. {hint[0].upper()}{hint[1:]}.")
        for row in found[:3]:
            print_line(console, f"  {row['message']}" if of_run else f"  {row['configuration']}: {row['message']}")
        if len(found) > 3:
            print_line(console, f"  and {len(found) - 3} more: FROM cautions WHERE code = '{code}'")


def completeness_lines(tables: Tables, console: Screen) -> bool:
    """How many configurations are complete, and why the others are not. Returns whether all are."""
    rows = tables.rows("SELECT * FROM completeness")
    complete = sum(row["complete"] for row in rows)
    print_line(console, f"{complete} of {len(rows)} configurations complete.")
    for row in rows:
        if not row["complete"]:
            why = redact_uris(row["failure"] or "not measured yet")
            print_line(
                console, f"  {row['configuration']}: {row['rounds_done']} of {row['rounds_planned']} rounds; {why}"
            )
    return bool(complete == len(rows))


def print_next_commands(root: Location, console: Screen) -> None:
    """Where the results are and what to do with them."""
    shown = root
    if isinstance(root, Path) and root.is_relative_to(Path.cwd()):
        shown = root.relative_to(Path.cwd())
    run = shell_command([run_argument(shown)])
    print_line(console, f"Results: {shown}")
    print_line(console, f"  raybench tables {run}        all tables again, from the raw samples")
    print_line(console, f'  raybench sql {run} "FROM by_configuration"')
    if isinstance(root, Path):
        print_line(console, f"  cd {run} && duckdb -init views.sql        the same views, without raybench")
    else:
        print_line(console, f"  SET VARIABLE raybench_run = '{root}';        then {root}/views.sql in any DuckDB")


def more_rounds(rounds: int) -> str:
    """``1 more round``, ``2 more rounds``."""
    return "1 more round" if rounds == 1 else f"{rounds:,} more rounds"


def percent(ratio: float | None) -> str:
    """A ratio as an overhead: 1.248 -> ``+24.8 %``."""
    if ratio is None or math.isnan(ratio):
        return "-"
    if math.isinf(ratio):
        return "+inf"
    return f"{(ratio - 1) * 100:+.1f} %"


def _devices(tables: Tables) -> str:
    rows = tables.rows("SELECT device_name, count(DISTINCT device) AS n FROM visits GROUP BY ALL ORDER BY ALL")
    return (
        ", ".join(f"{row['n']} x {row['device_name']}" if row["n"] > 1 else row["device_name"] for row in rows) or "-"
    )


def _cell(row: dict[str, Any], labels: dict[str, str]) -> str:
    """The two means that the percentage is of, or the strategy it is chained by, and the verdict."""
    if row["strategy"] == row["reference_strategy"]:
        return "baseline"
    if row["ratio"] is None:
        return "-"
    answer = f"{_interval(row)} {row['verdict']}"
    if row["compared_ms"] is None:
        return f"by {labels.get(row['via'], row['via'])}: {answer}" if row["via"] else answer
    return f"{row['compared_ms']:.2f} / {row['reference_ms']:.2f} ms: {answer}"


def _interval(row: dict[str, Any]) -> str:
    if row["unknown"] is not None:
        return f"{percent(row['ratio'])} [no interval: {_NO_INTERVAL[row['unknown']]}]"
    return f"{percent(row['ratio'])} [{percent(row['low'])}, {percent(row['high'])}]"


def _table(
    console: Screen,
    title: str,
    rows: Sequence[dict[str, Any]],
    columns: dict[str, tuple[str, Callable[[Any], str]]],
) -> None:
    if not rows:
        return
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for key, (header, _) in columns.items():
        table.add_column(header, justify="left" if isinstance(rows[0][key], str) else "right", no_wrap=True)
    for row in rows:
        table.add_row(*("-" if row[key] is None else show(row[key]) for key, (_, show) in columns.items()))
    console.print(table)


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


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
