"""Visits on many devices in the order that an agenda gives them, by simulation: only time is made up."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from raybench.cluster.agenda import Agenda
from raybench.visit.spec import VisitSpec


def makespan(agenda: Agenda, devices: int, takes: Callable[[VisitSpec], float]) -> tuple[float, float, int]:
    """When the last visit is over, the least that any order could take, in seconds, and the number of visits.

    ``takes``: the seconds of a visit. The least is all work divided by the devices, or the longest visit.
    """
    free = [(0.0, device) for device in range(devices)]
    running: list[tuple[float, int, VisitSpec, float]] = []
    end, total, longest, visits = 0.0, 0.0, 0.0, 0
    while True:
        while free and (spec := agenda.next(f"gpu{free[0][1]}")):
            at, device = heapq.heappop(free)
            took = takes(spec)
            heapq.heappush(running, (at + took, device, spec, took))
            total, longest, visits = total + took, max(longest, took), visits + 1
        if not running:
            return end, max(total / devices, longest), visits
        end, device, spec, took = heapq.heappop(running)
        agenda.learn(spec.block, int(took * 1e9))
        heapq.heappush(free, (end, device))
