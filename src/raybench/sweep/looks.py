"""How far a sweep measures before it looks at its intervals: at the end, or with --until-halfwidth round by round."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from raybench.analysis import HalfwidthRule, Views
from raybench.plan import Plan
from raybench.records import count, in_percent
from raybench.store import RunStore


def last_rounds(plan: Plan, store: RunStore, say: Callable[[str], None]) -> Iterator[int]:
    """The last round to measure before looking at the intervals again; one look, at the end, for a fixed length.

    With --until-halfwidth, rounds are looked at one by one, by a rule whose errors do not grow with the looks.
    """
    if plan.until_halfwidth is None:
        yield plan.rounds - 1
        return
    begun, said_of = 1 + max((round_index for _, round_index in store.committed()), default=0), 1
    for rounds in range(begun, plan.rounds + 1):
        yield rounds - 1
        verdicts = Views(store.root).verdicts
        widths = verdicts.widest_claims()
        rule = HalfwidthRule(plan.until_halfwidth, plan.rounds, verdicts.devices)
        decision = rule.decide(widths)
        widest = in_percent(widths[-1], ".2f") if widths and widths[-1] < 10 else "not known yet"
        if rule.devices != said_of and (why := rule.out_of_reach()) is not None:
            say(why)
        said_of = rule.devices
        confirming = decision == "continue" and widths and rule.is_narrow(rounds, widths[-1])
        found = "narrow so far, to be confirmed by further rounds" if confirming else decision
        target = in_percent(rule.target, ".2f")
        say(f"After {count(rounds, 'round')} the widest half-width is {widest} (target {target}): {found}.")
        if decision != "continue":
            return
