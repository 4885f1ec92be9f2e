from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

import truth
from raybench.diagnostics import (
    Caution,
    Visit,
    change_point,
    dependence,
    diagnose,
    drift,
    first_visit,
    outliers,
    variance_shares,
)

VISITS, REQUESTS = 12, 50


def visits_of(noise: str = "iid", seed: int = 8, levels: object = 0.0, devices: str = "a") -> list[Visit]:
    """12 visits whose log latencies are raised by ``levels``, the GPUs taking turns."""
    rng = np.random.default_rng(seed)
    _, latencies = truth.pair(noise, rng, trials=1, visits=VISITS, requests=REQUESTS)
    raised = latencies[0] * np.exp(np.broadcast_to(levels, VISITS))[:, None]
    return [Visit(devices[v % len(devices)], row) for v, row in enumerate(raised)]


def codes(visits: list[Visit]) -> list[str]:
    return [caution.code for caution in diagnose(visits)]


@pytest.mark.parametrize("wanted", truth.CAUTIONS, ids=lambda wanted: wanted.name)
def test_sound_runs_are_rarely_cautioned(wanted: truth.Property) -> None:
    assert truth.holds_roughly(wanted)


def test_a_sound_run_has_no_caution() -> None:
    assert diagnose(visits_of()) == []


def test_dependent_requests_tell_less() -> None:
    rng = np.random.default_rng(9)
    _, latencies = truth.pair("autocorrelated", rng, trials=1, visits=100, requests=500)
    found = dependence(list(latencies[0]))
    assert found.samples == 50_000
    assert found.lag1 == pytest.approx(0.8, abs=0.02)
    assert found.effective_samples == pytest.approx(50_000 / 9, rel=0.1)  # (1 + 0.8) / (1 - 0.8)


def test_independent_requests_tell_what_they_are() -> None:
    found = dependence([visit.latencies for visit in visits_of()])
    assert abs(found.lag1) < 0.1
    assert found.effective_samples > 0.8 * found.samples


def test_dependence_agrees_with_statsmodels_on_one_visit() -> None:
    (visit,) = visits_of("autocorrelated")[:1]
    expected = sm.tsa.acf(np.log(visit.latencies), nlags=1, fft=False)[1]
    assert dependence([visit.latencies]).lag1 == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("visits", [[[20.0]] * 4, [[20.0] * 50] * 4])
def test_dependence_needs_something_that_varies(visits: list[list[float]]) -> None:
    found = dependence(visits)
    assert math.isnan(found.lag1)
    assert found.effective_samples == found.samples


def test_a_step_is_found_where_it_is() -> None:
    found = change_point([0.0, 0.01, -0.01, 0.0, 0.3, 0.31, 0.29, 0.3, 0.3, 0.31])
    assert found is not None
    assert found.start == 4
    assert found.ratio == pytest.approx(math.exp(0.302 - 0.0), rel=0.002)
    assert found.p < 0.01


def test_the_p_of_a_step_counts_every_order() -> None:
    x = [0.0, 0.1, 0.3, 0.9, 1.0, 1.3]

    def largest(order: tuple[float, ...]) -> float:
        y = np.array(order)
        return max(abs(y[:k].mean() - y[k:].mean()) * math.sqrt(k * (6 - k)) for k in range(1, 6))

    exact = np.mean([largest(order) >= largest(tuple(x)) - 1e-12 for order in itertools.permutations(x)])
    found = change_point(x)
    assert found is not None
    assert found.p == pytest.approx(exact, rel=1e-9)


def test_a_trend_agrees_with_scipy() -> None:
    x = [0.0, 0.02, 0.01, 0.04, 0.05, 0.06, 0.08]
    found, theirs = drift(x), stats.kendalltau(range(7), x)
    assert found is not None
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)
    slopes = [(x[j] - x[i]) / (j - i) for i, j in itertools.combinations(range(7), 2)]
    assert math.log(found.ratio) == pytest.approx(np.median(slopes), rel=1e-9)


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
    assert first_visit([0.5, 0.0, 0.0, 0.0]) == pytest.approx((math.exp(0.5), 0.0))


@pytest.mark.filterwarnings("ignore:The MLE may be on the boundary")
def test_variance_shares_are_those_of_a_mixed_model() -> None:
    rng = np.random.default_rng(10)
    devices, per_device, requests = 8, 6, 10
    effect = 0.05 * rng.standard_normal((devices, 1, 1)) + 0.04 * rng.standard_normal((devices, per_device, 1))
    logs = effect + 0.03 * rng.standard_normal((devices, per_device, requests))
    visits = [Visit(str(d), np.exp(row)) for d in range(devices) for row in logs[d]]
    shares = variance_shares(visits)
    frame = pd.DataFrame(
        [(d, f"{d}/{v}", y) for d in range(devices) for v in range(per_device) for y in logs[d, v]],
        columns=["device", "visit", "y"],
    )
    model = sm.MixedLM.from_formula("y ~ 1", frame, groups="device", re_formula="1", vc_formula={"v": "0 + visit"})
    fit = model.fit(reml=True)
    components = np.array([fit.scale, fit.vcomp[0], fit.cov_re.iloc[0, 0]])
    assert shares == pytest.approx(components / components.sum(), abs=1e-3)
    assert sum(shares) == pytest.approx(1)


