"""What a person reads of two runs compared: what differs, the table, findings in words, what to do next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from raybench.changes import Change
from raybench.report import percent
from raybench.run_comparison import By, Row, RunComparison
from raybench.terminal import print_line


def show(found: RunComparison, console: Console, by: By = "relative") -> None:
    """What a person reads: what differs, the table, one sentence for each finding, what to do next."""
    print_line(console, f"A: {found.a}")
    print_line(console, f"B: {found.b}")
    if found.differences:
        print_line(console, "The runs differ in more than time; a change below may come from it:")
        for line in found.differences:
            print_line(console, f"  {line}")
    for line in found.notes:
        print_line(console, line)
    for name, reason in found.left_out:
        print_line(console, f"Left out: {name}: {reason}")
    table = Table(title="B against A (wall time; 95 % intervals)", box=box.SIMPLE, title_justify="left")
    for header in ("configuration", "A, ms", "B, ms", "absolute", "", "relative", "", "to"):
        table.add_column(header, justify="right" if header.endswith("ms") else "left")
    for row in found.rows:
        relative = ("-", "", "no reference") if row.relative is None else (*_cells(row.relative), row.reference)
        cells = [row.configuration, f"{row.a_ms:.3f}", f"{row.b_ms:.3f}", *_cells(row.absolute), *map(str, relative)]
        table.add_row(*map(escape, cells))
    console.print(table)
    for line in [*_sentences(found, by), "", *_next_steps(found, by)]:
        print_line(console, line)


def row_names(rows: Iterable[Row]) -> str:
    """The rows' configurations, for a line of text."""
    return ", ".join(row.configuration for row in rows)


def _sentences(found: RunComparison, by: By) -> list[str]:
    lines = []
    for row in found.with_verdict(("slower", "faster"), by):
        change = row.judged(by)
        against = f"relative to {row.reference}" if change is row.relative else "absolute"
        lines.append(
            f"{row.configuration} is {change.verdict} in B, {against}: {_interval(change)}, "
            f"p after Holm {_p(change.p_holm)}."
        )
    margin = f"±{found.margin * 100:g} %"
    if same := found.with_verdict(["equivalent"], by):
        lines.append(f"Equivalent within {margin}, {_kinds(same, by)}: {row_names(same)}.")
    if unsure := found.with_verdict(["inconclusive"], by):
        lines.append(f"Inconclusive, {_kinds(unsure, by)}: {row_names(unsure)}.")
    only = [row for row in found.rows if row.relative is None]
    if only:
        lines.append(f"Only the absolute change exists, no reference being complete in both runs: {row_names(only)}.")
    hidden = [
        row
        for row in found.rows
        if by == "relative"
        and row.relative is not None
        and row.relative.verdict == "equivalent"
        and row.absolute.verdict in ("slower", "faster")
    ]
    if hidden:
        verdicts = " or ".join(sorted({row.absolute.verdict for row in hidden}))
        lines.append(
            f"Absolute {verdicts}, though not against the reference: {row_names(hidden)}. The machine, or something "
            "that all configurations share, changed speed."
        )
    return lines


def _next_steps(found: RunComparison, by: By) -> list[str]:
    lines = []
    moved = found.with_verdict(("slower", "faster"), by)
    if any(row.judged(by) is row.relative for row in moved):
        lines.append(
            "A relative change is one of the configuration or of its reference: the absolute column tells which."
        )
    if any(row.judged(by) is row.absolute for row in moved):
        lines.append("An absolute change may be the machine's: run B's plan again, or both in turn, and compare.")
    if unsure := found.with_verdict(["inconclusive"], by):
        more = [row.judged(by).more_rounds for row in unsure]
        known = [rounds for rounds in more if rounds is not None]
        if known:
            lines.append(f"About {max(known)} more rounds of each run would settle what is inconclusive (--rounds).")
        if len(known) < len(more):
            lines.append("What one visit, or GPUs that differ too much, leave open needs more rounds or more GPUs.")
    if any("incomplete" in reason for _, reason in found.left_out):
        lines.append("Finish the incomplete run by --resume to compare what was left out.")
    return [*lines, f"All tables of a run: raybench tables {shlex.quote(str(found.b))}"]


def _cells(change: Change) -> tuple[str, str]:
    return _interval(change), change.verdict


def _interval(change: Change) -> str:
    interval = change.estimate.interval()
    if math.isinf(interval.high):
        return f"{percent(change.estimate.ratio)} [unknown]"
    return f"{percent(change.estimate.ratio)} [{percent(interval.low)}, {percent(interval.high)}]"


def _kinds(rows: Sequence[Row], by: By) -> str:
    kinds = {"relative" if row.judged(by) is row.relative else "absolute" for row in rows}
    return " or ".join(sorted(kinds, reverse=True))


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
