"""Each verdict with its reason, and the SQL of the numbers that it is drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from raybench.analysis import Tables
from raybench.page.parts import Item, Limits, Section, cut
from raybench.page.queries import text_of
from raybench.page.values import p_value
from raybench.records import in_percent
from raybench.report import (
    MEASURES,
    Settling,
    has_claims,
    interval,
    is_too_short,
    judged_apart,
    judged_rows,
    not_adjusted,
    once,
    reference_of,
    run_argument,
    settled_by,
    shell_command,
    too_short,
    why_disputed,
)


class Reason(NamedTuple):
    """Why a verdict is what it is: a code for programs, and words."""

    code: str
    words: str


def verdict_section(tables: Tables, limits: Limits) -> Section:
    """Every comparison of the study's table by wall time, in its order."""
    rows = verdict_rows(tables)
    claims = has_claims(tables.description)
    items = tuple(_item(row, tables.margin, claims and row["claim"], limits) for row in rows[: limits.rows])
    if not items:
        return Section("verdicts", "Verdicts, and why", (too_short(tables),) if is_too_short(tables) else ())
    lines = [
        "Open one for the query of its raw numbers, a line a visit. It runs by this, or in any DuckDB by views.sql:"
    ]
    if any(len(once(of)) < len(of) for of in _by_measure(rows)):
        lines.append("Two that are each other's reference stand here both ways; above they are one comparison.")
    lines += [*not_adjusted(rows), *judged_apart(tables)]
    if len(rows) > limits.rows:
        lines.append(f"{len(rows) - limits.rows:,} more: FROM by_strategy WHERE clock = 'wall'")
    command = shell_command(["raybench", "sql", run_argument(tables.root), "QUERY"])
    return Section("verdicts", "Verdicts, and why", tuple(lines), items=items, commands=(command,))


def verdict_rows(tables: Tables) -> list[dict[str, Any]]:
    """`judged_rows`, none of a run that is too short for verdicts.

    ``settled_by``: what would settle what is inconclusive, where a number of rounds is forecast.
    """
    if is_too_short(tables):
        return []
    settling = Settling(tables)
    return [
        row | {"settled_by": settling.words(row)} if row["more_rounds"] is not None else row
        for row in judged_rows(tables)
    ]


def reason_of(row: Mapping[str, Any], margin: float) -> Reason:
    """Why a row of `verdict_rows` has its verdict; ``margin``: 0.02 is 2 %."""
    if row["disputed"]:
        return Reason("disputed", why_disputed(row["paired"]))
    if row["unknown"] is not None:
        return _unknown(row["unknown"])
    if row["verdict"] == "equivalent":
        within = f"within ±{in_percent(margin)}"
        return Reason("within-margin", f"two one-sided tests put it {within}, p {p_value(row['p_equivalence'])}")
    if row["verdict"] in ("slower", "faster"):
        return Reason("significant", f"p {p_value(row['p_holm'])} after Holm's adjustment, below 0.05")
    told = f"neither different (p {p_value(row['p_holm'])} after Holm) nor surely within ±{in_percent(margin)}"
    if row["more_rounds"] is None:
        return Reason("too-wide", f"{told}; only repeated visits, or further devices, can settle it")
    return Reason("too-wide", f"{told}; {row.get('settled_by') or settled_by(row['more_rounds'])}")


def _by_measure(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [[row for row in rows if row["measure"] == measure] for measure in MEASURES]


def raw_query(row: Mapping[str, Any]) -> str:
    """SQL that has, a line a visit, what a row of ``by_strategy`` is drawn from; of a chain both its links."""
    return text_of("page_verdict").format(
        deployments=_literals([row["deployment"]]),
        references=_literals([row["reference_strategy"], *([row["via"]] if row["via"] else [])]),
        measure=_literals([row["measure"]]),
    )


def _literals(values: Sequence[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def _unknown(why: str) -> Reason:
    words = {
        "one visit": "one visit says nothing of how far visits differ: more --rounds",
        "equal visits": "all visits are equal to the last digit: a clock too coarse for this, or a made-up run",
        "devices apart": "blocks met the devices so that these cannot be told apart: rounds that mix them settle it",
    }
    return Reason(why.replace(" ", "-"), words.get(why, why))


def _item(row: Mapping[str, Any], margin: float, claimed: bool, limits: Limits) -> Item:
    who, reference = cut(row["deployment"], limits.characters), cut(reference_of(row), limits.characters)
    measure = "" if row["measure"] == "end_to_end" else f"{MEASURES[row['measure']]} of "
    reason = reason_of(row, margin)
    claim = "claimed by the plan; " if claimed else ""
    text = f"{measure}{who} against {reference}: {interval(row)}"
    return Item(row["verdict"], text, (f"{reason.code}: {claim}{reason.words}.",), raw_query(row))
