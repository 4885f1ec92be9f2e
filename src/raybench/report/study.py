"""The study's table for a run, its verdicts in words, and what the deployments change of the answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.table import Table

from raybench.analysis import FIRST_LOOK, Tables, compared_in
from raybench.records import count, in_percent
from raybench.report.cautions import caution_lines
from raybench.report.claims import reference_of
from raybench.report.columns import mean_header, reference_header
from raybench.report.numbers import interval, judged_interval, share, size
from raybench.report.screen import Screen, print_line
from raybench.report.settling import NOT_BY_ROUNDS, Settling, more_rounds
from raybench.report.words import not_adjusted, why_disputed

MEASURES: Final[dict[str, str]] = {"ttft": "TTFT", "tpot": "TPOT", "end_to_end": "end to end"}
"""What measures are called, in the order in which people read them."""

_TITLES: Final[dict[str, str]] = {
    "ttft": "TTFT, time to first token",
    "tpot": "TPOT, time per output token after the first",
    "end_to_end": "End to end, from the request to its last token",
}
_ROUNDING: Final = 1e-5
"""Logits that differ by less differ by what a float32 is rounded to, grown through the layers."""


def study_table(tables: Tables, console: Screen) -> None:
    """The study's table for this run: mean latency, against full fine-tuning, against the separate adapter.

    Of a language model one for each measure, tokens a second beside the last.
    """
    rows = tables.rows("SELECT * FROM by_strategy WHERE clock = 'wall'")
    run = tables.description
    title = f"{run.plan.name} on {_devices(tables)}: {run.model.name}, {run.plan.design} design"
    measures = measures_of(row["measure"] for row in rows)
    tokens = {row["deployment"]: row["tokens_per_second"] for row in tables.rows("FROM deployments")}
    if len(measures) == 1:
        console.print(_table(title, "end_to_end", rows, None))
    else:
        print_line(console, title)
        for measure in measures:
            of_measure = [row for row in rows if row["measure"] == measure]
            rates = tokens if measure == "end_to_end" else None
            console.print(_table(_TITLES[measure], measure, of_measure, rates))
    for line in _what_percentages_are_of(rows):
        print_line(console, line)


def measures_of(measures: Iterable[str]) -> list[str]:
    """Each of ``measures``, of rows, once, in the order in which people read them; of a classifier one."""
    there = set(measures)
    return [measure for measure in MEASURES if measure in there]


def is_too_short(tables: Tables) -> bool:
    """Whether there is one visit of each that is compared, which says nothing of how far visits differ."""
    rows = _judged(tables)
    return bool(rows) and all(row["unknown"] == "one visit" for row in rows)


def verdict_lines(tables: Tables) -> list[str]:
    """Each deployment against each reference, in words; of a language model by each measure in one line.

    Of a run that is too short for any verdict one line says that, and what would not be.
    """
    if is_too_short(tables):
        return [too_short(tables), *caution_lines(tables)]
    rows = judged_rows(tables)
    margin = f"±{in_percent(tables.margin)}"
    settling = Settling(tables)
    measures = measures_of(row["measure"] for row in rows)
    if len(measures) > 1:
        lines = _lines_by_measure(rows, measures, margin, settling)
    else:
        lines = [f"{row['deployment']} {_words(row, margin, settling)}" for row in rows]
    lines += [*not_adjusted(rows), *caution_lines(tables)]
    device = tables.rows("SELECT count(DISTINCT device) AS n FROM visits")[0]["n"]
    if rows and device == 1:
        lines.append("These verdicts hold on this device; with several GPUs they are drawn over GPUs.")
    return lines


def judged_rows(tables: Tables) -> list[dict[str, Any]]:
    """Rows of ``by_strategy`` with a verdict by wall time; ``paired``: the same by requests' own ratios, or None."""
    beside = {compared_in(row): row for row in tables.rows("SELECT * FROM by_strategy WHERE clock = 'wall paired'")}
    return [row | {"paired": beside.get(compared_in(row))} for row in _judged(tables)]


def judged_apart(tables: Tables) -> list[str]:
    """That ``overhead`` and ``by_strategy`` judge the same numbers differently, and why; no line where they do not."""
    (found,) = tables.rows(
        "SELECT count(*) AS n FROM overhead AS one JOIN by_strategy AS own "
        "USING (deployment, reference_strategy, measure, clock) WHERE clock = 'wall' AND own.configurations = 1 AND "
        "(one.verdict, one.disputed) IS DISTINCT FROM (own.verdict, own.disputed)"
    )
    if not found["n"]:
        return []
    return [
        "The tables overhead (by configuration) and by_strategy (by deployment) judge "
        f"{count(found['n'], 'comparison')} differently, from the same numbers: Holm's adjustment counts each table's "
        "own rows, and these are not the same."
    ]


