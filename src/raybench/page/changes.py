"""Of two runs compared: in what they differ, how each row changed, and why each verdict is what it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from raybench.compare import By, Change, Changed, Row, RunComparison, change_headers, change_interval
from raybench.page.change_answer import by_which, reason_of_change
from raybench.page.parts import Columns, Forest, Grid, Item, Limits, Mark, Section, cut, grid, grids
from raybench.page.values import fixed
from raybench.records import count
from raybench.report import MEASURES, is_usable, measures_of, not_adjusted
from raybench.store import redact_uris

_KINDS: Final = {
    "versions": "version",
    "devices": "device",
    "gpu": "device",
    "machine": "machine",
    "model": "model",
    "workload": "requests",
    "plan": "plan",
    "configurations": "configuration",
    "comparisons": "comparison",
}
"""What people call a part of a run, in the order in which a change is looked for; before models come `_OTHERS`."""
_OTHERS: Final = "setting"


def changed_rows(changed: Sequence[Changed]) -> list[dict[str, str]]:
    """Each with ``of``, what people call what it is a change of; without secrets of URIs."""
    return [
        {
            "of": _KINDS.get(one.of, _OTHERS),
            "what": redact_uris(one.what),
            "a": redact_uris(one.a),
            "b": redact_uris(one.b),
        }
        for one in changed
    ]


def changed_section(changed: Sequence[Changed], limits: Limits) -> Section:
    """In what the runs differ beside their times, most likely causes first."""
    order = list(dict.fromkeys(_KINDS.values()))
    order.insert(order.index("model"), _OTHERS)
    rows = sorted(changed_rows(changed), key=lambda row: order.index(row["of"]))
    for row in rows:
        row |= {key: row[key] or "-" for key in ("a", "b")}
    columns: Columns = {"of": ("of", str), "what": ("what", str), "a": ("in A", str), "b": ("in B", str)}
    wide = Limits(limits.rows, limits.series, 2 * limits.characters)
    line = (
        "A change below may come from any of these."
        if rows
        else "Nothing: plan, model, requests, versions, machines and devices are the same, as far as the runs say it."
    )
    table = grid("Where the two runs differ", rows, columns, None, wide)
    return Section("changed", "What changed in the environment", (line,), grids=grids(table))


def change_section(found: RunComparison, limits: Limits) -> Section:
    """The change of each deployment, as plots and tables."""
    lines = [f"Absolute is the mean time in B to that in A; {_RELATIVE.format(found.baseline_label)}"]
    if by_which(found) == "absolute":
        lines = [f"Nothing was measured beside {found.baseline_label} in both runs: changes are absolute."]
    plots = [
        plot
        for measure in _measures(found.deployments)
        for by in ("relative", "absolute")
        if (plot := _forest(found, by, measure, limits)) is not None
    ]
    tables = _tables(found, found.deployments, "deployment", limits)
    return Section("changes", "How each deployment changed", tuple(lines), tuple(plots), tables)


def configuration_section(found: RunComparison, limits: Limits) -> Section:
    """The same of each configuration, which an average may hide, as tables."""
    title = "How each configuration changed"
    return Section("configurations", title, grids=_tables(found, found.configurations, "configuration", limits))


def change_verdicts(found: RunComparison, limits: Limits) -> Section:
    """Each deployment's verdict with its reason, and configurations that moved though their deployment did not."""
    by = by_which(found)
    rows = [row for row in found.deployments if row.judged(by) is not None]
    moved = {(row.name, row.measure) for row in found.with_verdict(("slower", "faster"), by)}
    alone = [
        row
        for row in found.with_verdict(("slower", "faster"), by, each=True)
        if (row.deployment, row.measure) not in moved
    ]
    items = [_item(row, by, found, limits) for row in rows[: limits.rows]]
    items += [_item(row, by, found, limits, hidden=True) for row in alone[: limits.rows]]
    left = max(0, len(rows) - limits.rows) + max(0, len(alone) - limits.rows)
    lines = not_adjusted(change.as_json() for row in [*rows, *alone] if (change := row.judged(by)) is not None)
    lines += [f"{left:,} more, by raybench compare."] if left else []
    return Section("verdicts", "Verdicts, and why", tuple(lines), items=tuple(items))


