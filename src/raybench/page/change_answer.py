"""What two runs compared came to, in one sentence, and how certain that is."""

from __future__ import annotations

from collections.abc import Sequence

from raybench.compare import WHY_UNKNOWN, By, Row, RunComparison, change_interval
from raybench.page.answer import NAMED, Answer, State
from raybench.page.values import p_value
from raybench.page.verdicts import Reason
from raybench.records import count, in_percent
from raybench.report import settled_by


def by_which(found: RunComparison) -> By:
    """The change that the page is about: relative to the baseline where anything is, or absolute."""
    return "relative" if any(row.relative is not None for row in found.deployments) else "absolute"


def answer_of_two(found: RunComparison) -> Answer:
    """What became slower or faster in B, the furthest first.

    ``incomplete``: configurations that are not compared, ``failed`` those of them that are complete in A.
    """
    by = by_which(found)
    rows = [row for row in found.deployments if row.judged(by) is not None]
    lost = f"{_named([one.configuration for one in found.lost])}: complete in A and not in B. " if found.lost else ""
    against = f"relative to {found.baseline_label}" if by == "relative" else "absolute"
    unsettled = len(found.with_verdict(["inconclusive"], by))
    state: State = "open" if unsettled else "settled"
    if found.lost:
        state = "incomplete"
    elif found.undecidable(by):
        state = "undecided"
    return Answer(
        state,
        f"{lost}{_told(found, rows, by, against)}.",
        _certainty(found, rows, by),
        incomplete=len(found.left_out),
        failed=len(found.lost),
        comparisons=len(rows),
        unsettled=unsettled,
    )


def reason_of_change(row: Row, by: By, found: RunComparison) -> Reason:
    """Why a row's change has its verdict."""
    margin = found.margin
    change = row.judged(by)
    assert change is not None
    if change.unknown is not None:
        return Reason(change.unknown.replace(" ", "-"), WHY_UNKNOWN[change.unknown])
    if change.verdict == "equivalent":
        within = f"within ±{in_percent(margin)}"
        return Reason("within-margin", f"two one-sided tests put it {within}, p {p_value(change.p_equivalence)}")
    if change.verdict in ("slower", "faster"):
        return Reason("significant", f"p {p_value(change.p_holm)} after Holm's adjustment, below 0.05")
    told = f"neither different (p {p_value(change.p_holm)} after Holm) nor surely within ±{in_percent(margin)}"
    if change.more_rounds is None:
        return Reason("too-wide", f"{told}; rounds alone would not settle it, more GPUs may")
    return Reason("too-wide", f"{told}; {settled_by(change.more_rounds, found.round_s, of_each_run=True)}")


def _told(found: RunComparison, rows: Sequence[Row], by: By, against: str) -> str:
    of_all = count(len(rows), "comparison")
    if found.undecidable(by):
        reasons = {WHY_UNKNOWN[change.unknown] for row in rows if (change := row.judged(by)) and change.unknown}
        return f"No answer: of {of_all} {against} none can be judged, for {'; '.join(sorted(reasons))}"
    moved = sorted(found.with_verdict(("slower", "faster"), by), key=lambda row: -_distance(row, by))
    same, unsettled = (len(found.with_verdict([verdict], by)) for verdict in ("equivalent", "inconclusive"))
    margin = f"±{in_percent(found.margin)}"
    if not moved and not unsettled:
        told = f"Nothing changed {against}: {of_all}, each equivalent within {margin}"
    elif not moved:
        equivalent = f", {same:,} equivalent within {margin}" if same else ""
        told = f"No change is shown {against}, nor that there is none: of {of_all} {unsettled:,} inconclusive"
        told += equivalent
    else:
        told = "; ".join(_words(row, by) for row in moved[:NAMED])
        if len(moved) > NAMED:
            told += f"; and {len(moved) - NAMED:,} more"
        rest = [f"{same:,} equivalent within {margin}"] if same else []
        rest += [f"{unsettled:,} inconclusive"] if unsettled else []
        told = f"{against[0].upper()}{against[1:]}: {told}" + (f"; of {of_all} {', '.join(rest)}" if rest else "")
    alike = {row.absolute.verdict for row in found.deployments}
    if by == "relative" and alike in ({"slower"}, {"faster"}):
        told += f"; absolute, all are {alike.pop()} in B, by the machine or by something that all share"
    return told


def _distance(row: Row, by: By) -> float:
    change = row.judged(by)
    return 0.0 if change is None else abs(change.estimate.log_ratio)


def _words(row: Row, by: By) -> str:
    change = row.judged(by)
    assert change is not None
    return f"{row.label} is {change.verdict} in B, {change_interval(change)}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _certainty(found: RunComparison, rows: Sequence[Row], by: By) -> str:
    visits = max((change.estimate.n for row in rows if (change := row.judged(by)) is not None), default=0)
    differ = (
        f"The runs differ in {count(len(found.differences), 'thing')} besides, and a change may come from those."
        if found.differences
        else "The runs say the same of plan, model, requests, versions and machines."
    )
    return (
        f"95 % intervals over up to {count(visits, 'visit')}, verdicts at 5 % after Holm's adjustment over all rows, "
        f"equivalent within ±{in_percent(found.margin)}. {differ}"
    )
