"""Numbers as the page shows them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from raybench.records import in_percent
from raybench.report import percent

_DIGITS: Final = 7


def fixed(digits: int) -> Callable[[float], str]:
    """With so many digits after the point: ``12.34``."""
    return lambda value: f"{value:,.{digits}f}" if math.isfinite(value) else "open"


def whole(value: int) -> str:
    """``4,500``."""
    return f"{value:,}"


def moment(value: datetime) -> str:
    """``2026-11-30 12:00:00 UTC``."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def shares(value: float) -> str:
    """``12.3 %``."""
    return in_percent(value, ".1f")


def end(ratio: float) -> str:
    """An end of an interval; that of one visit says nothing."""
    return "open" if _is_open(ratio) else percent(ratio)


def end_ms(ms: float) -> str:
    """The same of an interval of milliseconds: ``12.345``."""
    return "open" if _is_open(ms) else fixed(3)(ms)


def _is_open(value: float) -> bool:
    return value == 0 or math.isinf(value)


def p_value(value: float) -> str:
    """``0.0123``, ``below 0.0001``."""
    return "below 0.0001" if value < 0.0001 else f"{value:.4f}"


def as_json(value: Any) -> Any:
    """As JSON values: what is not finite is null, numbers have seven digits."""
    if isinstance(value, dict):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)
