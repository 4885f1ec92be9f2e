"""The loop's waits: never too short, ended by what comes, and not in whole milliseconds."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import time

import pytest

from machine.test_priority import needs_root
from raybench.records import RaybenchError
from raybench.serve import fine_timers
from raybench.serve.fine_timers import FineSelector, run_on_time


def test_it_waits_and_sees_what_is_ready() -> None:
    read, write = os.pipe()
    with FineSelector() as selector:
        key = selector.register(read, selectors.EVENT_READ)
        for timeout in (-1, 0, 0.0005, 0.003):
            assert selector.select(timeout) == []
        os.write(write, b"x")
        for timeout in (None, -1, 0, 0.0005, 30.0):
            assert selector.select(timeout) == [(key, selectors.EVENT_READ)]
    os.close(read)
    os.close(write)


def test_short_waits_are_those_of_select_and_long_ones_end_before(monkeypatch: pytest.MonkeyPatch) -> None:
    fine: list[float] = []
    coarse: list[float | None] = []
    monkeypatch.setattr(select, "select", lambda r, w, x, timeout: fine.append(timeout) or ([], [], []))
    monkeypatch.setattr(selectors.EpollSelector, "select", lambda self, timeout=None: coarse.append(timeout) or [])
    with FineSelector() as selector:
        for timeout in (None, 0.0003, 0.002, 1.0):
            selector.select(timeout)
    assert fine == [0.0003, 0.002]
    assert coarse == [None, 0, 0, 0.998]


def test_timers_never_fire_early() -> None:
    async def slept() -> list[tuple[float, float]]:
        found = []
        for seconds in (0.0001, 0.0007, 0.0025):
            began = time.monotonic()
            await asyncio.sleep(seconds)
            found.append((seconds, time.monotonic() - began))
        return found

    assert all(waited >= seconds for seconds, waited in run_on_time(slept()))


def test_a_descriptor_that_select_cannot_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_timers, "_MOST_DESCRIPTORS", 0)
    with pytest.raises(RaybenchError, match="has more than 0 files open"):
        FineSelector()


@needs_root
def test_a_loop_runs_in_real_time() -> None:
    async def policy() -> int:
        return os.sched_getscheduler(0)

    assert run_on_time(policy()) == os.SCHED_FIFO
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
