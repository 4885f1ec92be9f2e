"""What each way to deploy needs: the GPUs that memory and load take, what binds, and what breaks first.

Sections 4 to 6 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from raybench.decide.advice import Growth, WayResult, gigabytes, milliseconds
from raybench.decide.needs import MOST_TASKS, Needs
from raybench.decide.queueing import ROUNDING, Service


class Way(NamedTuple):
    """A way to deploy: the strategy whose measurements it rests on, and how tasks share a GPU.

    ``copies``: a whole model for each task. ``adapters``: one base, an adapter for each task, all resident.
    ``swap``: one base, one adapter at a time, the others read when their task is asked for.
    """

    name: str
    label: str
    strategy: str
    sharing: Literal["copies", "adapters", "swap"]
    virtue: str


WAYS: Final = (
    Way("merged", "Merge", "lora_merged", "copies", "a plain model that computes and switches no adapter"),
    Way(
        "multi_adapter",
        "Several adapters on one base",
        "multi_lora",
        "adapters",
        "adapters come and go on one base that stays",
    ),
    Way("separate_swapped", "Separate, adapters swapped", "lora_separate", "swap", "one adapter in memory at a time"),
    Way("full_ft", "Full fine-tunes", "full_ft", "copies", "plain models, each trained and stored in full"),
    Way(
        "separate_copies",
        "Separate, a base for each task",
        "lora_separate",
        "copies",
        "adapters stay apart from their bases",
    ),
)
"""In the order that breaks ties: what asks the least of whoever runs it stands first."""

STRATEGIES: Final = tuple(dict.fromkeys(way.strategy for way in WAYS))


def gpus_needed(tasks: int, by_load: int, tasks_per_gpu: int | None) -> int:
    """GPUs that suffice however the load is split over the tasks, and that the worst split needs.

    ``by_load``: GPUs that the load alone needs. A task whose load takes several GPUs is on several of them and takes
    a place on each; in the worst case that is ``by_load - 1`` more places than tasks. Proof: docs/decide.md.
    """
    if tasks_per_gpu is None:
        return by_load
    return max(by_load, -(-(tasks + by_load - 1) // tasks_per_gpu))


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """What the run says of one way: memory in bytes, a switch, and the service times of its latency class.

    ``services``: by strategy, the way's own and those from which the run does not tell it apart. ``switch_is``: what
    of the run ``switch_ns`` is.
    ``each``: bytes that one more task takes (0 where adapters are swapped: one at a time has its place). ``beside``:
    bytes that are needed once, whatever the number of tasks.
    """

    way: Way
    each: int
    beside: int
    switch_ns: int
    services: Mapping[str, Service]
    switch_is: str = ""
    carried: dict[tuple[float, int], float] = dataclasses.field(default_factory=dict)

    def tasks_per_gpu(self, memory_bytes: int) -> int | None:
        """How many tasks fit; 0: not one; None: any number."""
        left = memory_bytes - self.beside
        if not self.each:
            return None if left >= 0 else 0
        return max(0, left // self.each)

    def requests_per_second(self, needs: Needs) -> float:
        """The most that one GPU carries within the SLO; 0: the service times do not allow it at any load."""
        key = (needs.switch_share, round(needs.slo_p95_s * 1e9))
        if key not in self.carried:
            self.carried[key] = min(s.requests_per_second(self.switch_ns, *key) for s in self.services.values())
        return self.carried[key]

    def p95s_s(self, needs: Needs) -> dict[str, float]:
        """The p95 of each strategy's requests with this way's share of switches, without waiting, in seconds."""
        return {name: s.p95_s(self.switch_ns, needs.switch_share) for name, s in self.services.items()}

    def by_load(self, needs: Needs) -> int | None:
        """GPUs that the load alone needs; None: the service times do not allow the SLO at any load."""
        carried = self.requests_per_second(needs)
        if not carried:
            return None
        return max(1, math.ceil(needs.requests_per_second / carried - ROUNDING))

    def gpus(self, needs: Needs) -> int | None:
        """GPUs needed; None: not feasible."""
        fit, by_load = self.tasks_per_gpu(needs.gpu_memory_bytes), self.by_load(needs)
        return None if fit == 0 or by_load is None else gpus_needed(needs.tasks, by_load, fit)

    def result(self, needs: Needs) -> WayResult:
        """The way, counted for ``needs``."""
        fit, by_load, gpus = self.tasks_per_gpu(needs.gpu_memory_bytes), self.by_load(needs), self.gpus(needs)
        p95s_s, own = self.p95s_s(needs), self.way.strategy
        p95_of = max(p95s_s, key=lambda name: (p95s_s[name], name == own))
        p95_s = p95s_s[p95_of]
        by_memory = None if fit == 0 else gpus_needed(needs.tasks, 1, fit)
        why_not = {}
        if fit == 0:
            why_not["memory"] = f"one task needs {gigabytes(self.each + self.beside)}"
        if by_load is None:
            whose = "" if p95_of == own else f" (of {p95_of})"
            late = "is above it" if p95_s > needs.slo_p95_s else "leaves no time to wait"
            why_not["slo"] = f"p95 {milliseconds(p95_s)}{whose} {late}"
        cost = None
        if gpus is not None and needs.gpu_price is not None:
            cost = gpus * needs.gpu_price / 3600 / needs.requests_per_second * 1e6
        return WayResult(
            way=self.way.name,
            label=self.way.label,
            strategy=self.way.strategy,
            feasible=gpus is not None,
            gpus=gpus,
            gpus_by_memory=by_memory,
            gpus_by_load=by_load,
            tasks_per_gpu=fit,
            bytes_each=self.each,
            bytes_beside=self.beside,
            requests_per_second_per_gpu=self.requests_per_second(needs),
            p95_s=p95_s,
            p95_of=p95_of,
            own_p95_s=p95s_s[own],
            switch_s=self.switch_ns / 1e9,
            switch_is=self.switch_is,
            binds=" and ".join(why_not) or _binds(gpus, by_memory, by_load or 1),
            cost_per_million_requests=cost,
            growth=None if gpus is None else self._growth(needs, gpus),
            same_latency_as=tuple(name for name in self.services if name != own),
            why_not="; ".join(f"{what}: {why}" for what, why in why_not.items()) or None,
        )

    def _growth(self, needs: Needs, gpus: int) -> Growth:
        fit = self.tasks_per_gpu(needs.gpu_memory_bytes)
        most_by_load = gpus if fit is None else min(gpus, gpus * fit - needs.tasks + 1)
        load = most_by_load * self.requests_per_second(needs)
        tasks_at = self._tasks_at(needs, gpus)
        first = "load"
        if tasks_at is not None and tasks_at / needs.tasks < load / needs.requests_per_second:
            first = "tasks"
        return Growth(tasks_at, load, first)

    def _tasks_at(self, needs: Needs, gpus: int) -> int | None:
        """The fewest tasks that ``gpus`` do not serve; the number of GPUs only grows with tasks, so halve."""

        def too_few(tasks: int) -> bool:
            found = self.gpus(dataclasses.replace(needs, tasks=tasks))
            return found is None or found > gpus

        more = range(needs.tasks + 1, MOST_TASKS + 1)
        place = bisect.bisect_left(more, True, key=too_few)
        return more[place] if place < len(more) else None


def _binds(gpus: int | None, by_memory: int | None, by_load: int) -> str:
    """What would take fewer GPUs if it were lifted: both where lifting one of them is not enough."""
    if gpus == 1 or gpus is None or by_memory is None:
        return "nothing"
    memory, load = by_load < gpus, by_memory < gpus
    return "memory and load" if memory == load else "memory" if memory else "load"
