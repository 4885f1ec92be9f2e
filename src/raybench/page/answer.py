"""The answer of a run in one sentence, and how certain it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from raybench.analysis import Tables
from raybench.records import count
from raybench.report import interval, why_no_interval
from raybench.store import redact_uris

State = Literal["nothing", "failed", "undecided", "open", "settled"]

NAMED: Final = 5
"""Comparisons that a sentence can name; of more it tells how many there are of each kind."""


class Answer(NamedTuple):
    """``state``: nothing was measured; all that was begun failed; no launch can be told from chance; some verdicts are
    open; all are settled. ``incomplete``: configurations that are not complete.
    """

    state: State
    sentence: str
    certainty: str
    incomplete: int


def answer_of(tables: Tables) -> Answer:
    """What the plan's claims came to, or where it has none all comparisons, by mean wall time end to end."""
    complete = tables.rows("FROM completeness")
    missing = [row for row in complete if not row["complete"]]
    failed = [row for row in missing if row["failure"] is not None]
    rows = compared(tables)
    if not rows:
        return _none(complete, missing, failed)
    before = _before(complete, missing, failed)
    claimed = any(row["claim"] for row in rows)
    told = _told(rows, "claim" if claimed else "comparison")
    state, certainty = _certainty(tables, rows, claimed)
    sentence = f"{before}{told}"
    return Answer(state, f"{sentence[0].upper()}{sentence[1:]}.", certainty, len(missing))


def compared(tables: Tables) -> list[dict[str, Any]]:
    """The comparisons that the answer is of: a row of ``by_strategy`` each, and of a pair and its mirror one."""
    rows = tables.rows(
        "SELECT * FROM by_strategy WHERE clock = 'wall' AND measure = 'end_to_end' AND verdict IS NOT NULL"
    )
    return once([row for row in rows if row["claim"]] or rows)


def once(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a pair and its mirror one, that which the plan claims."""
    found: dict[frozenset[str], dict[str, Any]] = {}
    for row in rows:
        pair = frozenset((row["deployment"], reference_of(row)))
        if pair not in found or (row["claim"] and not found[pair]["claim"]):
            found[pair] = row
    return list(found.values())


def reference_of(row: Mapping[str, Any]) -> str:
    """What a row is compared with, by the name of its own row."""
    name: str = row["reference_deployment"] or row["reference_strategy"]
    return name


def _none(
    complete: Sequence[Mapping[str, Any]], missing: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]
) -> Answer:
    number, of_all = len(missing), count(len(complete), "configuration")
    if failed:
        first = f"{failed[0]['configuration']}: {redact_uris(failed[0]['failure'])}"
        sentence = (
            f"No answer: {len(failed):,} of {of_all} failed, and nothing is left to compare; the first is {first}."
        )
        return Answer("failed", sentence, "A new run once the cause is mended; what failed is not tried again.", number)
    if any(row["rounds_done"] for row in complete):
        sentence = f"No answer: nothing in this run is compared yet, and {number:,} of {of_all} are not complete."
        return Answer("nothing", sentence, "The sweep goes on with --resume.", number)
    sentence = f"No answer: nothing has been measured yet, of {of_all}."
    return Answer("nothing", sentence, "The sweep begins, or goes on, with --resume.", number)


def _before(
    complete: Sequence[Mapping[str, Any]], missing: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]
) -> str:
    """What went wrong is said first."""
    of_all, others = count(len(complete), "configuration"), len(missing) - len(failed)
    if failed:
        more = f" and {others:,} more are not complete" if others else ""
        return f"{len(failed):,} of {of_all} failed{more}; of the others: "
    return f"{len(missing):,} of {of_all} are not complete; so far: " if missing else ""


def _words(row: Mapping[str, Any]) -> str:
    who, reference, seen = row["deployment"], reference_of(row), interval(row)
    return {
        "slower": f"{who} is slower than {reference}, {seen}",
        "faster": f"{who} is faster than {reference}, {seen}",
        "equivalent": f"{who} is equivalent to {reference}, {seen}",
        "inconclusive": f"{who} cannot be told from {reference}, {seen}",
    }[row["verdict"]]


def _told(rows: Sequence[Mapping[str, Any]], what: str) -> str:
    by_verdict = Counter(row["verdict"] for row in rows)
    if by_verdict["inconclusive"] == len(rows) > 1:
        named = [f"{row['deployment']} against {reference_of(row)} {interval(row)}" for row in rows[:NAMED]]
        more = f", and {len(rows) - NAMED:,} more" if len(rows) > NAMED else ""
        return f"none of {count(len(rows), what)} is settled: {', '.join(named)}{more}"
    if len(rows) <= NAMED:
        return "; ".join(map(_words, rows))
    said = {"slower": "slower", "faster": "faster", "equivalent": "equivalent", "inconclusive": "not settled"}
    parts = ", ".join(f"{by_verdict[verdict]:,} {words}" for verdict, words in said.items() if by_verdict[verdict])
    told = [row for row in rows if row["verdict"] in ("slower", "faster")]
    furthest = max(told, key=lambda row: max(row["ratio"], 1 / row["ratio"]), default=None)
    apart = "" if furthest is None else f"; the furthest apart: {_words(furthest)}"
    return f"of {count(len(rows), what)} {parts}{apart}"


def _certainty(tables: Tables, rows: Sequence[Mapping[str, Any]], claimed: bool) -> tuple[State, str]:
    what = count(len(rows), "claim" if claimed else "comparison")
    if all(row["unknown"] is not None for row in rows):
        reasons = " and ".join(sorted({why_no_interval(row["unknown"]) for row in rows}))
        return "undecided", f"No verdict: {reasons}, which says nothing of how far launches differ; more rounds may."
    unsettled = sum(row["verdict"] == "inconclusive" for row in rows)
    (found,) = tables.rows("SELECT count(DISTINCT device) AS n, min(device_name) AS name FROM visits")
    where = f"this {found['name']}" if found["n"] == 1 else f"devices such as these {found['n']:,}"
    visits = count(max(row["visits"] for row in rows), "visit")
    basis = (
        f"95 % intervals over up to {visits}, verdicts at 5 % after Holm's adjustment over "
        f"{'the claims of the plan' if claimed else 'all comparisons'}, equivalent within ±{tables.margin * 100:g} %; "
        f"it holds for {where}."
    )
    if unsettled:
        return "open", f"Not settled: {unsettled:,} of {what}. By {basis}"
    return "settled", f"Settled: {what}, by {basis}"
