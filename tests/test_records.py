"""Words that all rooms use."""

from __future__ import annotations

from raybench.records import count


def test_one_of_a_thing_is_singular() -> None:
    assert [count(number, "visit") for number in (0, 1, 2, 1_000)] == [
        "0 visits",
        "1 visit",
        "2 visits",
        "1,000 visits",
    ]
