"""How many requests a second one GPU answers in time: an M/G/1 queue of the service times that were measured.

Formulas and sources: section 3 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

_LATE: Final = 0.05
"""The share of requests that a p95 leaves above it."""

ROUNDING: Final = 1e-9
"""A load this near a whole number of GPUs is that number; shares this near are equal."""


@dataclasses.dataclass(frozen=True, eq=False)
class Service:
    """How long requests take a GPU: measured wall times (nanoseconds, ascending), their weights (sum 1)."""

    wall_ns: NDArray[np.int64] | NDArray[np.float64]
    weights: NDArray[np.float64]

    def times(self, factor: float) -> Service:
        """The same requests, each ``factor`` times as long."""
        return self if factor == 1 else Service(self.wall_ns.astype(np.float64) * factor, self.weights)

    def p95_s(self, switch_ns: int, share: float) -> float:
        """The smallest time within which 95 % of requests are served, a ``share`` of them after a switch. Seconds."""
        values, weights = self._mixed(switch_ns, share)
        order = np.argsort(values, kind="stable")
        reached = np.cumsum(weights[order]) >= 1 - _LATE - ROUNDING
        return float(values[order][np.argmax(reached)]) / 1e9

    def requests_per_second(self, switch_ns: int, share: float, slo_ns: int) -> float:
        """The most Poisson arrivals a second that one GPU serves, one by one, with 95 % answered within ``slo_ns``.

        M/G/1: an arrival waits with probability rho = load x mean service; mean wait by Pollaczek and Khinchine; the
        wait's tail taken as exponential; then the wait and the measured service times are added up exactly (they are
        independent). 0 where the service times alone leave no room. Source: docs/decide.md.
        """
        values, weights = self._mixed(switch_ns, share)
        within = values <= slo_ns
        over = float(weights[~within].sum())
        if over >= _LATE - ROUNDING:
            return 0.0
        mean = float(weights @ values)
        # The residual service time is not always longer with more switches, though waits are: the longer of the two.
        residual = max(_residual(values, weights), _residual(self.wall_ns.astype(float), self.weights))
        slack, weight = (slo_ns - values[within]) / residual, weights[within]

        def late(rho: float) -> float:
            return over + rho * float(weight @ np.exp(-(1 - rho) * slack)) - _LATE

        rho = float(scipy.optimize.brentq(late, 0.0, 1.0, xtol=1e-14))
        return rho / mean * 1e9

    def _mixed(self, switch_ns: int, share: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        values = self.wall_ns.astype(float)
        if share == 0 or switch_ns == 0:
            return values, self.weights
        return np.concatenate([values, values + switch_ns]), np.concatenate(
            [(1 - share) * self.weights, share * self.weights]
        )


def _residual(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Mean time that a request in service still takes when another arrives: E[S^2] / (2 E[S])."""
    return float(weights @ values**2 / (2 * (weights @ values)))