_RELATIVE: Final = (
    "relative the ratio to {} in B to the ratio to it in A, which a machine that changes speed does not touch. "
    "Above 0 % B takes longer."
)
_NUMBERS: Final = frozenset({"a_ms", "b_ms", "a_to_baseline", "b_to_baseline"})
_METHODS: Final = {
    "paired": "round by round, on the same requests",
    "welch": "all visits of A against all of B",
    "devices": "one difference for each GPU",
}


def _item(row: Row, by: By, found: RunComparison, limits: Limits, hidden: bool = False) -> Item:
    change = row.judged(by)
    assert change is not None
    reason = reason_of_change(row, by, found)
    shown = f"{cut(row.label, limits.characters)}: {by} {change_interval(change)}"
    if by == "relative":
        shown += f", absolute {change_interval(row.absolute)} {row.absolute.verdict}"
    lines = [f"{reason.code}: {reason.words}; {_METHODS[change.method]}, {count(change.estimate.n, 'visit')}."]
    if hidden:
        lines.append(
            f"Its deployment, {cut(row.deployment, limits.characters)}, changed by no such verdict on average."
        )
    return Item(change.verdict, shown, tuple(lines))


def _forest(found: RunComparison, by: By, measure: str, limits: Limits) -> Forest | None:
    changes = [
        (row, change)
        for row in found.deployments
        if row.measure == measure and (change := row.judged(by)) is not None and 0 < change.estimate.ratio < math.inf
    ]
    if not changes:
        return None
    marks = [_mark(row, change, limits) for row, change in changes]
    most = max(3, limits.rows // 4)
    against = f"relative to {cut(found.baseline_label, limits.characters)}" if by == "relative" else "absolute"
    of = f"{MEASURES[measure]}, " if len(_measures(found.deployments)) > 1 else ""
    return Forest(
        f"change-{by}-{measure}",
        f"B against A, {of}{against}, with 95 % intervals; within the band two are equivalent",
        tuple(marks[:most]),
        found.margin,
        "; ".join(f"{row.label} {change_interval(change)} {change.verdict}" for row, change in changes[:most]),
        None,
        max(0, len(marks) - most),
        "longer in B than in A",
    )


def _mark(row: Row, change: Change, limits: Limits) -> Mark:
    interval = change.estimate.interval()
    known = change.unknown is None and interval.low > 0 and math.isfinite(interval.high)
    known = known and is_usable(interval.low, interval.high)
    low, high = (interval.low, interval.high) if known else (None, None)
    return Mark(cut(row.name, limits.characters), "", change.estimate.ratio, low, high, change.verdict)


def _tables(found: RunComparison, rows: Sequence[Row], what: str, limits: Limits) -> tuple[Grid, ...]:
    baseline = cut(found.baseline_label, limits.characters)
    several = len(_measures(rows)) > 1
    made = []
    for measure in _measures(rows):
        shown = [_as_row(row) for row in rows if row.measure == measure]
        headers = change_headers(what, baseline)
        columns: Columns = {key: (header, fixed(3) if key in _NUMBERS else str) for key, header in headers.items()}
        of = f"{MEASURES[measure]}, " if several else ""
        made.append(grid(f"B against A, {what}s ({of}wall time; 95 % intervals)", shown, columns, None, limits))
    return grids(*made)


def _as_row(row: Row) -> dict[str, Any]:
    relative = row.relative
    return {
        "name": row.name,
        "a_ms": row.a_ms,
        "b_ms": row.b_ms,
        "absolute": change_interval(row.absolute),
        "absolute_verdict": row.absolute.verdict,
        "a_to_baseline": None if relative is None else relative.a,
        "b_to_baseline": None if relative is None else relative.b,
        "relative": None if relative is None else change_interval(relative),
        "relative_verdict": None if relative is None else relative.verdict,
    }


def _measures(rows: Sequence[Row]) -> list[str]:
    return measures_of(row.measure for row in rows)
