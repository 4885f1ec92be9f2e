"""When a run that goes on "until the intervals are narrow enough" may stop.

Stopping at the first narrow interval picks the moment at which the spread happens to be underestimated: two
identical configurations are then called different too often. The rule below looks as often as it likes, goes by
the width alone and never by where the interval lies, and leaves the tables as they are: ordinary 95 % intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from raybench.records import count

if TYPE_CHECKING:
    from raybench.analysis.stats import Estimate

FIRST_LOOK: Final = 8
"""Rounds before a narrow interval counts: the spread of fewer visits is too easily small by chance."""

CONFIRMING: Final = 12
"""Rounds that are added once the interval is narrow, and after which it must still be."""

CONFIRMING_OVER_DEVICES: Final = 28
"""The same where the interval is over several GPUs: their means say less, and change slowly."""

LEAST_DF: Final = 3
"""Degrees of freedom below which a narrow interval says nothing: with one (two GPUs) the width passes through zero by
chance, and slowly, so that no number of confirming rounds helps."""

LEAST_DEVICES: Final = LEAST_DF + 1
"""Where intervals are over several devices, with fewer the target is never met."""

LEAST_ROUNDS: Final = FIRST_LOOK + CONFIRMING
"""In fewer the target is never met; over several devices in fewer than `HalfwidthRule.least_rounds`."""

Decision = Literal["continue", "narrow", "max_rounds"]


def dependable_halfwidth(estimate: Estimate) -> float:
    """The half-width that `HalfwidthRule` goes by: inf where it rests on fewer than `LEAST_DF` degrees of freedom."""
    return estimate.halfwidth() if estimate.df >= LEAST_DF else math.inf


@dataclass(frozen=True, slots=True)
class HalfwidthRule:
    """Goes on until every claim's 95 % interval reaches at most ``target`` from its ratio, and stays so.

    ``target``: 0.01 for 1 %. ``max_rounds``: where it stops in any case; below ``least_rounds`` the target is never
    met. ``devices``: over how many the intervals are (1: over the visits of one).
    Raises ValueError for a target that is not positive or a maximum below one.

    A purely sequential fixed-width interval (Chow and Robbins 1965, Ann. Math. Stat. 36, 457-462) covers too little
    because it stops early; a fixed number of further observations mends that (Simons 1968, Ann. Math. Stat. 39,
    1946-1952). Their number, and that of the rounds before the first look, was chosen by simulation. With up to 50
    looks, and over all ratios of spread to target, the worst false-positive rate is 5.6 % for normal visits and 5.9 %
    for visits in two states, and over 4 or 6 GPUs 5.8 %; with 2 or 3 GPUs it never stops early. Stopping at the first
    narrow interval after two rounds has 12 % and 35 %.
    """

    target: float
    max_rounds: int
    devices: int = 1

    def __post_init__(self) -> None:
        if not (self.target > 0 and math.isfinite(self.target)):
            raise ValueError(f"a half-width must be positive (0.01 is 1 %), not {self.target}")
        if self.max_rounds < 1:
            raise ValueError(f"at least one round is needed, not {self.max_rounds}")

    @property
    def confirming(self) -> int:
        """Rounds that are added once the interval is narrow."""
        return CONFIRMING if self.devices < 2 else CONFIRMING_OVER_DEVICES

    @property
    def least_rounds(self) -> int:
        """In fewer the target is never met."""
        return FIRST_LOOK + self.confirming

    def out_of_reach(self) -> str | None:
        """For a person: why over its devices the target cannot be met; None where it can."""
        instead = "the one round is measured" if self.max_rounds == 1 else f"all {self.max_rounds} rounds are measured"
        if 1 < self.devices < LEAST_DEVICES:
            return (
                f"Intervals over {self.devices} GPUs are too unsure to stop by: {instead}. The target can be met on "
                f"one GPU, or on {LEAST_DEVICES} and more."
            )
        if self.max_rounds < self.least_rounds:
            least = count(self.least_rounds, "round")
            return f"Over {count(self.devices, 'GPU')} it takes {least} to be sure (--max-rounds): {instead}."
        return None

    def is_narrow(self, rounds: int, halfwidth: float) -> bool:
        """Whether the widest claim's half-width after so many rounds meets the target, for now."""
        return rounds >= FIRST_LOOK and halfwidth <= self.target

    def decide(self, halfwidths: Sequence[float]) -> Decision:
        """What to do after ``len(halfwidths)`` rounds; ``halfwidths[i]`` is the widest claim's after round i + 1.

        Takes the whole history, so that a resumed run, or one that skipped looks, decides alike. ``narrow``: stop,
        the target is met. ``max_rounds``: stop, it is not, or not for long enough to be trusted.
        """
        rounds = len(halfwidths)
        narrow = (i for i, width in enumerate(halfwidths, 1) if self.is_narrow(i, width))
        first = next(narrow, math.inf)
        if rounds >= first + self.confirming and halfwidths[-1] <= self.target:
            return "narrow"
        return "max_rounds" if rounds >= self.max_rounds else "continue"
