"""What would settle what is inconclusive: some more rounds, or where nobody would wait for so many what else would.

The one place that says either. A forecast of many rounds rests on what a few showed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Literal

from raybench.analysis import Views, shipped_sql
from raybench.records import count

NOT_BY_ROUNDS: Final = "not to be settled by more rounds on this machine"

_MOST_ROUNDS: Final = 100
"""Rounds that are asked of anybody."""
_MOST_S: Final = 86_400.0
"""What they may take at the run's own pace: a day."""
_MOST_SAMPLES: Final = 2_000_000
"""Of a run: of a longer one the spread is not taken apart, which reads the samples of a comparison again."""

Part = Literal["slow requests", "requests", "visits"]
"""The larger part of how far visits differ."""

_WOULD: Final[Mapping[Part | None, str]] = {
    "slow requests": "a few slow requests make most of the spread, so a quieter machine would, or a wider margin",
    "requests": "the requests of a visit make most of the spread, so more of them in each would (--requests), or a "
    "wider margin",
    "visits": "visits differ by more than their requests do, so a quieter machine would, or a wider margin",
    None: "a wider margin would do, or a machine whose visits differ less",
}


def are_too_many(rounds: int, round_s: float | None = None) -> bool:
    """Whether so many more rounds are no advice: more than a hundred, or longer than a day where a round takes
    ``round_s``.
    """
    return rounds > _MOST_ROUNDS or (round_s is not None and rounds * round_s > _MOST_S)


def more_rounds(rounds: int) -> str:
    """``1 more round``, ``2 more rounds``."""
    return count(rounds, "more round")


def settled_by(
    rounds: int, round_s: float | None = None, part: Part | None = None, *, of_each_run: bool = False
) -> str:
    """What would settle a comparison for which ``rounds`` more are forecast, in words.

    ``of_each_run``: two runs are compared, and either needs so many.
    """
    if are_too_many(rounds, round_s):
        return f"{NOT_BY_ROUNDS}: {_WOULD[part]}"
    of_each = " of each run" if of_each_run else ""
    return f"about {more_rounds(rounds)}{of_each} would settle it, if ratio and spread stay as they are"


def round_seconds(views: Views) -> float | None:
    """How long a round of a run took, on the devices that it had; None where no visit is over."""
    found: float | None = views.rows(shipped_sql("round_time"))[0]["seconds"]
    return found


class Settling:
    """What would settle the rows of one run's ``by_strategy``. The run is asked for it once, and only if needed."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._parts: dict[tuple[str, str, str], Part | None] = {}

    @cached_property
    def round_s(self) -> float | None:
        return round_seconds(self._views)

    def is_hopeless(self, row: Mapping[str, Any]) -> bool:
        """Whether a row would take more rounds than anybody runs; ``more_rounds`` is known."""
        return are_too_many(row["more_rounds"], self.round_s)

    def words(self, row: Mapping[str, Any]) -> str:
        """`settled_by` of a row whose ``more_rounds`` is known; ``paired``: that by requests' own ratios, or None."""
        part = self._part(row) if self.is_hopeless(row) else None
        return settled_by(row["more_rounds"], self.round_s, part)

    def would(self, row: Mapping[str, Any]) -> str:
        """Of a hopeless row: what would settle it."""
        return _WOULD[self._part(row)]

    def _part(self, row: Mapping[str, Any]) -> Part | None:
        paired = row.get("paired")
        # Half as wide: a quarter of the variance.
        if paired is not None and _reach(paired) < _reach(row) / 2:
            return "slow requests"
        if row["via"] is not None:
            return None
        key = row["deployment"], row["reference_strategy"], row["measure"]
        if key not in self._parts:
            self._parts[key] = self._larger(*key)
        return self._parts[key]

    def _larger(self, deployment: str, reference: str, measure: str) -> Part | None:
        if self._views.rows("SELECT coalesce(sum(n), 0) AS n FROM by_configuration")[0]["n"] > _MOST_SAMPLES:
            return None
        found = self._views.query(shipped_sql("spread"), [deployment, reference, measure]).to_pylist()[0]
        if found["requests"] is None or not found["visits"]:
            return None
        return "requests" if found["requests"] > found["visits"] / 2 else "visits"


def _reach(row: Mapping[str, Any]) -> float:
    """How far the interval of a row reaches, as a log ratio; inf where there is none."""
    if row.get("unknown") is not None or not row["ratio"] or not row["high"]:
        return math.inf
    return math.log(row["high"] / row["ratio"])
