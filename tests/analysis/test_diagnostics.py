from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.fft import next_fast_len

from analysis import truth
from analysis.simulated_visits import VISITS, visits_of
from raybench.analysis.diagnostics import (
    Visit,
    _autocovariances,
    _fast_length,
    dependence,
    diagnose,
    outliers,
    variance_shares,
)


def in_visits(latencies: Iterable[Sequence[float]]) -> list[Visit]:
    """A visit of each, on GPU a."""
    return [Visit("a", of_visit) for of_visit in latencies]


def test_a_sound_run_has_no_caution() -> None:
    assert diagnose(visits_of()).cautions() == []


def test_dependent_requests_tell_less() -> None:
    rng = np.random.default_rng(9)
    _, latencies = truth.pair("autocorrelated", rng, trials=1, visits=100, requests=500)
    found = dependence(in_visits(latencies[0]))
    assert found.samples == 50_000
    assert found.lag1 == pytest.approx(0.8, abs=0.02)
    assert found.effective_samples == pytest.approx(50_000 / 9, rel=0.1)  # (1 + 0.8) / (1 - 0.8)


def test_independent_requests_tell_what_they_are() -> None:
    found = dependence(visits_of())
    assert abs(found.lag1) < 0.1
    assert found.effective_samples > 0.8 * found.samples


def test_dependence_agrees_with_statsmodels_on_one_visit() -> None:
    (visit,) = visits_of("autocorrelated")[:1]
    expected = sm.tsa.acf(np.log(visit.latencies), nlags=1, fft=False)[1]
    assert dependence([visit]).lag1 == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [2, 3, 50, 257, 1000, 3300])
def test_autocovariances_are_those_of_statsmodels(count: int) -> None:
    x = np.random.default_rng(count).normal(3, 2, count)
    expected = sm.tsa.acovf(x, fft=True)
    assert _autocovariances(x, count).tolist() == expected.tolist()
    assert _autocovariances(x, 2).tolist() == expected[:2].tolist()


@pytest.mark.parametrize("visits", [[[20.0]] * 4, [[20.0] * 50] * 4])
def test_dependence_needs_something_that_varies(visits: list[list[float]]) -> None:
    found = dependence(in_visits(visits))
    assert math.isnan(found.lag1)
    assert found.effective_samples == found.samples


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
    assert outliers(in_visits([sound])) == 0
    assert outliers(in_visits([[*sound, 2.0, 0.5, 1.5]])) == 3
    assert outliers(in_visits([[20.0] * 50])) == 0
    assert outliers(in_visits([[20.0] * 50 + [30.0]])) == 1
    assert outliers(in_visits([[20.0]])) == 0


def test_outliers_are_from_their_own_visits_median_by_the_spread_of_all() -> None:
    logs = [
        [level, level + spread, level - spread] for level, spread in zip(range(9), 3 * [0.1, 0.2, 0.3], strict=True)
    ]
    # The scale is 0.2 / 0.6745. With the medians' own distance of 0, one in three here, it would be 0.1 / 0.6745.
    assert outliers(in_visits([np.exp(x) for x in [*logs, [3.0, 3.1, 3.9]]])) == 0
    assert outliers(in_visits([np.exp(x) for x in [*logs, [3.0, 3.1, 4.3]]])) == 1


@pytest.mark.parametrize("wanted", truth.OUTLIER_CAUTIONS, ids=lambda wanted: wanted.name)
def test_short_sound_visits_are_rarely_cautioned_of_outliers(wanted: truth.Property) -> None:
    assert truth.holds_roughly(wanted)


@pytest.mark.parametrize(
    ("visits", "code"),
    [
        (visits_of("autocorrelated"), "autocorrelated"),
        (visits_of(levels=[0.0, 0.2] * 6, devices="ab"), "gpus_differ"),
        (visits_of(levels=0.3 * np.random.default_rng(15).standard_normal(VISITS)), "visits_differ"),
        (visits_of("heavy-tailed"), "outliers"),
    ],
)
def test_each_flaw_has_its_caution(visits: list[Visit], code: str) -> None:
    (caution,) = (c for c in diagnose(visits).cautions() if c.code == code)
    assert caution.message
    assert caution.hint


def test_what_cannot_be_diagnosed_is_refused() -> None:
    with pytest.raises(ValueError, match="visit"):
        diagnose([])
    with pytest.raises(ValueError, match="positive"):
        diagnose([Visit("a", [1.0, 0.0])])


def test_one_visit_of_one_sample_has_nothing_to_say() -> None:
    assert diagnose([Visit("a", [20.0])]).cautions() == []


def test_a_fast_length_is_scipys() -> None:
    for least in (*range(1, 2_000), 10**6 + 7, 12_345_679, 2**24 + 1):
        assert _fast_length(least) == next_fast_len(least, real=True)
