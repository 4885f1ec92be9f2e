"""The queue: against simulation, and monotone in switches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from decide.advising import MS
from raybench.decide.queueing import Service


@pytest.mark.parametrize("factor", [1.2, 2.0, 5.0])
@pytest.mark.parametrize("shape", ["constant", "lognormal", "exponential", "two lengths"])
def test_at_the_load_that_a_gpu_carries_about_five_percent_are_late(shape: str, factor: float) -> None:
    rng = np.random.default_rng(7)
    draw: dict[str, Callable[[int], Any]] = {
        "constant": lambda n: np.full(n, 10.0),
        "lognormal": lambda n: 10 * rng.lognormal(0, 0.3, n),
        "exponential": lambda n: rng.exponential(10, n),
        "two lengths": lambda n: np.where(rng.random(n) < 0.3, 25.0, 8.0),
    }
    measured = np.sort(np.rint(draw[shape](5_000) * MS).astype(np.int64))
    service = Service(measured, np.full(measured.size, 1 / measured.size))
    slo_ns = round(service.p95_s(0, 0) * 1e9 * factor)
    carried = service.requests_per_second(0, 0, slo_ns)
    n = 200_000
    service_s = draw[shape](n) / 1e3
    steps = np.concatenate([[0], service_s[:-1] - rng.exponential(1 / carried, n - 1)])
    walk = np.cumsum(steps)
    wait_s = walk - np.minimum.accumulate(walk)  # Lindley's recursion
    late = float(np.mean(wait_s + service_s > slo_ns / 1e9))
    assert 0.025 < late < 0.07


def test_more_switches_never_raise_what_a_gpu_carries() -> None:
    # Long requests among short ones: a switch makes the residual service time shorter, and waits no shorter.
    walls = np.array([MS] * 50 + [1000 * MS])
    service = Service(walls, np.full(walls.size, 1 / walls.size))
    carried = [service.requests_per_second(20 * MS, share, 950 * MS) for share in np.linspace(0, 1, 11)]
    assert carried == sorted(carried, reverse=True)
