"""Waiting for the visits of a sweep that runs meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from raybench.records import InputError
from raybench.store.location import Location
from raybench.store.store import RunStore


def wait_until_committed(
    run: Location, visits: int, running: Callable[[], bool], output: Callable[[], str], patience_s: float
) -> None:
    """Return once ``visits`` of the ``run`` are kept.

    Raises AssertionError, with what the sweep has printed (``output``): it is not ``running`` any more, or it takes
    more than ``patience_s`` seconds.
    """
    deadline = time.monotonic() + patience_s
    while running() and time.monotonic() < deadline:
        with contextlib.suppress(InputError):  # it is not begun yet
            if len(RunStore.open(run).committed()) >= visits:
                return
        time.sleep(0.05)
    raise AssertionError(output())