def test_variance_shares_of_visits_of_unequal_length() -> None:
    rng = np.random.default_rng(11)
    visits = [
        Visit(str(d), np.exp(gpu + 0.02 * rng.standard_normal() + 0.02 * rng.standard_normal(rng.integers(20, 80))))
        for d, gpu in enumerate(0.04 * rng.standard_normal(400))
        for _ in range(rng.integers(2, 9))
    ]
    assert variance_shares(visits) == pytest.approx([4 / 24, 4 / 24, 16 / 24], abs=0.05)


def test_variance_shares_weigh_unequal_visits_as_the_one_way_analysis_does() -> None:
    logs = [[0.1, 0.3], [0.9, 1.1, 1.0, 0.8, 1.2, 0.95, 1.05], [0.5, 0.4, 0.6]]
    sizes = np.array([2, 7, 3])
    within = sum(np.var(x) * len(x) for x in logs) / 9
    means, pooled = np.array([np.mean(x) for x in logs]), np.mean(np.concatenate(logs))
    between = (sizes @ (means - pooled) ** 2 / 2 - within) / ((12 - (sizes**2).sum() / 12) / 2)
    shares = variance_shares([Visit("a", np.exp(x)) for x in logs])
    assert shares == pytest.approx((within / (within + between), between / (within + between), 0), rel=1e-9)


def test_variance_shares_where_a_level_is_missing() -> None:
    rng = np.random.default_rng(12)
    alike = variance_shares([Visit("a", np.exp(0.05 * rng.standard_normal(500))) for _ in range(4)])
    assert alike.requests > 0.99
    assert alike.devices == 0
    one_each = variance_shares([Visit(str(d), [1.0 + d, 1.1 + d]) for d in range(4)])
    assert one_each.devices == 0
    assert one_each.visits > 0.9
    assert variance_shares([Visit("a", [5.0, 5.0])] * 3) == (0, 0, 0)
    with pytest.raises(ValueError, match="two samples"):
        variance_shares([Visit("a", [5.0])])


def test_outliers_are_counted() -> None:
    sound = np.exp(0.01 * np.random.default_rng(13).standard_normal(100))
    assert outliers(sound) == 0
    assert outliers([*sound, 2.0, 0.5, 1.5]) == 3
    assert outliers([20.0] * 50) == 0
    assert outliers([20.0] * 50 + [30.0]) == 1


@pytest.mark.parametrize(
    ("visits", "code"),
    [
        (visits_of("autocorrelated"), "autocorrelated"),
        (visits_of(levels=[0.3] + [0.0] * 11), "first_visit"),
        (visits_of(levels=[0.0] * 6 + [0.05] * 6), "change_point"),
        (visits_of(levels=0.05 * np.random.default_rng(14).standard_normal(12)), None),
        (visits_of(levels=[0.0, 0.2] * 6, devices="ab"), "gpus_differ"),
        (visits_of("heavy-tailed"), "outliers"),
    ],
)
def test_each_flaw_has_its_caution(visits: list[Visit], code: str | None) -> None:
    order = {"first_visit", "change_point", "drift"}
    found = codes(visits)
    assert (code in found) if code else not order & set(found)


def test_a_trend_is_told_from_a_step() -> None:
    (trend,) = (c for c in diagnose(visits_of(levels=0.02 * np.arange(12))) if c.code in ("drift", "change_point"))
    assert trend.code == "drift"
    assert "slower than the one before" in trend.message


def test_visits_that_differ_are_cautioned_of() -> None:
    assert codes(visits_of(levels=0.3 * np.random.default_rng(15).standard_normal(12)))[-1] == "visits_differ"


def test_a_caution_says_what_and_what_to_do() -> None:
    (caution,) = (c for c in diagnose(visits_of(levels=[0.3] + [0.0] * 11)) if c.code == "first_visit")
    assert isinstance(caution, Caution)
    assert caution.message.startswith("the first visit was 3")
    assert "slower than the others" in caution.message
    assert "warm" in caution.hint


def test_a_step_after_an_odd_first_visit_is_numbered_from_the_start() -> None:
    found = diagnose(visits_of(levels=[1.0] + [0.0] * 6 + [0.1] * 5))
    step = next(c for c in found if c.code == "change_point")
    assert "visits from number 8 on" in step.message


def test_what_cannot_be_diagnosed_is_refused() -> None:
    with pytest.raises(ValueError, match="visit"):
        diagnose([])
    with pytest.raises(ValueError, match="positive"):
        diagnose([Visit("a", [1.0, 0.0])])


def test_one_visit_of_one_sample_has_nothing_to_say() -> None:
    assert diagnose([Visit("a", [20.0])]) == []
