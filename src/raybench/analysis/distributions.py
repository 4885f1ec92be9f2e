"""Tails and quantiles of distributions, to the last digit those of `scipy.stats`, which takes half a second to import.

They are of `scipy.special`, from which that has them itself.
"""

from __future__ import annotations

import scipy


def t_sf(x: float, df: float) -> float:
    """How likely Student's t with ``df`` degrees of freedom is above ``x``."""
    return float(scipy.special.stdtr(df, -x))


def t_ppf(share: float, df: float) -> float:
    """The quantile of Student's t with ``df`` degrees of freedom."""
    return float(scipy.special.stdtrit(df, share))


def normal_ppf(share: float) -> float:
    """The quantile of the standard normal distribution."""
    return float(scipy.special.ndtri(share))


def beta_ppf(share: float, a: float, b: float) -> float:
    """The quantile of a beta distribution."""
    return float(scipy.special.betaincinv(a, b, share))


def binomial_sf(count: int, n: int, p: float) -> float:
    """How likely more than ``count`` (-1 to n - 1) of ``n`` independent trials of probability ``p`` succeed."""
    return float(scipy.special.betainc(count + 1, n - count, p))
