"""What a person reads of two runs compared: what differs, the table, findings in words, what to do next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.table import Table

from raybench.analysis import WALL, Unknown
from raybench.compare.changes import Change
from raybench.compare.comparison import Row, RunComparison
from raybench.compare.options import By
from raybench.records import in_percent
from raybench.report import (
    MEASURES,
    Screen,
    ends,
    measures_of,
    not_adjusted,
    percent,
    print_line,
    run_argument,
    settled_by,
    shell_command,
)

ON_OTHER_DEVICES: Final = (
    "nothing tells how far devices differ; compare runs on the same device or on several each, or say by "
    "--devices-alike that they differ no more than visits do"
)
"""What to do where a single device stands against others."""

WHY_UNKNOWN: Final[dict[Unknown, str]] = {
    "equal visits": "visits are equal to the last digit, so the clock is too coarse or a run is made up",
    "one visit": "one visit in a run says nothing of how far visits differ; run more --rounds",
    "one device": ON_OTHER_DEVICES,
    "devices apart": "blocks met the GPUs so that these cannot be told apart; run more --rounds",
}
"""Why nothing is known of how sure a change is, and what to do about it."""


def show(found: RunComparison, console: Screen, by: By = "relative", each: bool = False) -> None:
    """What a person reads: what differs, the tables, one sentence for each finding, what to do next."""
    print_line(console, f"A: {found.a}")
    print_line(console, f"B: {found.b}")
    if found.differences:
        print_line(console, "The runs differ in more than time; a change below may come from it:")
        for line in found.differences:
            print_line(console, f"  {line}")
    for line in found.notes:
        print_line(console, line)
    for one in found.left_out:
        print_line(console, f"Left out: {one.configuration}: {one.reason}")
    for title, rows in (("deployments", found.deployments), ("configurations", found.configurations)):
        measures = measures_of(row.measure for row in rows)
        for measure in measures:
            of = f"{MEASURES[measure]}, " if len(measures) > 1 else ""
            console.print(_table(found, title, of, [row for row in rows if row.measure == measure]))
    for line in [*_sentences(found, by, each), "", *_next_steps(found, by, each)]:
        print_line(console, line)


def row_names(rows: Iterable[Row]) -> str:
    """The rows' names, for a line of text; measures stand behind a name, unless it is the whole request alone."""
    measures: dict[str, list[str]] = {}
    for row in rows:
        measures.setdefault(row.name, []).append(row.measure)
    return ", ".join(
        name if of_name == [WALL.measure] else f"{name} ({', '.join(MEASURES[measure] for measure in of_name)})"
        for name, of_name in measures.items()
    )


def change_headers(what: str, baseline: str) -> dict[str, str]:
    """What the columns of a table of changes are called, in their order, in the terminal and on the page alike.

    Before each percentage stand the two numbers that it is of. ``what``: a row is that; ``baseline``: by its label.
    """
    return {
        "name": what,
        "a_ms": "A, ms",
        "b_ms": "B, ms",
        "absolute": "absolute",
        "absolute_verdict": "verdict",
        "a_to_baseline": f"A / {baseline}",
        "b_to_baseline": f"B / {baseline}",
        "relative": "relative",
        "relative_verdict": "verdict, relative",
    }


def _table(found: RunComparison, title: str, of: str, rows: Sequence[Row]) -> Table:
    table = Table(title=f"B against A, {title} ({of}wall time; 95 % intervals)", box=box.SIMPLE, title_justify="left")
    for header in change_headers(title[:-1], found.baseline_label).values():
        table.add_column(header, justify="right" if header.startswith(("A", "B")) else "left", overflow="fold")
    for row in rows:
        relative = ("-", "-", "-", "")
        if row.relative is not None:
            relative = (f"{row.relative.a:.3f}", f"{row.relative.b:.3f}", *_cells(row.relative))
        table.add_row(row.name, f"{row.a_ms:.3f}", f"{row.b_ms:.3f}", *_cells(row.absolute), *relative)
    return table


