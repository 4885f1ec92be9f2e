from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from analysis import truth
from raybench.analysis.stats import (
    Estimate,
    Interval,
    combine,
    from_visits,
    rounds_to_settle,
    verdict,
)

D = [0.301, 0.297, 0.311, 0.289, 0.305, 0.300, 0.294, 0.309]
E = [0.004, -0.003, 0.012, 0.001, -0.006, 0.009]
LOG_RATIOS = st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=2, max_size=12)
EXACT = {"rel": 1e-9, "abs": 1e-12}


@pytest.mark.parametrize("wanted", truth.VERDICTS, ids=lambda wanted: wanted.name)
def test_simulated_truth_is_found(wanted: truth.Property) -> None:
    assert truth.holds_roughly(wanted)


def test_the_naive_analysis_fails_on_the_data_that_ours_holds_on() -> None:
    a, b = truth.pair("visit effect", np.random.default_rng(2), trials=1000, visits=10, requests=50)
    ours = np.mean([truth.overhead("visit effect", *trial).p_value() < 0.05 for trial in zip(a, b, strict=True)])
    naive = np.mean([truth.naive_p(x[0], y[1]) < 0.05 for x, y in zip(a, b, strict=True)])
    assert 0.03 <= ours <= 0.07
    assert naive > 0.5


def test_an_estimate_agrees_with_scipy() -> None:
    estimate, theirs = from_visits(D), stats.ttest_1samp(D, 0)
    low, high = theirs.confidence_interval(0.9)
    assert estimate.df == theirs.df == 7
    assert estimate.n == 8
    assert estimate.p_value() == pytest.approx(theirs.pvalue, **EXACT)
    assert estimate.interval(0.9) == pytest.approx((math.exp(low), math.exp(high)), **EXACT)
    assert estimate.ratio == pytest.approx(stats.gmean(np.exp(D)), **EXACT)
    assert estimate.halfwidth(0.9) == pytest.approx(math.exp(high) / estimate.ratio - 1, **EXACT)


def test_equivalence_agrees_with_statsmodels() -> None:
    bound = math.log(1.005)
    theirs = ttost_paired(np.array(E), np.zeros(len(E)), -bound, bound)[0]
    assert from_visits(E).equivalence_p(0.005) == pytest.approx(theirs, **EXACT)


def test_the_margin_is_symmetric_in_the_two_configurations() -> None:
    assert from_visits(E).equivalence_p(0.02) == from_visits([-x for x in E]).equivalence_p(0.02)
    at_the_margin = Estimate(math.log(1.02), 0.01, 9, 10)
    assert at_the_margin.equivalence_p(0.02) == pytest.approx(0.5)
    assert Estimate(-math.log(1.02), 0.01, 9, 10).equivalence_p(0.02) == pytest.approx(0.5)


def test_one_visit_is_inconclusive() -> None:
    estimate = from_visits([0.3])
    assert estimate == Estimate(0.3, math.inf, 0, 1, unknown="one visit")
    assert estimate.interval() == Interval(0.0, math.inf)
    assert estimate.halfwidth() == math.inf
    assert math.isnan(estimate.p_value())
    assert math.isnan(estimate.equivalence_p(0.02))
    assert verdict(estimate, margin=0.02) == "inconclusive"
    assert rounds_to_settle(estimate, margin=0.02) is None


@pytest.mark.parametrize("value", [0.0, 0.3, -0.3, 0.01])
def test_visits_that_are_equal_to_the_last_digit_say_as_little_as_one(value: float) -> None:
    """scipy's test calls them certain: a standard error of zero, p 0 and an interval of no width."""
    estimate = from_visits([value] * 5)
    assert estimate == Estimate(value, math.inf, 0, 5, unknown="equal visits")
    assert estimate.interval() == Interval(0.0, math.inf)
    assert estimate.halfwidth() == math.inf
    assert math.isnan(estimate.p_value())
    assert math.isnan(estimate.equivalence_p(0.02))
    assert verdict(estimate, margin=0.02) == "inconclusive"
    assert rounds_to_settle(estimate, margin=0.02) is None


def test_rounding_is_no_difference() -> None:
    assert from_visits([1e-16, -2e-16, 3e-16]) == Estimate(0.0, math.inf, 0, 3, unknown="equal visits")
    assert from_visits([0.1, 0.1 + 1e-11]).unknown is None


@pytest.mark.parametrize("visits", [[], [math.nan], [0.1, math.inf]])
def test_what_is_no_log_ratio_is_refused(visits: list[float]) -> None:
    with pytest.raises(ValueError, match=r"visit|finite"):
        from_visits(visits)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        from_visits(D).equivalence_p(0)
    with pytest.raises(ValueError, match="confidence"):
        from_visits(D).interval(95)


@given(LOG_RATIOS, st.randoms(use_true_random=False))
def test_the_order_of_visits_says_nothing(d: list[float], random: object) -> None:
    shuffled = list(d)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = from_visits(d), from_visits(shuffled)
    assert one.log_ratio == pytest.approx(other.log_ratio, abs=1e-12)
    assert one.standard_error == pytest.approx(other.standard_error, rel=1e-9, abs=1e-12)


