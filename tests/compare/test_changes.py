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

from compare.compared_runs import Edit, Make, close, of, opened, raw_levels
from raybench.compare.changes import Visit, estimate_change, judge


def test_absolute_changes_agree_with_scipy_and_statsmodels(noisy_pair: tuple[Path, Path]) -> None:
    a, b = noisy_pair
    found = of(a, b)
    absolute = {}
    for row in found.configurations:
        name = row.name
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
    assert close([r.absolute.p_holm for r in found.configurations], holm)
    assert len({row.absolute.p_holm for row in found.configurations}) > 2


def ratios(root: Path, name: str, reference: str, block: str) -> Any:
    return raw_levels(root, name, block) - raw_levels(root, reference, block)


def test_relative_changes_are_those_of_ratios_to_the_baseline(noisy_pair: tuple[Path, Path]) -> None:
    a, b = noisy_pair
    found = of(a, b)
    rows = {r.name: r.relative for r in found.configurations}
    assert found.baseline == "full_ft"
    expected: dict[str, Any] = {}
    for name in ("lora", "lora_merged"):
        for block in ("mrpc_seed42", "sst2_seed42"):
            x, y = (ratios(root, f"{name}_{block}", f"fullft_{block}", block) for root in (a, b))
            change = rows[f"{name}_{block}"]
            assert change is not None
            test = expected[f"{name}_{block}"] = scipy.stats.ttest_rel(y, x)
            assert close([change.estimate.ratio], math.exp(np.mean(y - x)))
            assert close(change.estimate.interval(), np.exp(test.confidence_interval(0.95)))
            assert close([change.estimate.p_value()], test.pvalue)
    multi = rows["multi_lora_2_adapters"]
    assert multi is not None
    p_values = [*(t.pvalue for t in expected.values()), multi.estimate.p_value()]
    holm = statsmodels.stats.multitest.multipletests(p_values, method="holm")[1]
    for name, p in zip([*expected, "multi_lora_2_adapters"], holm, strict=True):
        change = rows[name]
        assert change is not None
        assert close([change.p_holm], p)
    assert [rows[f"fullft_{block}"] for block in ("mrpc_seed42", "sst2_seed42")] == [None, None]


def chained(root: Path) -> tuple[Any, list[Any]]:
    """The visits of the ratio multi / separate, and of separate / full for each of its two tasks."""
    multi = "multi_lora_2_adapters"
    # A round serves each adapter half of its requests; the mean over the guests is over their samples together.
    guests = [np.exp(raw_levels(root, f"lora_{task}_seed42", multi)) for task in ("mrpc", "sst2")]
    links = [
        ratios(root, f"lora_{task}_seed42", f"fullft_{task}_seed42", f"{task}_seed42") for task in ("mrpc", "sst2")
    ]
    return raw_levels(root, multi, multi) - np.log(np.mean(guests, axis=0)), links


def test_what_never_met_the_baseline_is_chained_to_it(noisy_pair: tuple[Path, Path]) -> None:
    (first_a, links_a), (first_b, links_b) = map(chained, noisy_pair)
    multi = next(r for r in of(*noisy_pair).configurations if r.name == "multi_lora_2_adapters").relative
    assert multi is not None
    parts = [first_b - first_a, *(y - x for x, y in zip(links_a, links_b, strict=True))]
    weights = [1, 0.5, 0.5]
    estimate = sum(w * np.mean(d) for w, d in zip(weights, parts, strict=True))
    variances = [w**2 * np.var(d, ddof=1) / len(d) for w, d in zip(weights, parts, strict=True)]
    df = sum(variances) ** 2 / sum(v**2 / (len(d) - 1) for v, d in zip(variances, parts, strict=True))
    reach = scipy.stats.t.ppf(0.975, df) * math.sqrt(sum(variances))
    assert (multi.method, multi.estimate.n) == ("paired", 15)
    assert close(
        [multi.estimate.ratio, *multi.estimate.interval()], np.exp([estimate, estimate - reach, estimate + reach])
    )


def test_a_deployment_is_the_average_of_its_configurations(noisy_pair: tuple[Path, Path]) -> None:
    found = of(*noisy_pair)
    row = next(r for r in found.deployments if r.name == "LoRA Separate")
    assert row.configurations == ("lora_mrpc_seed42", "lora_sst2_seed42")
    assert row.relative is not None
    a, b = noisy_pair
    d = [
        ratios(b, f"lora_{block}", f"fullft_{block}", block) - ratios(a, f"lora_{block}", f"fullft_{block}", block)
        for block in ("mrpc_seed42", "sst2_seed42")
    ]
    assert close([row.relative.estimate.ratio], math.exp(np.mean([np.mean(x) for x in d])))
    error = math.sqrt(sum(np.var(x, ddof=1) / len(x) for x in d)) / 2
    assert row.relative.estimate.standard_error == pytest.approx(error, rel=1e-9)
    p_values = [r.relative.estimate.p_value() for r in found.deployments if r.relative is not None]
    holm = statsmodels.stats.multitest.multipletests(p_values, method="holm")[1]
    assert close([r.relative.p_holm for r in found.deployments if r.relative is not None], holm)
    assert [r.name for r in found.deployments if r.relative is None] == ["Full FT"]