def _judged(tables: Tables) -> list[dict[str, Any]]:
    return tables.rows("SELECT * FROM by_strategy WHERE clock = 'wall' AND verdict IS NOT NULL")


def too_short(tables: Tables) -> str:
    """Of such a run: that it has no verdicts, and what would give some."""
    planned = tables.description.plan.rounds
    if planned > 1:
        return f"No verdicts yet: one round gives no interval, and up to {planned:,} are planned; go on by --resume."
    return (
        f"No verdicts: one round gives no interval. Ask for {FIRST_LOOK} rounds or more (--rounds {FIRST_LOOK}) in a "
        "new run."
    )


def fidelity_lines(tables: Tables) -> list[str]:
    """What merging an adapter, or holding it beside others, changes of the answers."""
    if tables.description.plan.servers:
        return _served_fidelity_lines(tables)
    outputs = "greedy tokens" if tables.description.model.task_type == "CAUSAL_LM" else "labels"
    lines: dict[str, list[str]] = {}
    for row in tables.rows("FROM fidelity"):
        agreement, divergence = row["argmax_agreement"], row["kl_divergence"]
        if row["gate_error_max"] < _ROUNDING and agreement in (None, 1):
            lines.setdefault("answers as each adapter's alone, but for rounding.", []).append(row["deployment"])
        else:
            parts = [f"logits differ by {_error(row['gate_error'])}"]
            if agreement is not None:
                parts.append(f"{share(agreement)} of {outputs} agree")
            if divergence is not None:
                parts.append(f"KL {divergence:.2g}")
            lines.setdefault(f"{', '.join(parts)}, against each adapter alone.", []).append(row["deployment"])
        if row["untied_mb"] is not None:
            copied = f"{size(row['untied_mb'] * 1e6)} more, for a copy of embeddings that were tied."
            lines.setdefault(copied, []).append(row["deployment"])
    return [f"{', '.join(deployments)}: {line}" for line, deployments in lines.items()]


def _served_fidelity_lines(tables: Tables) -> list[str]:
    """How the tokens of servers stand to transformers with the same weights."""
    lines: dict[str, list[str]] = {}
    for row in tables.rows("FROM fidelity"):
        nats, agreement = row["gate_error_max"], row["argmax_agreement"]
        line = "tokens as those of transformers with the same weights."
        if nats or agreement != 1:
            line = (
                f"{share(agreement)} of greedy tokens are those of transformers with the same weights, the others up "
                f"to {nats:.2g} nats less likely there."
            )
        lines.setdefault(line, []).append(row["deployment"])
    return [f"{', '.join(deployments)}: {line}" for line, deployments in lines.items()]


def label_of(role: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What a reference is called: its row's name, without what distinguishes several rows of it."""
    labels = list(dict.fromkeys(row["deployment"] for row in rows if row["strategy"] == role))
    return labels[0] if len(labels) == 1 else labels[0].partition(" (")[0] if labels else role


def references_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What ratios are to, in the plan's order; not what was measured nowhere, to which there are none."""
    there = {row["strategy"] for row in rows} | {row["reference_strategy"] for row in rows if row["ratio"] is not None}
    asked = dict.fromkeys(row["reference_strategy"] for row in rows)
    return [reference for reference in asked if reference in there]


def _table(title: str, measure: str, rows: Sequence[dict[str, Any]], tokens: dict[str, float | None] | None) -> Table:
    references = references_of(rows)
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    table.add_column("Deployment", overflow="fold")
    table.add_column("n", justify="right", overflow="fold")
    table.add_column(mean_header(measure, MEASURES[measure]), justify="right", overflow="fold")
    if tokens is not None:
        table.add_column("tokens/s", justify="right", overflow="fold")
    for reference in references:
        table.add_column(reference_header(label_of(reference, rows)), justify="right", overflow="fold")
    by_deployment: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_deployment.setdefault(row["deployment"], {})[row["reference_strategy"]] = row
    for deployment, cells in by_deployment.items():
        first = next(iter(cells.values()))
        shown = [deployment, f"{first['n']:,}", _ms(first["mean_ms"], first["measure"])]
        if tokens is not None:
            rate = tokens.get(deployment)
            shown.append("-" if rate is None else f"{rate:,.1f}")
        table.add_row(*shown, *("-" if r not in cells else _cell(cells[r], rows) for r in references))
    return table


def _lines_by_measure(
    rows: Sequence[dict[str, Any]], measures: Sequence[str], margin: str, settling: Settling
) -> list[str]:
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["deployment"], row["reference_strategy"]), {})[row["measure"]] = row
    lines = []
    for (deployment, _), by_measure in found.items():
        parts = []
        for measure in measures:
            if (one := by_measure.get(measure)) is not None:
                more = _briefly(one, settling)
                said = {"equivalent": f" (within {margin})", "inconclusive": f" ({more})"}.get(one["verdict"], "")
                parts.append(f"{MEASURES[measure]} {interval(one)} {one['verdict']}{said}")
        lines.append(f"{deployment} against {reference_of(next(iter(by_measure.values())))}: {'; '.join(parts)}")
    by_rounds = [row for row in rows if _is_told_by_rounds(row)]
    if not all(map(settling.is_hopeless, by_rounds)):
        lines.append("Rounds in brackets: so many more would settle it, if ratio and spread stay as they are.")
    hopeless = [row for row in by_rounds if settling.is_hopeless(row)]
    lines += [
        f"{NOT_BY_ROUNDS[0].upper()}{NOT_BY_ROUNDS[1:]}: {would}."
        for would in dict.fromkeys(map(settling.would, hopeless))
    ]
    return lines


