from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from raybench.analysis import significance
from raybench.analysis.significance import PairedTest, holm, permutation_p, study_paired_test
from raybench.analysis.stats import from_visits

D = [0.301, 0.297, 0.311, 0.289, 0.305, 0.300, 0.294, 0.309]
E = [0.004, -0.003, 0.012, 0.001, -0.006, 0.009]
EXACT = {"rel": 1e-9, "abs": 1e-12}


@pytest.mark.parametrize("visits", [[], [math.nan], [0.1, math.inf]])
def test_what_is_no_log_ratio_is_refused(visits: list[float]) -> None:
    with pytest.raises(ValueError, match=r"visit|finite"):
        permutation_p(visits, seed=1)


def test_holm_is_statsmodels_and_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    p = [0.001, 0.2, 0.03, 0.004, 0.04]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist(), **EXACT)
    assert holm([]) == []


def test_a_claim_that_could_not_be_tested_still_counts() -> None:
    adjusted = holm([0.01, math.nan, 0.04])
    assert math.isnan(adjusted[1])
    assert [adjusted[0], adjusted[2]] == pytest.approx([0.03, 0.08])


def test_the_permutation_test_counts_every_sign_pattern() -> None:
    patterns = [abs(np.dot(signs, E)) for signs in itertools.product((-1, 1), repeat=len(E))]
    exact = np.mean([pattern >= abs(sum(E)) - 1e-12 for pattern in patterns])
    assert permutation_p(E, seed=1) == permutation_p(E, seed=2) == pytest.approx(exact, **EXACT)
    assert permutation_p(D, seed=1) == pytest.approx(2 / 2**8, **EXACT)
    assert permutation_p([0.3], seed=1) == 1
    assert permutation_p([0.0] * 4, seed=1) == 1


def test_the_permutation_test_is_scipys_to_the_last_digit() -> None:
    rng = np.random.default_rng(7)
    for n in range(2, 11):
        for values in (rng.normal(0.01, 0.03, n), np.round(rng.normal(0.05, 0.03, n), 2)):  # the latter with ties
            theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", vectorized=True)
            assert permutation_p(values, seed=1) == theirs.pvalue


def test_the_permutation_test_draws_patterns_by_its_seed() -> None:
    d = np.random.default_rng(3).normal(0.01, 0.03, 20)
    assert permutation_p(d, seed=1) == permutation_p(d, seed=1)
    assert permutation_p(d, seed=1) != permutation_p(d, seed=2)
    assert permutation_p(d, seed=1) == pytest.approx(from_visits(d).p_value(), abs=0.02)


@pytest.mark.parametrize("at_once", [20, 1000, 10**6])
def test_drawn_patterns_are_counted_as_all_are(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = permutation_p(E + D, seed=1)  # all patterns of 14 visits
    monkeypatch.setattr(significance, "_DRAWN_AT_ONCE", at_once)
    drawn = significance._drawn_p(np.array(E + D), np.random.default_rng(1))
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / 2**14))
    assert significance._drawn_p(np.zeros(20), np.random.default_rng(1)) == 1
    assert significance._drawn_p(np.ones(40), np.random.default_rng(1)) == 2 / (1 + 2**14)
    small = np.random.default_rng(5).normal(0.002, 0.03, 12)
    monkeypatch.setattr(significance, "_EXACT_UP_TO", 2**12)
    assert significance._drawn_p(small, np.random.default_rng(1)) == pytest.approx(permutation_p(small, 1), abs=0.03)


def test_the_study_tests_pairs_of_means() -> None:
    a, b = [30.0, 31.5, 44.0, 29.0], [22.0, 24.0, 33.0, 21.5]
    difference = np.subtract(a, b)
    t = difference.mean() / (difference.std(ddof=1) / 2)
    assert study_paired_test(a, b) == pytest.approx((t, 3, 2 * stats.t.sf(t, 3)), **EXACT)
    assert study_paired_test([1.0], [2.0]) == pytest.approx(PairedTest(math.nan, math.nan, math.nan), nan_ok=True)
    rng = np.random.default_rng(8)
    for n in range(2, 40):
        a, b = rng.normal(30, 5, n).tolist(), rng.normal(28, 5, n).tolist()
        theirs = stats.ttest_rel(a, b)
        assert study_paired_test(a, b) == (theirs.statistic, theirs.df, theirs.pvalue)  # to the last digit
    with pytest.raises(ValueError, match="paired"):
        study_paired_test([1.0, 2.0], [1.0])