def test_other_workloads_are_compared_unpaired_by_welch(noisy_pair: tuple[Path, Path], edit: Edit) -> None:
    a, b = noisy_pair
    b = edit(b, lambda d: d["workload"].update(seed=7))
    found = of(a, b)
    row = next(r for r in found.configurations if r.name == "lora_sst2_seed42")
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
    paired = next(r for r in of(a, b).configurations if r.name == "lora_mrpc_seed42").absolute
    assert paired.method == "paired"
    each = [np.mean((y - x)[[g, g + 3]]) for g in range(3)]
    assert close(paired.estimate.interval(), np.exp(scipy.stats.ttest_1samp(each, 0).confidence_interval(0.95)))

    levels = [
        {r: Visit(f"gpu{(r + shift) % 3}", r, float(v)) for r, v in enumerate(run)} for shift, run in ((0, x), (1, y))
    ]
    estimate, method, *_ = estimate_change([({"lora": tuple(levels)}, None)], matched=True)
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
    estimate, method, *_ = estimate_change([({"lora": tuple(runs)}, None)], matched=True)
    expected = scipy.stats.ttest_ind(y, x, equal_var=False)
    assert method == "welch"
    assert close([estimate.p_value()], expected.pvalue)
    assert close(estimate.interval(), np.exp(expected.confidence_interval(0.95)))


def test_rounding_is_no_difference() -> None:
    runs = [{r: Visit("gpu", r, level + r) for r in range(3)} for level in (15.1, math.nextafter(15.1, 16))]
    estimate, method, *_ = estimate_change([({"lora": tuple(runs)}, None)], matched=False)
    assert (method, estimate.ratio, estimate.p_value()) == ("welch", 1.0, 1.0)


@pytest.mark.parametrize("slower", [0.0, 0.1])
def test_visits_that_are_equal_to_the_last_digit_are_not_judged(slower: float) -> None:
    """In either run all visits read the same, as on a clock of coarse ticks: by how much they differ is unknown."""
    runs = [{r: Visit("gpu", r, level) for r in range(9)} for level in (15.1, 15.1 + slower)]
    for matched in (True, False):
        found = estimate_change([({"lora": tuple(runs)}, None)], matched)
        assert (found.estimate.ratio, found.estimate.unknown) == (pytest.approx(math.exp(slower)), "equal visits")
        change = judge({"lora": found}, 0.02)["lora"]
        assert (change.verdict, change.more_rounds) == ("inconclusive", None)
        assert [change.as_json()[key] for key in ("low", "high", "p", "p_holm", "p_equivalence")] == [None] * 5


def test_a_constant_change_of_visits_that_differ_is_made_up_but_no_change_at_all_is_a_copy() -> None:
    levels = [15.1, 15.3, 15.2]
    a, slower = ({r: Visit("gpu", r, level + more) for r, level in enumerate(levels)} for more in (0.0, 0.1))
    assert estimate_change([({"lora": (a, slower)}, None)], matched=True).estimate.unknown == "equal visits"
    same = estimate_change([({"lora": (a, a)}, None)], matched=True)
    assert (same.estimate.unknown, same.estimate.interval()) == (None, (1.0, 1.0))
    assert judge({"lora": same}, 0.02)["lora"].verdict == "equivalent"


def test_what_a_change_is_of_is_beside_it(noisy_pair: tuple[Path, Path], make: Make, edit: Edit) -> None:
    """Paired, by Welch, over GPUs: the quotient of the two means is the percentage, and so is that of the ratios."""
    on_gpus = [make(noise=0.05, seed=seed, rounds=6, devices=3) for seed in (7, 8)]
    for a, b in (noisy_pair, (noisy_pair[0], edit(noisy_pair[1], lambda d: d["workload"].update(seed=7))), on_gpus):
        found = of(a, b)
        for row in (*found.deployments, *found.configurations):
            assert close([row.b_ms / row.a_ms], row.absolute.estimate.ratio)
            if row.relative is not None:
                assert close([row.relative.b / row.relative.a], row.relative.estimate.ratio)
    merged = next(row for row in of(*noisy_pair).deployments if row.name == "LoRA Merged")
    (expected,) = opened(noisy_pair[0]).rows(
        "SELECT ratio FROM by_strategy"
        " WHERE clock = 'wall' AND strategy = 'lora_merged' AND reference_strategy = 'full_ft'"
    )
    assert merged.relative is not None
    assert close([merged.relative.a], expected["ratio"])
