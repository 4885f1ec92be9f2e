"""Changes between runs, against scipy and statsmodels on the samples themselves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import statsmodels.stats.multitest
import statsmodels.stats.weightstats

from compared_runs import Edit, Make, close, of, raw_levels
from raybench.changes import Visit, estimate_change


def test_absolute_changes_agree_with_scipy_and_statsmodels(noisy_pair: tuple[Path, Path]) -> None:
    a, b = noisy_pair
    found = of(a, b)
    absolute = {}
    for row in found.rows:
        name = row.configuration
        block = name if name.startswith("multi") else "_".join(name.split("_")[-2:])
        x, y = (raw_levels(root, name, block) for root in (a, b))
        expected = scipy.stats.ttest_rel(y, x)
        interval = expected.confidence_interval(0.95)
        estimate = row.absolute.estimate
        assert close([estimate.ratio, *estimate.interval()], np.exp([np.mean(y - x), *interval]))
        assert close([estimate.p_value()], expected.pvalue)
        low, high = -math.log1p(0.02), math.log1p(0.02)
        tost = statsmodels.stats.weightstats.ttost_paired(y, x, low, high)[0]
        assert close([row.absolute.p_equivalence], tost)
        assert row.absolute.method == "paired"
        absolute[name] = expected.pvalue
    holm = statsmodels.stats.multitest.multipletests(list(absolute.values()), method="holm")[1]
    assert close([r.absolute.p_holm for r in found.rows], holm)
    assert len({row.absolute.p_holm for row in found.rows}) > 2


def test_relative_changes_agree_too_and_a_pair_and_its_mirror_are_one_claim(noisy_pair: tuple[Path, Path]) -> None:
    a, b = noisy_pair
    rows = {r.configuration: r.relative for r in of(a, b).rows}
    expected: dict[str, Any] = {}
    for block in ("mrpc_seed42", "sst2_seed42"):
        for name in ("lora", "lora_merged"):
            d = [
                raw_levels(root, f"{name}_{block}", block) - raw_levels(root, f"fullft_{block}", block)
                for root in (a, b)
            ]
            change = rows[f"{name}_{block}"]
            assert change is not None
            test = expected[f"{name}_{block}"] = scipy.stats.ttest_rel(d[1], d[0])
            assert close([change.estimate.ratio], math.exp(np.mean(d[1] - d[0])))
            assert close(change.estimate.interval(), np.exp(test.confidence_interval(0.95)))
            assert close([change.estimate.p_value()], test.pvalue)
    multi = "multi_lora_2_adapters"
    d = []
    for root in (a, b):
        # A round serves each adapter half of its requests; the mean over the guests is over their samples together.
        guests = [np.exp(raw_levels(root, f"lora_{task}_seed42", multi)) for task in ("mrpc", "sst2")]
        d.append(raw_levels(root, multi, multi) - np.log(np.mean(guests, axis=0)))
    expected[multi] = scipy.stats.ttest_rel(d[1], d[0])
    # Seven rows, five claims: full against separate is separate against full.
    holm = statsmodels.stats.multitest.multipletests([t.pvalue for t in expected.values()], method="holm")[1]
    for name, p in zip(expected, holm, strict=True):
        change = rows[name]
        assert change is not None
        assert close([change.p_holm], p)
    for block in ("mrpc_seed42", "sst2_seed42"):
        full, separate = rows[f"fullft_{block}"], rows[f"lora_{block}"]
        assert full is not None
        assert separate is not None
        assert full.p_holm == pytest.approx(separate.p_holm, rel=1e-9)
        assert full.estimate.ratio == pytest.approx(1 / separate.estimate.ratio, rel=1e-9)


def test_other_workloads_are_compared_unpaired_by_welch(noisy_pair: tuple[Path, Path], edit: Edit) -> None:
    a, b = noisy_pair
    b = edit(b, lambda d: d["workload"].update(seed=7))
    found = of(a, b)
    row = next(r for r in found.rows if r.configuration == "lora_sst2_seed42")
    x, y = (raw_levels(root, "lora_sst2_seed42", "sst2_seed42") for root in (a, b))
    expected = scipy.stats.ttest_ind(y, x, equal_var=False)
    assert (row.absolute.method, row.absolute.estimate.n) == ("welch", 10)
    assert close([row.absolute.estimate.p_value()], expected.pvalue)
    assert close(row.absolute.estimate.interval(), np.exp(expected.confidence_interval(0.95)))
    full = [raw_levels(root, "fullft_sst2_seed42", "sst2_seed42") for root in (a, b)]
    expected = scipy.stats.ttest_ind(y - full[1], x - full[0], equal_var=False)
    assert row.relative is not None
    assert close([row.relative.estimate.p_value()], expected.pvalue)
    low, high = -math.log1p(0.02), math.log1p(0.02)
    tost = statsmodels.stats.weightstats.ttost_ind(y - full[1], x - full[0], low, high, usevar="unequal")[0]
    assert close([row.relative.p_equivalence], tost)


def test_several_gpus_the_same_in_both_are_one_difference_each(make: Make) -> None:
    """Rounds lie on three GPUs in turn, in B on another in each round: their own speeds cancel."""
    a, b = make(noise=0.05, seed=7, rounds=6, devices=3), make(noise=0.05, seed=8, rounds=6, devices=3)
    x, y = (raw_levels(root, "lora_mrpc_seed42", "mrpc_seed42") for root in (a, b))
    paired = next(r for r in of(a, b).rows if r.configuration == "lora_mrpc_seed42").absolute
    assert paired.method == "paired"
    each = [np.mean((y - x)[[g, g + 3]]) for g in range(3)]
    assert close(paired.estimate.interval(), np.exp(scipy.stats.ttest_1samp(each, 0).confidence_interval(0.95)))

    levels = [
        {r: Visit(f"gpu{(r + shift) % 3}", r, float(v)) for r, v in enumerate(run)} for shift, run in ((0, x), (1, y))
    ]
    estimate, method = estimate_change(*levels, matched=True)
    each = [np.mean(y[[(g - 1) % 3, (g - 1) % 3 + 3]]) - np.mean(x[[g, g + 3]]) for g in range(3)]
    expected = scipy.stats.ttest_1samp(each, 0)
    assert method == "devices"
    assert close(estimate.interval(), np.exp(expected.confidence_interval(0.95)))
    assert close([estimate.p_value()], expected.pvalue)
    assert (estimate.n, estimate.devices) == (12, 3)
    assert 0 <= estimate.floor < estimate.standard_error


def test_gpus_of_one_run_only_are_compared_by_welch_over_gpus() -> None:
    rng = np.random.default_rng(9)
    x, y = rng.normal(15, 0.1, (2, 4))
    runs = [
        {r: Visit(f"{label}{r}", r, float(v)) for r, v in enumerate(run)} for label, run in (("old", x), ("new", y))
    ]
    estimate, method = estimate_change(*runs, matched=True)
    expected = scipy.stats.ttest_ind(y, x, equal_var=False)
    assert method == "welch"
    assert close([estimate.p_value()], expected.pvalue)
    assert close(estimate.interval(), np.exp(expected.confidence_interval(0.95)))


def test_rounding_is_no_difference() -> None:
    runs = [{r: Visit("gpu", r, level) for r in range(3)} for level in (15.1, math.nextafter(15.1, 16))]
    estimate, method = estimate_change(*runs, matched=False)
    assert (method, estimate.ratio, estimate.p_value()) == ("welch", 1.0, 1.0)
