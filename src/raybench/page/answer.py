"""The answer of a run in one sentence, and how certain it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from raybench.analysis import Tables
from raybench.records import count, in_percent
from raybench.report import (
    answering,
    be,
    has_claims,
    interval,
    of_all,
    reference_of,
    told_failure,
    told_in_brief,
    why_no_interval,
)
from raybench.store import redact_uris

State = Literal["nothing", "failed", "incomplete", "undecided", "open", "settled"]

NAMED: Final = 5
"""Comparisons that a sentence can name; of more it tells how many there are of each kind."""


class Told(NamedTuple):
    """A caution that belongs to every verdict, in a few words; ``of``: which run of two, A or B."""

    code: str
    words: str
    of: str | None = None


class Answer(NamedTuple):
    """``state``: nothing was measured; all that was begun failed; some configurations failed or are not complete, and
    the answer is of the others; no visit can be told from chance; some verdicts are open; all are settled.

    ``incomplete``: configurations that are not complete, ``failed`` those of them that failed. ``comparisons``: that
    the answer is of, ``unsettled`` of them. ``cautions``: that belong to each.
    """

    state: State
    sentence: str
    certainty: str
    incomplete: int = 0
    failed: int = 0
    comparisons: int = 0
    unsettled: int = 0
    cautions: tuple[Told, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """By names, the cautions too."""
        return {**self._asdict(), "cautions": [one._asdict() for one in self.cautions]}


def answer_of(tables: Tables) -> Answer:
    """What the plan's claims came to, or where nobody wrote any all comparisons, by mean wall time end to end."""
    complete = tables.rows("FROM completeness")
    missing = [row for row in complete if not row["complete"]]
    failed = [row for row in missing if row["failure"] is not None]
    rows = compared(tables)
    cautions = cautions_of(tables)
    if not rows:
        return _none(complete, missing, failed)._replace(cautions=cautions)
    before = _before(complete, missing, failed)
    noun = _noun(tables, rows)
    told = _told(rows, noun)
    state, certainty = _certainty(tables, rows, noun)
    several = len(tables.rows("SELECT DISTINCT measure FROM by_strategy")) > 1
    sentence = f"{before}{'end to end, ' if several else ''}{told}"
    return Answer(
        "incomplete" if missing else state,
        f"{sentence[0].upper()}{sentence[1:]}.",
        certainty,
        incomplete=len(missing),
        failed=len(failed),
        comparisons=len(rows),
        unsettled=sum(row["verdict"] == "inconclusive" for row in rows),
        cautions=cautions,
    )


def cautions_of(tables: Tables, of: str | None = None) -> tuple[Told, ...]:
    """Those of a run that belong to each of its verdicts."""
    return tuple(Told(code, words, of) for code, words in told_in_brief(tables).items())


def compared(tables: Tables) -> list[dict[str, Any]]:
    """The comparisons that the answer is of: a row of ``by_strategy`` each, a pair and its mirror once."""
    rows = tables.rows(
        "SELECT * FROM by_strategy WHERE clock = 'wall' AND measure = 'end_to_end' AND verdict IS NOT NULL"
    )
    return answering(rows, tables.description)


def _noun(tables: Tables, rows: Sequence[Mapping[str, Any]]) -> str:
    claimed = has_claims(tables.description) and all(row["claim"] for row in rows)
    return "claim" if claimed else "comparison"


def _none(
    complete: Sequence[Mapping[str, Any]], missing: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]
) -> Answer:
    number, total = len(missing), len(complete)
    if failed:
        name = failed[0]["configuration"]
        first = f"{name}: {redact_uris(told_failure(failed[0]['failure'])).replace(f'{name}: ', '', 1)}"  # named once
        how_many = of_all(len(failed), total, "configuration")
        sentence = f"No answer: {how_many} failed, and nothing is left to compare; the first is {first}."
        certainty = "A new run once the cause is mended; what failed is not tried again."
        return Answer("failed", sentence, certainty, number, len(failed))
    if any(row["rounds_done"] for row in complete):
        how_many = of_all(number, total, "configuration")
        sentence = f"No answer: nothing in this run is compared yet, and {how_many} {be(number)} not complete."
        return Answer("nothing", sentence, "The sweep goes on with --resume.", number)
    sentence = f"No answer: nothing has been measured yet, of {count(total, 'configuration')}."
    return Answer("nothing", sentence, "The sweep begins, or goes on, with --resume.", number)