def _words(row: dict[str, Any], margin: str, settling: Settling) -> str:
    reference, seen = reference_of(row), interval(row)
    return {
        "slower": f"is slower than {reference}: {seen}",
        "faster": f"is faster than {reference}: {seen}",
        "equivalent": f"is equivalent to {reference}: {seen}, within {margin}",
        "inconclusive": f"against {reference} is inconclusive: {seen}; {_more(row, settling)}",
    }[row["verdict"]]


def _what_percentages_are_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Why a percentage is not the quotient of two of the means of all requests."""
    lines = []
    if any(row["compared_ms"] is not None for row in rows):
        lines += [
            "Each percentage is of the two means before it: the same requests in the same visits (geometric over "
            "visits, configurations alike).",
            "The mean of all requests is also over others, at other times: two of those may give another percentage.",
        ]
    for via in dict.fromkeys(row["via"] for row in rows if row["via"] and row["ratio"] is not None):
        who = label_of(via, rows)
        lines.append(f"By {who}: the two were never measured together; against {who}, times {who} against the other.")
    several = {row["reference_strategy"]: set[str]() for row in rows}
    for row in rows:
        if row["reference_deployment"]:
            several[row["reference_strategy"]].add(row["reference_deployment"])
    if any(len(deployments) > 1 for deployments in several.values()):
        lines.append("Each against the reference of its own batch, data type, cache and load.")
    return lines


def _briefly(row: dict[str, Any], settling: Settling) -> str:
    """What would settle an inconclusive row, where a line below says more of it."""
    if not _is_told_by_rounds(row):
        return _more(row, settling)
    return NOT_BY_ROUNDS if settling.is_hopeless(row) else f"about {more_rounds(row['more_rounds'])}"


def _is_told_by_rounds(row: dict[str, Any]) -> bool:
    settled_by_rounds = row["verdict"] == "inconclusive" and row["unknown"] is None and not row["disputed"]
    return settled_by_rounds and row["more_rounds"] is not None


def _more(row: dict[str, Any], settling: Settling) -> str:
    """What would settle an inconclusive row."""
    if row["disputed"]:
        return why_disputed(row["paired"])
    if row["unknown"] == "equal visits":
        return "the clock is too coarse for these latencies, or the run is made up"
    if row["unknown"] == "devices apart":
        return "rounds in which blocks meet other GPUs would settle it"
    if row["more_rounds"] is None:
        return "only repeated visits, or further GPUs, can settle it"
    return settling.words(row)


def _devices(tables: Tables) -> str:
    rows = tables.rows("SELECT device_name, count(DISTINCT device) AS n FROM visits GROUP BY ALL ORDER BY ALL")
    return (
        ", ".join(f"{row['n']} x {row['device_name']}" if row["n"] > 1 else row["device_name"] for row in rows) or "-"
    )


def _cell(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """The two means that the percentage is of, or the strategy it is chained by, and the verdict."""
    if row["strategy"] == row["reference_strategy"]:
        return "baseline"
    if row["ratio"] is None:
        return "-"
    answer = judged_interval(row)
    if row["compared_ms"] is None:
        return f"by {label_of(row['via'], rows)}: {answer}" if row["via"] else answer
    compared, reference = (_ms(row[column], row["measure"], "") for column in ("compared_ms", "reference_ms"))
    return f"{compared} / {reference} ms: {answer}"


def _ms(value: float | None, measure: str, unit: str = " ms") -> str:
    if value is None:
        return "-"
    return f"{value:.2f}{unit}" if measure == "end_to_end" else f"{value:.3f}{unit}"


def _error(value: float) -> str:
    """A relative error: ``1.3 %``, ``0.0021 %``."""
    return in_percent(value, ".2g") if value and math.isfinite(value) else "0 %"
