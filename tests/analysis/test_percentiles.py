from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from analysis import truth
from raybench.analysis.percentiles import PERCENTILES, _hazen, over_devices, percentile, samples_needed
from raybench.analysis.stats import Interval

VISITS = np.exp(0.05 * np.random.default_rng(4).standard_normal((10, 50)))


@pytest.mark.parametrize("wanted", truth.PERCENTILES, ids=lambda wanted: wanted.name)
def test_simulated_truth_is_covered(wanted: truth.Property) -> None:
    assert truth.holds_roughly(wanted)


def test_the_figures_of_the_refusal() -> None:
    assert [samples_needed(percent) for percent in PERCENTILES] == [11, 64, 130, 662, 6_636]
    assert samples_needed(1) == samples_needed(99)


@pytest.mark.parametrize("percent", [50, 75, 90, 95, 99, 99.9])
def test_the_refusal_is_the_binomial_one(percent: float) -> None:
    def two_beyond(n: int) -> float:
        tail = 1 - percent / 100
        return 1 - (1 - tail) ** n - n * tail * (1 - tail) ** (n - 1)

    assert two_beyond(samples_needed(percent)) >= 0.99 > two_beyond(samples_needed(percent) - 1)


@given(st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=40), st.floats(0, 1))
def test_a_quantile_of_sorted_samples_is_numpys(samples: list[float], p: float) -> None:
    ordered = np.sort(np.array(samples))
    assert _hazen(ordered, p) == float(np.quantile(ordered, p, method="hazen"))


def test_too_few_samples_are_refused_with_the_reason() -> None:
    p50, p90, p95, p99, p999 = over_devices([("gpu", visit) for visit in VISITS])
    assert [p.refused for p in (p50, p90, p95)] == [None] * 3
    assert p99.refused == "p99 needs 662 samples, there are 500"
    assert p999.refused == "p99.9 needs 6,636 samples, there are 500"
    assert (p99.value, p99.interval) == (None, Interval(0.0, math.inf))
    assert (p99.samples, p99.visits) == (500, 10)


def test_percentiles_that_enough_samples_carry() -> None:
    rng = np.random.default_rng(5)
    visits = list(rng.exponential(1.0, (10, 700)))
    for found, percent in zip(over_devices([("gpu", visit) for visit in visits]), PERCENTILES, strict=True):
        low, high = found.interval
        assert found.value is not None
        assert low < found.value < high
        assert low < -math.log(1 - percent / 100) < high


def test_the_median_interval_by_hand() -> None:
    found = percentile(VISITS, 50)
    pooled = np.sort(VISITS.ravel())
    assert found.value == pytest.approx((pooled[249] + pooled[250]) / 2, rel=1e-12)
    shares = (found.value >= VISITS).mean(axis=1)
    reach = stats.t.ppf(0.975, 9) * stats.sem(shares)
    at = [np.interp(500 * share - 0.5, np.arange(500), pooled) for share in (0.5 - reach, 0.5 + reach)]
    assert found.interval == pytest.approx(at, rel=1e-9)


def test_a_wider_confidence_widens_the_interval() -> None:
    narrow, wide = percentile(VISITS, 95, confidence=0.8).interval, percentile(VISITS, 95, confidence=0.99).interval
    assert wide.low < narrow.low < narrow.high < wide.high


@given(st.randoms(use_true_random=False))
def test_the_order_of_visits_and_samples_says_nothing(random: object) -> None:
    visits = [list(visit) for visit in VISITS]
    for rows in (*visits, visits):
        random.shuffle(rows)  # type: ignore[attr-defined]
    assert percentile(visits, 95).interval == pytest.approx(percentile(VISITS, 95).interval, rel=1e-12)


def test_the_unit_of_time_says_nothing() -> None:
    ns, ms = percentile(VISITS * 1e6, 95), percentile(VISITS, 95)
    assert ns.interval == pytest.approx([1e6 * end for end in ms.interval])


def test_visits_alike_to_the_last_sample_leave_no_doubt() -> None:
    found = percentile([[20.0] * 20] * 8, 95)
    assert (found.value, found.interval) == (20.0, Interval(20.0, 20.0))


