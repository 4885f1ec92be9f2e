"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from raybench.report.numbers import duration, interval, with_open_ends


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


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ((1.248, 1.2, 1.3, None), "+24.8 % [+20.0 %, +30.0 %]"),
        ((1.0, 0.1, 10.0, None), "+0.0 % [-90.0 %, +900.0 %]"),
        ((1.0, 0.0999, 10.0, None), "+0.0 % [no usable interval: visits differ too much]"),
        ((3.2, 0.01, 1001.0, None), "+220.0 % [no usable interval: visits differ too much]"),
        ((1.0, 0.0, math.inf, None), "+0.0 % [no usable interval: visits differ too much]"),
        ((40.0, 1.1, 1500.0, None), "+3900.0 % [+10.0 %, +149900.0 %]"),
        ((0.02, 0.0005, 0.9, None), "-98.0 % [-100.0 %, -10.0 %]"),
        ((1.25, 0.0, math.inf, "one visit"), "+25.0 % [no interval: one visit]"),
        ((1.25, None, None, "equal visits"), "+25.0 % [no interval: all visits equal]"),
        ((1.25, 0.0, math.inf, "devices apart"), "+25.0 % [no interval: GPUs not told from blocks]"),
    ],
)
def test_an_interval_that_says_nothing_is_said_to(
    row: tuple[float, float | None, float | None, str | None], text: str
) -> None:
    ratio, low, high, unknown = row
    assert interval({"ratio": ratio, "low": low, "high": high, "unknown": unknown}) == text


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(0.9, 1.2, (0.9, 1.2)), (0.01, 1001.0, (0.0, math.inf)), (None, None, (None, None)), (2.0, 900.0, (2.0, 900.0))],
)
def test_columns_of_both_ends_are_open_where_an_interval_says_nothing(
    low: float | None, high: float | None, shown: tuple[float | None, float | None]
) -> None:
    assert with_open_ends({"low": low, "high": high, "n": 3}) == {"low": shown[0], "high": shown[1], "n": 3}