def _sentences(found: RunComparison, by: By, each: bool) -> list[str]:
    rows = found.rows(each)
    judged = [row for row in rows if row.judged(by) is not None]
    against = f"relative to {found.baseline_label}" if by == "relative" else "absolute"
    if not judged:
        return [
            f"Nothing was measured beside {found.baseline_label} in both runs, so no change is relative; "
            "--by absolute looks at the other column."
        ]
    if found.undecidable(by, each):
        return [f"Nothing can be judged: {why}." for why in _causes(judged, by)]
    lines = [_finding(row, by, against) for row in found.with_verdict(("slower", "faster"), by, each)]
    margin = f"±{in_percent(found.margin)}"
    same = found.with_verdict(["equivalent"], by, each)
    if same:
        lines.append(f"Equivalent within {margin}, {against}: {row_names(same)}.")
    unjudged = found.unjudged(by, each)
    lines += [
        f"{row.label} is inconclusive, {against}{_more(row.judged(by), found.round_s)}"
        for row in found.with_verdict(["inconclusive"], by, each)
        if row not in unjudged
    ]
    lines += not_adjusted(change.as_json() for row in rows if (change := row.judged(by)) is not None)
    for why, alike in _causes(unjudged, by).items():
        lines.append(f"Cannot be judged, {against}: {row_names(alike)}: {why}.")
    if not each:
        lines += _hidden(found, by)
    absolute = {row.absolute.verdict for row in rows}
    if by == "relative" and len(same) == len(judged) and absolute in ({"slower"}, {"faster"}):
        lines.append(
            f"All are {absolute.pop()} in B, and alike: the machine, or something that all share, changed speed. "
            "Only --by absolute fails on that."
        )
    return lines


def _causes(rows: Sequence[Row], by: By) -> dict[str, list[Row]]:
    """Rows whose interval is unknown, by why it is."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if (change := row.judged(by)) is not None and change.unknown is not None:
            found.setdefault(WHY_UNKNOWN[change.unknown], []).append(row)
    return found


def _finding(row: Row, by: By, against: str) -> str:
    change = row.judged(by)
    assert change is not None
    seen = change_interval(change)
    return f"{row.label} is {change.verdict} in B, {against}: {seen}, p after Holm {_p(change.p_holm)}."


def _hidden(found: RunComparison, by: By) -> list[str]:
    """Configurations that moved, of deployments that on average did not."""
    moved = {
        verdict: {(row.name, row.measure) for row in found.with_verdict([verdict], by)}
        for verdict in ("slower", "faster")
    }
    lines = []
    for verdict, deployments in moved.items():
        alone = [
            row
            for row in found.with_verdict([verdict], by, each=True)
            if (row.deployment, row.measure) not in deployments
        ]
        if alone:
            lines.append(
                f"Single configurations that are {verdict}, though their deployment on average is not: "
                f"{row_names(alone)}. --each fails on such."
            )
    return lines


def _more(change: Change | None, round_s: float | None) -> str:
    if change is None or change.more_rounds is None:
        return ": rounds alone would not settle it; more GPUs, or visits that differ less, may."
    return f": {settled_by(change.more_rounds, round_s, of_each_run=True)}."


def _next_steps(found: RunComparison, by: By, each: bool) -> list[str]:
    lines = []
    if found.with_verdict(("slower", "faster"), by, each):
        lines.append(
            "A relative change is one of the deployment or of the baseline: the absolute column tells which."
            if by == "relative"
            else "An absolute change may be the machine's: run B's plan again, or both in turn, and compare."
        )
    if any("incomplete" in one.reason and not one.ended for one in found.left_out):
        lines.append("Finish the incomplete run by --resume to compare what was left out.")
    return [*lines, f"All tables of a run: {shell_command(['raybench', 'tables', run_argument(found.b)])}"]


def _cells(change: Change) -> tuple[str, str]:
    return change_interval(change), change.verdict


def change_interval(change: Change) -> str:
    """``+10.0 % [+9.0 %, +11.0 %]``, or that its interval is unknown."""
    interval = change.estimate.interval()
    if math.isinf(interval.high):
        return f"{percent(change.estimate.ratio)} [unknown]"
    return f"{percent(change.estimate.ratio)} {ends(interval.low, interval.high)}"


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
