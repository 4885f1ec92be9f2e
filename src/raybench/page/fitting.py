"""As much of a run as a page may be long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from raybench.page.parts import Limits, Page

MOST_BYTES: Final = 500_000
_LIMITS: Final = (Limits(), Limits(rows=40, characters=60), Limits(rows=12, series=4, characters=40))
"""The next where a page is longer than `MOST_BYTES`; the last is taken as it is."""


def fitting(page: Callable[[Limits], Page], written: Callable[[Page], str]) -> str:
    """As much as fits into `MOST_BYTES`."""
    text = ""
    for limits in _LIMITS:
        text = written(page(limits))
        if len(text.encode()) <= MOST_BYTES:
            break
    return text
