"""Balanced orders: counted, for every number of things that a block may have."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from raybench.visit.orders import balanced_order


@pytest.mark.parametrize("count", range(1, 10))
def test_in_each_square_everything_has_every_place_and_follows_every_other_equally_often(count: int) -> None:
    laps = count if count % 2 == 0 or count == 1 else 2 * count
    for square in range(3):
        orders = [balanced_order(count, square * laps + lap, [5]) for lap in range(laps)]
        assert all(sorted(order) == list(range(count)) for order in orders)
        places = Counter((place, thing) for order in orders for place, thing in enumerate(order))
        assert set(places.values()) == {laps // count}
        assert len(places) == count**2
        follows = Counter(pair for order in orders for pair in itertools.pairwise(order))
        assert len(follows) == count * (count - 1)
        assert len(set(follows.values())) <= 1


def test_an_order_is_drawn_from_its_seed_and_no_row_comes_first_in_every_square() -> None:
    def orders(seed: int) -> list[tuple[int, ...]]:
        return [balanced_order(4, lap, [seed]) for lap in range(40)]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)
    assert len(set(orders(1)[::4])) > 4
    firsts = Counter(balanced_order(2, square * 2, [seed]) for square in range(10) for seed in range(40))
    assert 150 < firsts[0, 1] < 250


def test_of_nothing_there_is_one_order() -> None:
    assert balanced_order(0, 3, [1]) == ()
