"""Held against `scipy.stats`, to the last digit: the tables of a run stay what they were."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from raybench.analysis.distributions import beta_ppf, binomial_sf, normal_ppf, t_ppf, t_sf

RNG = np.random.default_rng(0)
DEGREES = [*range(1, 40), *RNG.uniform(0.5, 200, 40), 1e3, 1e6, 1e9]
SHARES = [0.025, 0.5, 0.9, 0.95, 0.975, 0.995, 1 - 1e-9]


def test_tails_of_t() -> None:
    for df in DEGREES:
        for x in (0.0, 1e-8, 0.3, 1.96, -2.5, 12.7, 1e6, math.inf):
            assert t_sf(x, df) == stats.t.sf(x, df)


def test_quantiles() -> None:
    for share in SHARES:
        assert normal_ppf(share) == stats.norm.ppf(share)
        assert [t_ppf(share, df) for df in DEGREES] == [stats.t.ppf(share, df) for df in DEGREES]
        for samples in (3.5, 50, 6_636, 1e6):
            for p in (0.5, 0.95, 0.999):
                a, b = samples * p, samples * (1 - p) + 1
                assert beta_ppf(1 - share, a, b) == stats.beta.ppf(1 - share, a, b)


def test_tails_of_the_binomial() -> None:
    for n in (1, 2, 65, 662, 6_636, 210_596):
        for p in (0.001, 0.01, 0.1, 0.5):
            for count in {-1, 0, 1, n // 100, n // 10, n // 2, n - 1} - {n}:
                assert binomial_sf(count, n, p) == stats.binom.sf(count, n, p)