@given(LOG_RATIOS)
def test_swapping_the_configurations_mirrors_the_answer(d: list[float]) -> None:
    forth, back = from_visits(d), from_visits([-x for x in d])
    mirrored = {"slower": "faster", "faster": "slower"}
    said = verdict(forth, margin=0.02)
    assert verdict(back, margin=0.02) == mirrored.get(said, said)
    assert back.p_value() == pytest.approx(forth.p_value(), rel=0, abs=0, nan_ok=True)
    if forth.unknown is None:
        assert back.interval() == pytest.approx((1 / forth.interval().high, 1 / forth.interval().low))


@pytest.mark.parametrize(
    ("log_ratio", "standard_error", "said"),
    [
        (0.30, 0.01, "slower"),
        (-0.30, 0.01, "faster"),
        (0.01, 0.001, "equivalent"),  # surely slower, surely by less than the margin
        (0.00, 0.001, "equivalent"),
        (0.03, 0.001, "slower"),
        (0.02, 0.02, "inconclusive"),
        (0.00, 0.10, "inconclusive"),
    ],
)
def test_verdicts(log_ratio: float, standard_error: float, said: str) -> None:
    assert verdict(Estimate(log_ratio, standard_error, 9, 10), margin=0.02) == said


def test_a_verdict_goes_by_the_adjusted_p() -> None:
    estimate = Estimate(0.05, 0.015, 9, 10)
    assert estimate.p_value() < 0.05
    assert verdict(estimate, margin=0.02, adjusted_p=0.2) == "inconclusive"
    assert verdict(estimate, margin=0.02, adjusted_p=math.nan) == "inconclusive"
    assert verdict(estimate, margin=0.02, alpha=0.001) == "inconclusive"


def test_the_difference_of_two_estimates_is_welchs_test() -> None:
    ours, theirs = combine([from_visits(D), from_visits(E)], [1, -1]), stats.ttest_ind(D, E, equal_var=False)
    low, high = theirs.confidence_interval()
    assert ours.df == pytest.approx(theirs.df, **EXACT)
    assert ours.p_value() == pytest.approx(theirs.pvalue, **EXACT)
    assert ours.interval() == pytest.approx((math.exp(low), math.exp(high)), **EXACT)
    assert (ours.n, ours.strata) == (14, 2)


def test_a_chain_multiplies_ratios() -> None:
    chain = combine([from_visits(D), from_visits(E)], [1, 1])
    assert chain.ratio == pytest.approx(from_visits(D).ratio * from_visits(E).ratio)


def test_an_average_of_equal_blocks_has_all_their_freedom() -> None:
    block = from_visits(D)
    average = combine([block] * 4, [0.25] * 4)
    assert average.log_ratio == pytest.approx(block.log_ratio)
    assert average.standard_error == pytest.approx(block.standard_error / 2)
    assert average.df == pytest.approx(4 * block.df)


def test_a_block_of_one_visit_leaves_the_average_without_an_interval() -> None:
    average = combine([from_visits(D), from_visits([0.1])], [0.5, 0.5])
    assert (average.df, average.standard_error) == (0, math.inf)
    assert average.log_ratio == pytest.approx((np.mean(D) + 0.1) / 2)
    assert combine([from_visits(D), from_visits([0.1])], [1, 0]).df == pytest.approx(7)


def test_a_block_of_equal_visits_leaves_the_average_without_an_interval() -> None:
    equal = Estimate(0.75, math.inf, 0, 5, strata=2, unknown="equal visits")
    assert combine([from_visits([0.5] * 3), from_visits([0.25] * 2)], [1, 1]) == equal
    assert combine([from_visits(D), from_visits([0.25] * 2)], [1, 1]).unknown == "equal visits"


@pytest.mark.parametrize(("count", "weights"), [(0, []), (1, [1, 1]), (2, [0, 0])])
def test_weights_that_do_not_fit_are_refused(count: int, weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        combine([from_visits(D)] * count, weights)


def test_rounds_to_settle_is_the_first_number_that_does() -> None:
    d = [0.03, -0.02, 0.05, 0.01]
    rounds = rounds_to_settle(from_visits(d), margin=0.02)
    assert rounds is not None
    assert rounds > 0

    def settled(more: int) -> bool:
        n, mean, sd = 4 + more, np.mean(d), np.std(d, ddof=1)
        scaled = Estimate(float(mean), sd / math.sqrt(n), n - 1, n)
        return verdict(scaled, margin=0.02) != "inconclusive"

    assert settled(rounds)
    assert not settled(rounds - 1)


def test_rounds_to_settle_counts_rounds_over_all_blocks() -> None:
    block = from_visits([0.12, -0.08, 0.05, 0.01])
    one, four = (rounds_to_settle(combine([block] * b, [1 / b] * b), margin=0.02) for b in (1, 4))
    assert one is not None
    assert four is not None
    assert 0 < four < one / 3


def test_rounds_to_settle_asks_for_more_where_holm_does() -> None:
    estimate = from_visits([0.05, -0.02, 0.07, 0.03])
    one, many = (rounds_to_settle(estimate, margin=0.02, claims=claims) for claims in (1, 28))
    assert one is not None
    assert many is not None
    assert one < many
