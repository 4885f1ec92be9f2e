"""Raising the own priority, in real processes: with root's rights, and without."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from raybench.machine.priority import in_real_time, priority_notice, take_priority

SCRIPT = """
import os, sys
sys.path[:0] = sys.argv[1:]
from raybench.machine.priority import take_priority
os.nice(7)
before = os.getpriority(os.PRIO_PROCESS, 0)
print(before, take_priority(), os.getpriority(os.PRIO_PROCESS, 0))
"""

IN_REAL_TIME = """
import os, sys
sys.path[:0] = sys.argv[1:]
from raybench.machine.priority import in_real_time, take_priority
take_priority()
found = [os.sched_getscheduler(0)]
try:
    with in_real_time():
        found.append(os.sched_getscheduler(0))
        with in_real_time():
            pass
        found.append(os.sched_getscheduler(0))
        raise KeyError
except KeyError:
    print(*found, os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to raise a priority, or to give rights away")


def run(script: str = SCRIPT, **options: Any) -> list[int]:
    found = subprocess.run([sys.executable, "-c", script, *sys.path], capture_output=True, check=True, **options)
    return [int(word) for word in found.stdout.split()]


@needs_root
def test_a_lowered_priority_is_raised_above_the_normal_one() -> None:
    assert run() == [7, -10, -10]


@needs_root
def test_a_higher_priority_is_kept() -> None:
    assert run(preexec_fn=lambda: os.setpriority(os.PRIO_PROCESS, 0, -20)) == [-13, -13, -13]


def _no_rights() -> None:
    import ctypes
    import resource

    resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    assert ctypes.CDLL(None).prctl(24, 23, 0, 0, 0) == 0  # PR_CAPBSET_DROP, CAP_SYS_NICE: lost at exec


@needs_root
def test_who_may_not_raise_it_keeps_it() -> None:
    assert run(preexec_fn=_no_rights) == [7, 7, 7]


@needs_root
def test_real_time_is_taken_for_a_while_and_given_back_whatever_happens() -> None:
    usual, real_time = os.SCHED_OTHER, os.SCHED_FIFO
    assert run(IN_REAL_TIME) == [usual, real_time, real_time, usual, -10]


@needs_root
def test_who_may_not_take_real_time_keeps_what_it_has() -> None:
    usual = os.SCHED_OTHER
    assert run(IN_REAL_TIME, preexec_fn=_no_rights) == [usual, usual, usual, usual, 0]


@needs_root
def test_real_time_is_of_one_thread() -> None:
    with ThreadPoolExecutor(1) as others:
        others.submit(int).result()
        with in_real_time():
            assert os.sched_getscheduler(0) == os.SCHED_FIFO
            assert others.submit(os.sched_getscheduler, 0).result() == os.SCHED_OTHER


@pytest.mark.parametrize(("lowest_allowed", "niceness"), [(8, 7), (0, 0), (-5, 0), (-10, -10)])
def test_who_is_limited_takes_what_is_allowed(
    lowest_allowed: int, niceness: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    has = [7]

    def limited(which: int, who: int, wanted: int) -> None:
        if wanted < lowest_allowed:
            raise PermissionError
        has[0] = wanted

    monkeypatch.setattr(os, "setpriority", limited)
    monkeypatch.setattr(os, "getpriority", lambda which, who: has[0])
    assert take_priority() == niceness


def test_hosts_where_it_could_not_be_raised_are_named_with_a_remedy() -> None:
    assert priority_notice({"a": 0, "b": -10}) is None
    assert priority_notice({"c": 7, "a": 0, "b": 15}) == (
        "Caution: on b, c whatever else runs goes before what is measured (niceness 15, Ray's for workers): stalls "
        "will widen intervals. Start Ray there with RAY_worker_niceness=0."
    )
