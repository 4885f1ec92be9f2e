"""The advice in one sentence, with what is not settled, and why this way."""

from __future__ import annotations

from collections.abc import Sequence

from raybench.decide.advice import WayResult, gigabytes, milliseconds
from raybench.decide.needs import Needs
from raybench.records import count
from raybench.report import NOT_BY_ROUNDS, are_too_many, more_rounds


def sentence(
    needs: Needs,
    best: WayResult | None,
    ways: Sequence[WayResult],
    missing: Sequence[str],
    may_be_better: Sequence[str] = (),
    round_s: float | None = None,
) -> str:
    """The advice in one sentence; a second one where the way is not settled. ``may_be_better``: names of ways.

    ``round_s``: seconds that a round of the run took.
    """
    asked = (
        f"{count(needs.tasks, 'task')} at {needs.requests_per_second:g} requests/s "
        f"within p95 {milliseconds(needs.slo_p95_s)}"
    )
    if missing:
        return f"No advice on {asked}: the run lacks what it needs."
    if best is None:
        none = f"No way serves {asked} on GPUs of {gigabytes(needs.gpu_memory_bytes)}: {_no_way(ways)}; see each way."
        return none + _may_all_the_same(ways, round_s)
    binds = "" if best.binds == "nothing" else f"; {best.binds} decides how many"
    number = "" if best.is_settled else f": {_not_settled(best, round_s)}"
    labels = ", ".join(way.label for way in ways if way.way in may_be_better)
    way = f" Which way is not settled either: {labels} may do better." if labels and number else ""
    if labels and not number:
        way = f" Which way is not settled: {labels} may do better, by what the run tells apart."
    return f"{best.label}: {gpu_range(best)} for {asked}{binds}{number}.{way}"


def gpu_range(way: WayResult) -> str:
    """``2 GPUs``; where the interval of its speed spans several numbers ``1 to 2 GPUs``, and ``-`` for none."""
    least, most = way.gpus_least, way.gpus_most
    if way.is_settled:
        return "-" if way.gpus is None else count(way.gpus, "GPU")
    if least is not None and most is not None:
        return f"{least:,} to {count(most, 'GPU')}"
    if way.gpus is None:
        return f"none, or {count(least or 0, 'GPU')}"
    return f"{count(least or 0, 'GPU')} or more"


def _not_settled(way: WayResult, round_s: float | None) -> str:
    """What would leave one number of GPUs."""
    if way.no_interval == "one visit":
        return "not settled, for one visit says nothing of how far visits differ; more rounds may"
    if way.no_interval == "equal visits":
        return "not settled, for the visits are equal to the last digit: a clock too coarse, or a made-up run"
    if way.no_interval is not None:
        return "not settled, for blocks met the GPUs so that these cannot be told apart; more rounds may"
    if way.more_rounds is None:
        return "not settled, and rounds on these GPUs would not; more GPUs may"
    if are_too_many(way.more_rounds, round_s):
        return f"{NOT_BY_ROUNDS}; one whose visits differ less may"
    return f"not settled; about {more_rounds(way.more_rounds)} would"


def _may_all_the_same(ways: Sequence[WayResult], round_s: float | None) -> str:
    """Which way would be feasible within its interval, where as measured none is."""
    nearly = [way for way in ways if way.gpus_least is not None]
    if not nearly:
        return ""
    way = min(nearly, key=lambda one: one.gpus_least or 0)
    gpus = count(way.gpus_least or 0, "GPU")
    return f" {way.label} may within its interval, on {gpus}: {_not_settled(way, round_s)}."


def _no_way(ways: Sequence[WayResult]) -> str:
    too_big = [way for way in ways if "memory" in way.binds]
    too_slow = [way for way in ways if "slo" in way.binds]
    found = []
    if too_big:
        least = gigabytes(min(way.bytes_each + way.bytes_beside for way in too_big))
        who = "none fits" if len(too_big) == len(ways) else f"{len(too_big)} of {len(ways)} do not fit"
        found.append(f"{who} into memory (one task needs at least {least})")
    if too_slow:
        least = milliseconds(min(way.p95_s for way in too_slow))
        who = "none meets" if len(too_slow) == len(ways) else f"{len(too_slow)} of {len(ways)} do not meet"
        found.append(f"{who} the SLO at any load (p95 without waiting at least {least})")
    return ", ".join(found)


def reasons(best: WayResult | None, ways: Sequence[WayResult], virtue: str) -> tuple[str, ...]:
    """Why this way; ``virtue``: what it has before those that need as many GPUs."""
    if best is None:
        return ()
    found = []
    ties = [way.label for way in ways if way.gpus == best.gpus and way.way != best.way]
    more = [way for way in ways if way.gpus is not None and way.gpus > (best.gpus or 0)]
    if more:
        nearest = min(more, key=lambda way: way.gpus or 0)
        found.append(
            f"It needs the fewest GPUs; of those that need more, {nearest.label} is next with {nearest.gpus:,}."
        )
    if ties:
        found.append(f"As many GPUs: {', '.join(ties)}. The simplest goes first (docs/decide.md): {virtue}.")
    return tuple(found)
