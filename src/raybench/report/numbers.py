"""Numbers as people read them: overheads in percent, intervals, shares, rounds, durations."""

from __future__ import annotations

import math
from typing import Any, Final

_NO_INTERVAL: Final[dict[str, str]] = {
    "one visit": "one launch",
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
    return f"{(ratio - 1) * 100:+.1f} %"


def interval(row: dict[str, Any]) -> str:
    """The overhead of a row of ratios with its interval, or with why there is none."""
    if row["unknown"] is not None:
        return f"{percent(row['ratio'])} [no interval: {why_no_interval(row['unknown'])}]"
    return f"{percent(row['ratio'])} [{percent(row['low'])}, {percent(row['high'])}]"


def share(value: float) -> str:
    """A share in percent, rounded down, so that all but a few is never 100 %: ``99.2 %``."""
    return f"{math.floor(value * 1000) / 10:g} %"


def size(count: float) -> str:
    """Of 10^3 each, as in the tables: ``131.1 MB``, ``4.1 KB``."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} KB"


def duration(seconds: float) -> str:
    """``75`` -> ``1 min 15 s``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