def _before(
    complete: Sequence[Mapping[str, Any]], missing: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]
) -> str:
    """What went wrong is said first."""
    others = len(missing) - len(failed)
    if failed:
        more = f" and {others:,} more {be(others)} not complete" if others else ""
        return f"{of_all(len(failed), len(complete), 'configuration')} failed{more}; of the others: "
    if not missing:
        return ""
    return f"{of_all(len(missing), len(complete), 'configuration')} {be(len(missing))} not complete; so far: "


def _words(row: Mapping[str, Any]) -> str:
    who, reference, seen = row["deployment"], reference_of(row), interval(row)
    return {
        "slower": f"{who} is slower than {reference}, {seen}",
        "faster": f"{who} is faster than {reference}, {seen}",
        "equivalent": f"{who} is equivalent to {reference}, {seen}",
        "inconclusive": f"{who} cannot be told from {reference}, {seen}",
    }[row["verdict"]]


def _told(rows: Sequence[Mapping[str, Any]], noun: str) -> str:
    """Each by its name where there is room for them; else how many of each verdict."""
    by_verdict = Counter(row["verdict"] for row in rows)
    if by_verdict["inconclusive"] == len(rows) > 1:
        named = [f"{row['deployment']} against {reference_of(row)} {interval(row)}" for row in rows[:NAMED]]
        if len(rows) <= NAMED:
            return f"nothing is settled: {', '.join(named)}"
        return f"none of {count(len(rows), noun)} is settled: {', '.join(named)}, and {len(rows) - NAMED:,} more"
    if len(rows) <= NAMED:
        return "; ".join(map(_words, rows))
    said = {"slower": "slower", "faster": "faster", "equivalent": "equivalent", "inconclusive": "not settled"}
    parts = ", ".join(f"{by_verdict[verdict]:,} {words}" for verdict, words in said.items() if by_verdict[verdict])
    told = [row for row in rows if row["verdict"] in ("slower", "faster")]
    furthest = max(told, key=lambda row: max(row["ratio"], 1 / row["ratio"]), default=None)
    apart = "" if furthest is None else f"; the furthest apart: {_words(furthest)}"
    return f"of {count(len(rows), noun)} {parts}{apart}"


def _certainty(tables: Tables, rows: Sequence[Mapping[str, Any]], noun: str) -> tuple[State, str]:
    if all(row["unknown"] is not None for row in rows):
        reasons = " and ".join(sorted({why_no_interval(row["unknown"]) for row in rows}))
        return "undecided", f"No verdict: {reasons}, which says nothing of how far visits differ; more rounds may."
    unsettled = sum(row["verdict"] == "inconclusive" for row in rows)
    (found,) = tables.rows("SELECT count(DISTINCT device) AS n, min(device_name) AS name FROM visits")
    where = f"this {found['name']}" if found["n"] == 1 else f"devices such as these {found['n']:,}"
    visits = count(max(row["visits"] for row in rows), "visit")
    basis = (
        f"95 % intervals over up to {visits}, verdicts at 5 % after Holm's adjustment{_over(tables, noun)}, equivalent "
        f"within ±{in_percent(tables.margin)}; it holds for {where}."
    )
    if unsettled:
        return "open", f"Not settled: {of_all(unsettled, len(rows), noun)}. By {basis}"
    return "settled", f"Settled: {of_all(len(rows), len(rows), noun)}, by {basis}"


def _over(tables: Tables, noun: str) -> str:
    """Which are adjusted for each other; of a plan that raybench wrote some are, apart from the rest."""
    if noun == "claim":
        return " over the claims of the plan"
    return "" if tables.description.plan.claims else " over all comparisons"
