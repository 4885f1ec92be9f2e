"""Numbers as people read them."""

from __future__ import annotations

import pytest

from raybench.report.numbers import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (75, "1 min 15 s"),
        (3_599.9, "1 h 0 min"),
        (3_600, "1 h 0 min"),
        (9_000, "2 h 30 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_durations_are_told_in_the_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