def test_equal_samples_leave_as_much_doubt_as_others_nearly_equal() -> None:
    """As of a clock that ticks seldom: half of what lies at the percentile itself is below it."""
    rng = np.random.default_rng(6)
    fine = np.exp(0.05 * rng.standard_normal((10, 1)) + 0.05 * rng.standard_normal((10, 100)))
    for percent in (50, 95):
        coarse = percentile(np.round(fine, 1), percent).interval
        assert coarse.low <= percentile(fine, percent).interval.low + 0.05
        assert coarse.high >= percentile(fine, percent).interval.high - 0.05
        assert coarse.low < coarse.high


def test_visits_of_unequal_length_count_by_their_samples() -> None:
    whole = percentile(list(VISITS), 90)
    split = percentile([*VISITS[:9], VISITS[9][:10], VISITS[9][10:]], 90)
    assert whole.value == split.value
    assert split.visits == 11
    assert split.interval.low < split.value < split.interval.high


def test_two_visits_have_no_interval() -> None:
    found = percentile(VISITS[:2], 50)
    assert found.value is not None
    assert found.interval == Interval(0.0, math.inf)


def test_visits_that_differ_too_much_leave_the_upper_end_open() -> None:
    visits = [level + np.linspace(0, 0.1, 50) for level in (1, 1, 1, 1, 5)]
    found = percentile(visits, 95)
    assert found.interval.high == math.inf
    assert 1 <= found.interval.low < 5


def test_where_the_upper_end_is_open_the_lower_is_the_exact_binomial_one() -> None:
    """Twenty visits of which one is slow: that one does not bound from below what all reach."""
    visits = [np.linspace(1 + 0.001 * v, 1.1 + 0.001 * v, 50) for v in range(19)] + [np.linspace(5, 5.1, 50)]
    found = percentile(visits, 99)
    assert found.interval.high == math.inf
    shares = np.array([np.count_nonzero(found.value >= visit) for visit in visits]) / 50
    samples = 0.99 * 0.01 / (shares.var(ddof=1) / 20) * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 19)) ** 2
    low, _ = proportion_confint(0.99 * samples, samples, method="beta")
    assert found.interval.low == pytest.approx(np.quantile(np.concatenate(visits), low, method="hazen"), rel=1e-9)
    assert 1.1 < found.interval.low < 1.2


@pytest.mark.parametrize("percent", [0, 100, -1, math.nan])
def test_what_is_no_percentile_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile(VISITS, percent)


@pytest.mark.parametrize("visits", [[], [[]], [[1.0, math.nan] * 50]])
def test_what_are_no_samples_is_refused(visits: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"samples|visit"):
        percentile(visits, 50)


def test_with_several_devices_their_samples_are_the_groups() -> None:
    visits = [(f"gpu{v % 4}", samples) for v, samples in enumerate(VISITS)]
    (found,) = over_devices(visits, [50])
    expected = percentile([np.concatenate(VISITS[gpu::4]) for gpu in range(4)], 50)
    assert (found.value, found.interval, found.visits) == (expected.value, expected.interval, 10)
    (two,) = over_devices([(f"gpu{v % 2}", samples) for v, samples in enumerate(VISITS)], [50])
    assert two.interval == Interval(0.0, math.inf)


def test_few_visits_that_agree_by_chance_are_not_sure() -> None:
    found = percentile([[1.0, 2.0, 3.0, 4.0]] * 3, 50)
    assert found.interval.low < 2.5 < found.interval.high


@pytest.mark.parametrize("visits", [5, 12])
def test_visits_that_happen_to_agree_are_no_surer_than_their_samples(visits: int) -> None:
    """In each visit exactly half of the samples lie below the median: so the visits do not vary, and tell no spread."""
    samples = [20 + np.arange(40) + 0.01 * visit for visit in range(visits)]
    found = percentile(samples, 50)
    pooled = np.sort(np.concatenate(samples))
    reach = 1.9599 * math.sqrt(0.25 / pooled.size)
    assert found.interval.low <= float(np.quantile(pooled, 0.5 - reach, method="hazen")) < found.value
    assert found.interval.high >= float(np.quantile(pooled, 0.5 + reach, method="hazen")) > found.value
