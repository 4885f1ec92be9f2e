"""How fast one core of this machine is, found out in a tenth of a second: for estimates, never for results."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

_MATRIX = 64
"""Small enough that numpy's library keeps to one thread."""
_READ_BYTES = 64 * 2**20
"""More than most caches hold. To be given twice as much takes longer than all else that looking at a plan does."""
_FOR_S = 0.02


@dataclasses.dataclass(frozen=True, slots=True)
class CoreSpeed:
    """``flops_s``: of float32 products of matrices; ``bytes_s``: read from memory; both a second, the best of some."""

    flops_s: float
    bytes_s: float


def measure_core() -> CoreSpeed:
    """Try this machine's core, with numpy alone."""
    import numpy as np

    left = np.ones((_MATRIX, _MATRIX), np.float32)
    product_s = _best(lambda: left @ left)
    much = np.ones(_READ_BYTES // 8)
    read_s = _best(much.sum)
    return CoreSpeed(2 * _MATRIX**3 / product_s, _READ_BYTES / read_s)


def _best(call: Callable[[], object]) -> float:
    """Seconds of the fastest of the calls that there is time for."""
    best, end = float("inf"), time.perf_counter() + _FOR_S
    while time.perf_counter() < end:
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best
