"""Token counts are as stated, and of a request the same whatever else is asked, before or besides."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.model.token_counts import Counts, TokenCounts
from raybench.plan.schema import Lognormal

WIDE = Lognormal(median=200, sigma=1.0, max=2048)
COUNTS = st.one_of(
    st.integers(1, 500),
    st.lists(st.integers(1, 500), min_size=1, max_size=9),
    st.builds(
        lambda median, sigma, more: Lognormal(median=median, sigma=sigma, max=median + more),
        st.integers(1, 300),
        st.floats(0.01, 5),
        st.integers(0, 300),
    ),
)


@given(stated=COUNTS, seed=st.integers(0, 2**62), count=st.integers(1, 20_000), data=st.data())
def test_a_request_has_the_same_count_alone_as_among_the_first(
    stated: Counts, seed: int, count: int, data: st.DataObject
) -> None:
    first = TokenCounts(stated, seed, "prompt").first("support", count)
    assert first.shape == (count,)
    assert first.min() >= 1
    index = data.draw(st.integers(0, count - 1))
    assert TokenCounts(stated, seed, "prompt").at("support", index) == first[index]
    assert TokenCounts(stated, seed, "prompt").first("support", index + 1)[index] == first[index]


def test_counts_are_asked_for_one_by_one_in_any_order() -> None:
    counts = TokenCounts(WIDE, 0, "prompt")
    first = counts.first("support", 30_000)
    assert [counts.at("support", i) for i in (29_999, 0, 8192, 8191, 29_999)] == first[
        [29_999, 0, 8192, 8191, 29_999]
    ].tolist()


def test_more_is_asked_than_is_kept() -> None:
    counts = TokenCounts([1, 2, 3], 0, "prompt")
    tasks = [f"t{i}" for i in range(600)]
    assert [counts.at(task, 0) for task in tasks] == [counts.at(task, 0) for task in tasks]
    assert len(counts._drawn) <= 512


def test_other_seeds_tasks_and_outputs_are_drawn_apart() -> None:
    drawn = [
        TokenCounts(WIDE, seed, of).first(task, 1000).tolist()
        for seed, of, task in [(0, "prompt", "a"), (1, "prompt", "a"), (0, "output", "a"), (0, "prompt", "b")]
    ]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.1


def test_these_are_the_draws() -> None:
    """A change of them would be another workload under the same name."""
    assert TokenCounts(WIDE, 0, "prompt").first("support", 6).tolist() == [124, 275, 2048, 228, 731, 269]
    assert TokenCounts([5, 7, 11], 0, "prompt").first("support", 12).tolist() == [
        5,
        11,
        7,
        5,
        11,
        5,
        11,
        7,
        5,
        11,
        5,
        5,
    ]


def test_a_lognormal_has_its_median_its_spread_and_its_most() -> None:
    drawn = TokenCounts(WIDE, 0, "prompt").first("a", 200_000)
    assert np.median(drawn) == 200
    assert np.quantile(drawn, [0.1587, 0.8413]) == pytest.approx([200 / math.e, 200 * math.e], rel=0.01)
    assert (drawn == 2048).mean() == pytest.approx(0.01, abs=5e-4)  # 1 - Phi(ln 10.24) = 0.01
    assert drawn.max() == 2048


def test_a_lognormal_whose_median_is_its_most_is_it_half_of_the_time() -> None:
    drawn = TokenCounts(Lognormal(median=64, sigma=0.5, max=64), 0, "prompt").first("a", 100_000)
    assert (drawn == 64).mean() == pytest.approx(0.5, abs=0.01)


def test_no_request_is_without_tokens() -> None:
    assert TokenCounts(Lognormal(median=1, sigma=5.0, max=3), 0, "prompt").first("a", 10_000).min() == 1


def test_values_of_a_list_come_as_often_as_they_stand_there() -> None:
    drawn = Counter(TokenCounts([8, 8, 8, 64], 0, "prompt").first("a", 100_000).tolist())
    assert set(drawn) == {8, 64}
    assert drawn[8] / 100_000 == pytest.approx(0.75, abs=0.01)


def test_a_description_tells_the_parameters_and_a_long_list_by_its_hash() -> None:
    assert TokenCounts(7, 0, "output").describe("output_tokens") == {"output_tokens": 7}
    assert TokenCounts(None, 0, "output").describe("output_tokens") == {}
    assert TokenCounts([3, 4], 0, "output").describe("n") == {"n": [3, 4]}
    assert TokenCounts(WIDE, 0, "output").describe("n") == {"n": {"median": 200, "sigma": 1.0, "max": 2048}}
    told = TokenCounts(list(range(1, 102)), 0, "output").describe("n")["n"]
    other = TokenCounts([*range(1, 101), 101][::-1], 0, "output").describe("n")["n"]
    assert {key: told[key] for key in ("values", "least", "most")} == {"values": 101, "least": 1, "most": 101}
    assert told["sha256"] != other["sha256"]
