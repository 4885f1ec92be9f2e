"""Which adapter a request is for: the shares that routings are named for, drawn alike each time."""

from __future__ import annotations

from collections import Counter

import pytest

from raybench.plan.routing import DRAWN, Routing, places, shares


@pytest.mark.parametrize(("routing", "share"), [("uniform", 8 / 1024), ("zipf", 0.362), ("geometric", 0.961)])
def test_the_first_eight_of_1024_get_the_share_that_the_docs_say(routing: Routing, share: float) -> None:
    found = shares(routing, 1024)
    assert len(found) == 1024
    assert sum(found) == pytest.approx(1)
    assert sum(found[:8]) == pytest.approx(share, abs=5e-4)


def test_shares_are_those_of_their_laws() -> None:
    assert shares("uniform", 4) == [0.25] * 4
    assert shares("zipf", 3) == pytest.approx([6 / 11, 3 / 11, 2 / 11])
    assert shares("geometric", 3) == pytest.approx([9 / 19, 6 / 19, 4 / 19])
    assert [shares(routing, 1) for routing in ("uniform", "zipf", "geometric")] == [[1.0]] * 3


@pytest.mark.parametrize("routing", sorted(DRAWN))
def test_what_is_drawn_follows_from_seed_and_round_and_comes_as_often_as_is_likely(routing: Routing) -> None:
    drawn = places(routing, 5, 0, 20_000, 7)
    assert drawn == places(routing, 5, 0, 20_000, 7)
    assert drawn != places(routing, 5, 0, 20_000, 8)
    assert drawn != places(routing, 5, 20_000, 20_000, 7)
    counts = Counter(drawn)
    for place, share in enumerate(shares(routing, 5)):
        assert counts[place] / 20_000 == pytest.approx(share, abs=0.015)


def test_others_are_not_drawn() -> None:
    assert places("round_robin", 3, 5, 4, 1) == [2, 0, 1, 2]
    assert places("mixed", 3, 5, 4, 1) == [2, 0, 1, 2]
    assert places("blocked", 2, 5, 5, 1) == [0, 0, 0, 1, 1]
