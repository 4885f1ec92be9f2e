"""Which strategies a run tells apart, and how far one of two may be from what was measured."""

from __future__ import annotations

import math

import pytest

from decide.advising import with_memory
from raybench.analysis.tables import Tables
from raybench.decide import telling
from raybench.decide.advice import Comparison
from raybench.decide.evidence import Evidence
from raybench.decide.telling import comparisons_of, slack


def compared(tables: Tables) -> dict[tuple[str, str], Comparison]:
    """Each pair once, as the run has it."""
    return {(c.strategy, c.reference): c for c in comparisons_of(tables, Evidence(tables).rows).values()}


def test_pairs_that_were_never_compared_are_told_apart_through_a_third(known_tables: Tables) -> None:
    through = compared(known_tables)["multi_lora", "lora_merged"]
    assert (through.verdict, through.decides) == ("slower", True)
    assert through.through in ("full_ft", "lora_separate")
    assert through.ratio == pytest.approx(5.5 / 4.02, rel=1e-6)


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        (((1.2, 1.3), (0.9, 1.1)), ("slower", True)),
        (((1.0, 1.2), (1.1, 1.3)), ("inconclusive", False)),
        (((0.7, 0.8), (0.9, 1.1)), ("faster", True)),
        (((1.004, 1.005), (1.001, 1.002)), ("equivalent", False)),
        (((0.0, math.inf), (0.9, 1.1)), ("inconclusive", False)),
    ],
)
def test_through_a_third_only_intervals_apart_by_more_than_the_margin_decide(
    intervals: tuple[tuple[float, float], tuple[float, float]], expected: tuple[str, bool]
) -> None:
    one, other = (
        Comparison(name, "r", math.sqrt(low * high) if low else 1.0, low, high, "slower", True)
        for name, (low, high) in zip("ab", intervals, strict=True)
    )
    found = telling.within_margin(telling.through(one, other), 1.02)
    assert found.low == intervals[0][0] / intervals[1][1]
    assert found.high == intervals[0][1] / intervals[1][0]
    assert (found.verdict, found.decides) == expected


@pytest.mark.parametrize("place", [0, 1])
def test_through_a_third_a_disputed_comparison_tells_nothing_apart(place: int) -> None:
    """Neither slower, as intervals far apart would be, nor equivalent, as those within the margin."""
    for intervals in (((1.2, 1.3), (0.9, 1.1)), ((1.004, 1.005), (1.001, 1.002))):
        row = {"verdict": "inconclusive", "ratio": 1.0, "disputed": None}
        one, other = (
            telling.told_by(row | {"low": low, "high": high, "disputed": at == place}, name, "r")
            for at, (name, (low, high)) in enumerate(zip("ab", intervals, strict=True))
        )
        found = telling.within_margin(telling.through(one, other), 1.02)
        assert (found.verdict, found.decides, found.disputed) == ("inconclusive", False, True)
        assert found.seen_from("b").disputed


@pytest.mark.parametrize(
    ("one_way", "other_way", "found", "decides"),
    [
        ("slower", "faster", "slower", True),
        ("slower", "inconclusive", "inconclusive", False),
        ("inconclusive", "faster", "inconclusive", False),
        ("slower", "equivalent", "equivalent", False),
        ("equivalent", "inconclusive", "inconclusive", False),
        ("slower", "slower", "inconclusive", False),  # each is slower than the other: both intervals in one
    ],
)
def test_where_both_directions_were_compared_both_must_decide(
    known_tables: Tables, one_way: str, other_way: str, found: str, decides: bool
) -> None:
    tables = with_memory(known_tables.root)
    intervals = {"slower": (1.2, 1.3), "faster": (1 / 1.3, 1 / 1.2)}
    for (strategy, reference), verdict in {
        ("full_ft", "lora_separate"): one_way,
        ("lora_separate", "full_ft"): other_way,
    }.items():
        low, high = intervals.get(verdict, (0.9, 1.1))
        tables.connection.execute(
            f"UPDATE by_strategy SET verdict = '{verdict}', low = {low}, high = {high}"
            f" WHERE strategy = '{strategy}' AND reference_strategy = '{reference}'"
        )
    pair = comparisons_of(tables, Evidence(tables).rows)["full_ft", "lora_separate"]
    assert (pair.verdict, pair.decides) == (found, decides)
    assert decides or pair.low <= 1 <= pair.high


def test_how_much_faster_one_of_two_may_be_is_what_their_interval_allows() -> None:
    compared = {
        ("lora_separate", "lora_merged"): Comparison("lora_separate", "lora_merged", 1.2, 1.1, 1.5, "slower", True)
    }
    assert slack(compared, "lora_separate", "lora_merged") == pytest.approx(1.2 / 1.1)
    assert slack(compared, "lora_merged", "lora_separate") == pytest.approx(1.5 / 1.2)
    assert slack(compared, "lora_merged", "lora_merged") == 1.0
    assert slack(compared, "lora_merged", "full_ft") == math.inf
    unknown = {
        ("full_ft", "lora_merged"): Comparison("full_ft", "lora_merged", 1.2, 0.0, math.inf, "inconclusive", False)
    }
    assert slack(unknown, "full_ft", "lora_merged") == math.inf
    assert slack(unknown, "lora_merged", "full_ft") == math.inf
