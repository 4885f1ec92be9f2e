"""The order of a run's visits: steps, trends and first visits that are there are named, others are not."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats

from analysis import truth
from analysis.simulated_visits import VISITS, visits_of
from raybench.analysis.diagnostics import Caution, Visit
from raybench.analysis.run_order import _ranks, change_point, diagnose_run, drift, first_visit, visit_levels


def cautions(*configurations: list[Visit]) -> list[Caution]:
    return diagnose_run(visit_levels(configurations))


@pytest.mark.parametrize("wanted", truth.ORDER_CAUTIONS, ids=lambda wanted: wanted.name)
def test_sound_runs_are_rarely_cautioned(wanted: truth.Property) -> None:
    assert truth.holds_roughly(wanted)


def test_a_step_is_found_where_it_is() -> None:
    found = change_point([0.0, 0.01, -0.01, 0.0, 0.3, 0.31, 0.29, 0.3, 0.3, 0.31])
    assert found is not None
    assert found.start == 4
    assert found.ratio == pytest.approx(math.exp(0.302 - 0.0), rel=0.002)
    assert found.p < 0.01


def test_the_p_of_a_step_is_that_of_every_order() -> None:
    x = [0.0, 0.1, 0.3, 0.9, 1.0, 1.3]
    exact = np.mean([largest_step(order) >= largest_step(x) - 1e-12 for order in itertools.permutations(x)])
    found = change_point(x)
    assert found is not None
    assert found.p == pytest.approx(exact, abs=4 * math.sqrt(exact / 9_999))


def test_visits_change_places_within_their_stratum_only() -> None:
    """Four blocks, each slower in the first of two rounds: 2 of their 16 orders have such a step, of all 1 in 35."""
    slow = [0.30, 0.28, 0.31, 0.29]
    x, strata = [*slow, *(-level for level in slow)], [0, 1, 2, 3] * 2
    found, free = change_point(x, strata), change_point(x)
    assert found is not None
    assert free is not None
    assert (found.start, free.start) == (4, 4)
    assert found.p == pytest.approx(2 / 16, abs=4 * math.sqrt(0.125 / 9_999))
    assert free.p == pytest.approx(1 / 35, abs=4 * math.sqrt(0.029 / 9_999))


def largest_step(order: Sequence[float]) -> float:
    y = np.array(order)
    n = len(y)
    return max(abs(y[:k].mean() - y[k:].mean()) * math.sqrt(k * (n - k)) for k in range(1, n))


def test_a_trend_agrees_with_scipy() -> None:
    x = [0.0, 0.02, 0.01, 0.04, 0.05, 0.06, 0.08]
    found = drift(x)
    theirs = stats.permutation_test(
        (x,), lambda y: abs(stats.spearmanr(y, range(7)).statistic), permutation_type="pairings", alternative="greater"
    )
    assert found is not None
    assert found.p == pytest.approx(theirs.pvalue, abs=4 * math.sqrt(theirs.pvalue / 9_999))
    assert math.log(found.ratio) == pytest.approx(stats.linregress(range(7), x).slope, rel=1e-9)


def run_of(blocks: int, rounds: int, levels: NDArray[np.float64], noise: float = 1e-4) -> list[list[Visit]]:
    """Two configurations a block, on GPU a; blocks differ by more than what befalls their visits."""
    rng = np.random.default_rng(2)
    return [
        [
            Visit("a", [math.exp(0.3 * block + levels[v] + noise * rng.standard_normal())], f"v{v}", float(v))
            for v in range(block, blocks * rounds, blocks)
        ]
        for block in range(blocks)
        for _ in range(2)
    ]


@pytest.mark.parametrize("rounds", [2, 3, 10])
def test_the_ratio_is_what_befell_the_run_however_few_its_rounds(rounds: int) -> None:
    """An odd visit is in the average that it is compared with: half of it where there are two rounds."""
    order = np.arange(10 * rounds)
    (first,) = cautions(*run_of(10, rounds, np.where(order == 0, math.log(1.2), 0.0)))
    assert (first.code, "20.0 % slower" in first.message) == ("first_visit", True)
    for start in {5, 5 * rounds} if rounds > 2 else {10}:  # of five visits before it, two rounds cannot be sure
        (step,) = cautions(*run_of(10, rounds, np.where(order >= start, math.log(1.2), 0.0)))
        assert (step.code, "20.0 % slower" in step.message) == ("change_point", True)
        assert f"from v{start} on (number {start + 1})" in step.message
    (trend,) = cautions(*run_of(10, rounds, math.log(1.01) * order))
    assert (trend.code, "1.000 % slower" in trend.message) == ("drift", True)


def test_strata_and_a_step_are_fitted_side_by_side() -> None:
    rng = np.random.default_rng(4)
    strata, x = rng.integers(4, size=30), rng.standard_normal(30)
    found, trend = change_point(x, strata), drift(x, strata)
    assert found is not None
    assert trend is not None
    dummies = np.eye(4)[strata]
    fits = [sm.OLS(x, np.column_stack([dummies, np.arange(30) >= k])).fit() for k in range(1, 30)]
    best = int(np.argmin([fit.ssr for fit in fits]))
    assert found.start == best + 1
    assert math.log(found.ratio) == pytest.approx(fits[best].params[4], rel=1e-9)
    within = sm.OLS(x, dummies).fit().ssr
    assert found.explained == pytest.approx(1 - fits[best].ssr / within, rel=1e-9)
    line = sm.OLS(x, np.column_stack([dummies, np.arange(30)])).fit()
    assert math.log(trend.ratio) == pytest.approx(line.params[4], rel=1e-9)
    assert trend.explained == pytest.approx(1 - line.ssr / within, rel=1e-9)


def test_a_run_of_very_many_visits_is_looked_at_in_bounded_memory() -> None:
    tracemalloc.start()
    levels = 1e-6 * np.arange(40_000) + 0.1 * np.random.default_rng(3).standard_normal(40_000)
    found = drift(levels, [i % 1_000 for i in range(40_000)])
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None
    assert found.p == 1 / 1_000
    assert math.log(found.ratio) == pytest.approx(1e-6, rel=0.5)
    assert peak_bytes < 200e6


def test_a_first_visit_agrees_with_a_regression_on_it() -> None:
    x = [0.4, 0.1, 0.12, 0.09, 0.11, 0.13]
    found = first_visit(x)
    fit = sm.OLS(x, sm.add_constant(np.array([1.0, 0, 0, 0, 0, 0]))).fit()
    assert found is not None
    assert found.p == pytest.approx(fit.pvalues[1], rel=1e-9)
    assert math.log(found.ratio) == pytest.approx(fit.params[1], rel=1e-9)


def test_short_or_constant_series_have_no_order() -> None:
    assert change_point([0.0] * 5) is None
    assert drift([0.0, 1.0, 2.0, 3.0, 4.0]) is None
    assert first_visit([0.0, 1.0, 2.0]) is None
    constant = [0.7] * 8
    found = [change_point(constant), drift(constant), first_visit(constant)]
    assert [(f.ratio, f.p) for f in found if f is not None] == [pytest.approx((1.0, 1.0))] * 3
    # The others have no spread to set it against: that the odd one is the first of four is all that can be said.
    assert first_visit([0.5, 0.0, 0.0, 0.0]) == pytest.approx((math.exp(0.5), 0.25))


def test_a_level_is_what_a_visit_measured_less_each_configurations_average_there() -> None:
    one = [Visit("a", [1.0, 3.0], "v0", 0.0), Visit("a", [4.0, 4.0], "v1", 5.0), Visit("b", [9.0], "v2", 9.0)]
    other = [Visit("a", [10.0], "v1", 5.0), Visit("a", [40.0], "v0", 0.0)]
    levels = visit_levels([one, other])
    # Means 2 and 4 are log 2 apart, 40 and 10 log 4; v2 has no other visit on its GPU to be compared with.
    assert [level.visit for level in levels] == ["v0", "v1"]
    assert [level.stratum for level in levels] == [0, 0]
    assert [level.log for level in levels] == pytest.approx([0.25 * math.log(2), -0.25 * math.log(2)])


def test_what_measured_the_same_on_the_same_gpu_is_a_stratum() -> None:
    def visits(name: str, *devices: str) -> list[Visit]:
        return [Visit(gpu, [1.0 + i], f"{name}{i}", i) for i, gpu in enumerate(devices)]

    one, beside, other = visits("x", "a", "b", "a", "b"), visits("x", "a", "b", "a"), visits("y", "a", "a")
    levels = visit_levels([one, beside, other])
    # x1 is the only visit of ``beside`` on its GPU, where it says nothing: what x1 and x3 tell is of ``one`` alone.
    assert [(level.visit, level.stratum) for level in levels] == [
        ("x0", 0),
        ("y0", 1),
        ("x1", 2),
        ("y1", 1),
        ("x2", 0),
        ("x3", 2),
    ]


def test_a_sound_run_has_no_caution_of_order() -> None:
    assert cautions(visits_of(), visits_of(seed=9)) == []
    assert cautions() == []


@pytest.mark.parametrize(
    ("levels", "code"),
    [
        ([0.3] + [0.0] * 11, "first_visit"),
        ([0.0] * 6 + [0.05] * 6, "change_point"),
        (0.02 * np.arange(VISITS), "drift"),
    ],
)
def test_what_befell_the_run_is_named_once(levels: list[float], code: str) -> None:
    (caution,) = cautions(visits_of(levels=levels), visits_of(seed=9, levels=levels))
    assert caution.code == code
    assert caution.hint


def test_visits_that_merely_differ_have_no_order() -> None:
    assert cautions(visits_of(levels=0.05 * np.random.default_rng(14).standard_normal(VISITS))) == []


def test_a_caution_says_which_visit_how_much_and_what_to_do() -> None:
    (first,) = cautions(visits_of(levels=[0.3] + [0.0] * 11))
    assert first.message.startswith("the first visit (visit-0) was 3")
    assert "slower than the others" in first.message
    assert "warm" in first.hint
    (trend,) = cautions(visits_of(levels=0.02 * np.arange(VISITS)))
    assert trend.message.startswith("from visit to visit latencies went ")
    assert "slower (p = " in trend.message


def test_a_step_after_an_odd_first_visit_is_numbered_from_the_start() -> None:
    found = cautions(visits_of(levels=[1.0] + [0.0] * 6 + [0.1] * 5))
    assert [c.code for c in found] == ["first_visit", "change_point"]
    assert "visits from visit-7 on (number 8)" in found[1].message


def test_ranks_are_scipys() -> None:
    rng = np.random.default_rng(4)
    for n in (1, 2, 7, 50):
        values = np.round(rng.normal(size=n), 1)  # with ties
        assert _ranks(values).tolist() == stats.rankdata(values).tolist()
