"""Numbers as people read them: overheads in percent, intervals, shares, rounds, durations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from raybench.records import count, in_percent

_MOST_TIMES: Final = 10.0
"""An interval that reaches further than that many times either way, and has no change in it, tells nobody anything."""
_UNUSABLE: Final = "no usable interval: visits differ too much"

_NO_INTERVAL: Final[dict[str, str]] = {
    "one visit": "one visit",
    "equal visits": "all visits equal",
    "devices apart": "GPUs not told from blocks",
}


def why_no_interval(unknown: str) -> str:
    """Why a ratio has no interval, in few words, by its column ``unknown``."""
    return _NO_INTERVAL[unknown]


def percent(ratio: float | None) -> str:
    """A ratio as an overhead: 1.248 -> ``+24.8 %``."""
    if ratio is None or math.isnan(ratio):
        return "-"
    if math.isinf(ratio):
        return "+inf"
    return in_percent(ratio - 1, "+.1f")


def interval(row: Mapping[str, Any]) -> str:
    """The overhead of a row of ratios with its interval, or with why there is none."""
    if row["unknown"] is not None:
        return f"{percent(row['ratio'])} [no interval: {why_no_interval(row['unknown'])}]"
    return f"{percent(row['ratio'])} {ends(row['low'], row['high'])}"


def judged_interval(row: Mapping[str, Any]) -> str:
    """`interval` and the verdict; a round by itself gives none."""
    return interval(row) if row["unknown"] == "one visit" else f"{interval(row)} {row['verdict']}"


def ends(low: float, high: float) -> str:
    """Both ends of an interval of ratios: ``[+21.5 %, +22.5 %]``; in words where it is too wide to say anything."""
    return f"[{percent(low)}, {percent(high)}]" if is_usable(low, high) else f"[{_UNUSABLE}]"


def is_usable(low: float, high: float) -> bool:
    """Whether an interval of ratios, both ends known, says more than that nothing is known.

    One that leaves out 0 % says at least which of two is slower.
    """
    return not low < 1 < high or high <= low * _MOST_TIMES**2


def with_open_ends(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ratios for a table that has a column for either end: both are open where it is not usable."""
    low, high = row["low"], row["high"]
    known = low is not None and high is not None
    return dict(row) if not known or is_usable(low, high) else {**row, "low": 0.0, "high": math.inf}


def share(value: float) -> str:
    """A share in percent, rounded down, so that all but a few is never 100 %: ``99.2 %``."""
    return f"{math.floor(value * 1000) / 10:g} %"


def size(number: float) -> str:
    """Of 10^3 each, as in the tables: ``131.1 MB``, ``4.1 KB``."""
    return f"{number / 1e6:,.1f} MB" if number >= 1e5 else f"{number / 1e3:,.1f} KB"


def of_all(number: int, total: int, noun: str) -> str:
    """``2 of 5 claims``, ``all 5 claims``, ``both claims``, ``the only claim``."""
    if number < total:
        return f"{number:,} of {count(total, noun)}"
    return {1: f"the only {noun}", 2: f"both {noun}s"}.get(total, f"all {count(total, noun)}")


def be(number: int) -> str:
    """The verb behind `of_all`, or any number of things: ``1 of 5 configurations is``, ``both configurations are``."""
    return "is" if number == 1 else "are"


def duration(seconds: float) -> str:
    """``75`` -> ``1 min 15 s``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
