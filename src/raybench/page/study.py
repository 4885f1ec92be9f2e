"""The study's table for a run, and how far each deployment is from its references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raybench.analysis import Tables
from raybench.page.parts import Forest, Grid, Limits, Mark, Section, cut
from raybench.report import (
    MEASURES,
    fidelity_lines,
    interval,
    is_usable,
    judged_interval,
    label_of,
    mean_header,
    measures_of,
    once,
    reference_header,
    reference_of,
    references_of,
)


def study_section(tables: Tables, limits: Limits) -> Section:
    """The study's table: mean latency, against full fine-tuning, against the separate adapter; one for each measure."""
    rows = tables.rows("FROM by_strategy WHERE clock = 'wall'")
    tokens = {row["deployment"]: row["tokens_per_second"] for row in tables.rows("FROM deployments")}
    found = []
    measures = measures_of(row["measure"] for row in rows)
    for measure in measures:
        of_measure = [row for row in rows if row["measure"] == measure]
        rates = tokens if measure == "end_to_end" and len(measures) > 1 else None
        found.append(_grid(measure, of_measure, rates, limits))
    lines = list(fidelity_lines(tables))
    if any(row["compared_ms"] is not None for row in rows):
        lines.insert(0, "Each percentage is of the same requests in the same visits; the mean is of all requests.")
    for via in dict.fromkeys(row["via"] for row in rows if row["via"] and row["ratio"] is not None):
        who = label_of(via, rows)
        lines.insert(1, f"By {who}: the two were never measured together; each was beside {who}.")
    return Section("table", "The study's table for this run", tuple(lines), grids=tuple(found))


def forest_of(tables: Tables, measure: str, limits: Limits) -> Forest | None:
    """The overheads of a measure with intervals, of a pair and its mirror one; None where nothing was compared."""
    query = f"FROM by_strategy WHERE clock = 'wall' AND measure = '{measure}' AND ratio IS NOT NULL"
    rows = tables.rows(query)
    shown = [
        (_mark(row, limits), row)
        for row in once([row for row in rows if row["ratio"] > 0 and row["strategy"] != row["reference_strategy"]])
    ]
    if not shown:
        return None
    most = max(3, limits.rows // 4)
    told = "; ".join(f"{mark.label} against {mark.against} {interval(row)}" for mark, row in shown[:most])
    title = f"Overhead, {MEASURES[measure]}, with 95 % intervals; within the band two are equivalent"
    marks = tuple(mark for mark, _ in shown[:most])
    return Forest(f"overhead-{measure}", title, marks, tables.margin, told, query, max(0, len(shown) - most))


def _mark(row: Mapping[str, Any], limits: Limits) -> Mark:
    who, against = cut(row["deployment"], limits.characters), cut(reference_of(row), limits.characters)
    return Mark(who, against, row["ratio"], *_ends(row), row["verdict"])


def _ends(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    low, high = row["low"], row["high"]
    if row["unknown"] is not None or low is None or high is None or not is_usable(low, high):
        return None, None
    return low, high


def _grid(
    measure: str, rows: Sequence[dict[str, Any]], tokens: Mapping[str, float | None] | None, limits: Limits
) -> Grid:
    references = references_of(rows)
    by_deployment: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_deployment.setdefault(row["deployment"], {})[row["reference_strategy"]] = row
    mean = mean_header(measure, MEASURES[measure])
    head = ["Deployment", "n", mean, *(("tokens/s",) if tokens is not None else ())]
    head += [reference_header(cut(label_of(reference, rows), limits.characters)) for reference in references]
    shown = []
    for deployment, cells in list(by_deployment.items())[: limits.rows]:
        first = next(iter(cells.values()))
        mean = "-" if first["mean_ms"] is None else f"{first['mean_ms']:.3f} ms"
        found = [cut(deployment, limits.characters), f"{first['n']:,}", mean]
        if tokens is not None:
            rate = tokens.get(deployment)
            found.append("-" if rate is None else f"{rate:,.1f}")
        shown.append((*found, *(_cell(cells.get(reference), rows, limits) for reference in references)))
    return Grid(
        MEASURES[measure][0].upper() + MEASURES[measure][1:],
        tuple(head),
        (True, False, False, *((False,) if tokens is not None else ()), *(True for _ in references)),
        tuple(shown),
        f"FROM by_strategy WHERE clock = 'wall' AND measure = '{measure}'",
        max(0, len(by_deployment) - limits.rows),
    )


def _cell(row: Mapping[str, Any] | None, rows: Sequence[dict[str, Any]], limits: Limits) -> str:
    if row is None or row["strategy"] == row["reference_strategy"]:
        return "-" if row is None else "baseline"
    if row["ratio"] is None:
        return "-"
    chained = f"by {cut(label_of(row['via'], rows), limits.characters)}: " if row["via"] else ""
    return f"{chained}{judged_interval(row)}"
