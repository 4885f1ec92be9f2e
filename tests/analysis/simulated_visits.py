"""Visits of simulated latencies, for tests of what they show."""

from __future__ import annotations

import numpy as np

from analysis import truth
from raybench.analysis.diagnostics import Visit

VISITS, REQUESTS = 12, 50


def visits_of(noise: str = "iid", seed: int = 8, levels: object = 0.0, devices: str = "a") -> list[Visit]:
    """12 visits, a second apart, whose log latencies are raised by ``levels``, the GPUs taking turns."""
    rng = np.random.default_rng(seed)
    _, latencies = truth.pair(noise, rng, trials=1, visits=VISITS, requests=REQUESTS)
    raised = latencies[0] * np.exp(np.broadcast_to(levels, VISITS))[:, None]
    return [Visit(devices[v % len(devices)], row, f"visit-{v}", float(v)) for v, row in enumerate(raised)]
