"""The scheduling priority of what measures, so that what else runs on the machine stalls it less.

Ray gives its workers niceness 15. So a visit took 2.8 s beside three bursts of work on two cores (40 visits of each, in
turn), and its log ratio of two equal configurations scattered by 0.74; at 0 1.0 s and 0.32; at -10 0.6 s and 0.28.
Staying on one core made no difference.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Final

_NORMAL: Final = 0
_MEASURING: Final = -10


def take_priority() -> int:
    """Raise this process's priority to niceness -10, or to 0 where no more is allowed; the niceness that it then has.

    Who may do neither keeps what it has: root may, and who has a limit for it (``ulimit -e 30``). A process with a
    higher priority keeps that.
    """
    for wanted in (_MEASURING, _NORMAL):
        if os.getpriority(os.PRIO_PROCESS, 0) > wanted:
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, 0, wanted)
    return os.getpriority(os.PRIO_PROCESS, 0)


@contextlib.contextmanager
def in_real_time() -> Iterator[None]:
    """Meanwhile this thread runs as soon as it can (SCHED_FIFO, sched(7)), where it may: for what waits for moments.

    A client that shares cores with its server is let wait by the kernel, whatever its niceness, which counts within its
    own session only: of answers of 16 tokens in 29 ms from vLLM 0.32 on two cores (Linux 6.18) all came in one read in
    62 of 120 at niceness 0, in 145 of 240 at -10, and in real time in none of 240. Root may, and who has a limit for
    it (``ulimit -r 1``). Nothing that computes for long belongs in here: whatever else there is would stand still.
    """
    policy = os.sched_getscheduler(0)
    taken = False
    if policy == os.SCHED_OTHER:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO)))
            taken = True
    try:
        yield
    finally:
        if taken:
            os.sched_setscheduler(0, policy, os.sched_param(0))


def priority_notice(niceness_by_host: Mapping[str, int]) -> str | None:
    """What to say, and what to do, where what measures has a lower priority than the rest of its machine."""
    low = {host: niceness for host, niceness in niceness_by_host.items() if niceness > _NORMAL}
    if not low:
        return None
    return (
        f"Caution: on {', '.join(sorted(low))} whatever else runs goes before what is measured (niceness "
        f"{max(low.values())}, Ray's for workers): stalls will widen intervals. Start Ray there with "
        "RAY_worker_niceness=0."
    )
