"""Averages over blocks and GPUs: agreement with scipy and statsmodels, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from raybench.analysis.blocks import from_blocks, from_devices
from raybench.analysis.stats import combine, from_visits, rounds_to_settle

D = [0.301, 0.297, 0.311, 0.289, 0.305, 0.300, 0.294, 0.309]
EXACT = {"rel": 1e-9, "abs": 1e-12}


def test_over_gpus_each_gpu_counts_once() -> None:
    by_device = {"a": D, "b": [0.2], "c": [0.25, 0.35]}
    ours, theirs = from_devices(by_device), stats.ttest_1samp([np.mean(D), 0.2, 0.3], 0)
    assert ours.df == theirs.df == 2
    assert ours.p_value() == pytest.approx(theirs.pvalue, **EXACT)
    assert (ours.n, ours.devices, ours.strata) == (11, 3, 1)


def test_one_gpu_is_its_visits() -> None:
    assert from_devices({"a": D}) == from_visits(D)


def test_two_gpus_leave_one_degree_of_freedom() -> None:
    estimate = from_devices({"a": [0.1, 0.1], "b": [0.12, 0.12]})
    assert estimate.df == 1
    reach = 12.706204736 * 0.01
    assert estimate.interval() == pytest.approx((math.exp(0.11 - reach), math.exp(0.11 + reach)))


def test_blocks_on_all_gpus_average_to_one_ratio_for_each_gpu() -> None:
    blocks = {"x": {"a": [0.1, 0.2], "b": [0.3, 0.3]}, "y": {"a": [0.5, 0.5], "b": [0.6, 0.8]}}
    ours = from_blocks(blocks)
    theirs = stats.ttest_1samp([(0.15 + 0.5) / 2, (0.3 + 0.7) / 2], 0)
    assert ours.log_ratio == pytest.approx(0.4125)
    assert ours.p_value() == pytest.approx(theirs.pvalue, **EXACT)
    assert (ours.n, ours.strata, ours.devices) == (8, 2, 2)


def test_blocks_that_missed_a_gpu_are_fitted_as_statsmodels_does() -> None:
    blocks = {
        "x": {"a": [0.1, 0.2], "b": [0.3]},
        "y": {"a": [0.5], "c": [0.7, 0.6]},
        "z": {"b": [0.1], "c": [0.25]},
    }
    rows = [(b, g, v) for b, by_gpu in blocks.items() for g, values in by_gpu.items() for v in values]
    # Another coding than the module's: GPUs in full, blocks as deviations that sum to zero.
    gpus = np.array([[g == name for name in "abc"] for _, g, _ in rows], dtype=float)
    deviations = np.array([[(b == "x") - (b == "z"), (b == "y") - (b == "z")] for b, _, _ in rows], dtype=float)
    fit = sm.OLS([v for _, _, v in rows], np.hstack([gpus, deviations])).fit()
    ours, theirs = from_blocks(blocks), stats.ttest_1samp(fit.params[:3], 0)
    assert ours.log_ratio == pytest.approx(fit.params[:3].mean(), **EXACT)
    assert ours.p_value() == pytest.approx(theirs.pvalue, **EXACT)
    mean = np.array([1, 1, 1, 0, 0]) / 3
    of_visits = float(mean @ fit.cov_params() @ mean)
    assert ours.floor**2 == pytest.approx(max(0, ours.standard_error**2 - of_visits), **EXACT)


def test_a_gpu_effect_in_every_block_does_not_pass_for_certainty() -> None:
    effect = {"a": 0.01, "b": -0.02, "c": 0.015}
    blocks = {str(b): {gpu: [value + 1e-5 * b] for gpu, value in effect.items()} for b in range(20)}
    apart = combine([from_devices(by_device) for by_device in blocks.values()], [1 / 20] * 20)
    together = from_blocks(blocks)
    assert together.standard_error == pytest.approx(np.std(list(effect.values()), ddof=1) / math.sqrt(3))
    assert apart.standard_error < together.standard_error / 4


def test_blocks_on_gpus_of_their_own_have_no_interval() -> None:
    estimate = from_blocks({"x": {"a": [0.1, 0.3]}, "y": {"b": [0.4]}})
    assert estimate.log_ratio == pytest.approx(0.3)
    assert (estimate.df, estimate.devices) == (0, 2)


@pytest.mark.parametrize("blocks", [{}, {"x": {}}, {"x": {"a": []}}, {"x": {"a": [0.1], "b": [math.nan]}}])
def test_blocks_without_visits_are_refused(blocks: dict[str, dict[str, list[float]]]) -> None:
    with pytest.raises(ValueError, match=r"visit|weight|finite"):
        from_blocks(blocks)


def test_more_rounds_do_not_settle_what_differs_between_gpus() -> None:
    estimate = from_devices({"a": [0.10, 0.101], "b": [-0.10, -0.099], "c": [0.0, 0.001]})
    assert rounds_to_settle(estimate, margin=0.02) is None


def test_more_rounds_on_two_gpus_leave_one_degree_of_freedom() -> None:
    estimate = from_devices({"a": [0.0, 0.2, 0.1], "b": [0.0, 0.1, 0.05]})
    assert (estimate.df, estimate.floor) == (1, 0)
    rounds = rounds_to_settle(estimate, margin=0.02)

    def p(more: int) -> float:
        scaled = estimate.standard_error * math.sqrt(6 / (6 + more))
        return 2 * stats.t.sf(estimate.log_ratio / scaled, 1)

    assert estimate.p_value() == pytest.approx(p(0))
    assert rounds == next(more for more in range(1000) if p(more) < 0.05) > 0
