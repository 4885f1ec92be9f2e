"""What each way to deploy needs: the GPUs that memory and load take, what binds, and what breaks first.

Sections 4 to 6 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from typing import Final, Literal, NamedTuple

from raybench.analysis import Estimate, rounds_until
from raybench.decide.advice import Growth, WayResult, gigabytes, milliseconds
from raybench.decide.needs import MOST_TASKS, Needs
from raybench.decide.queueing import ROUNDING, Service
from raybench.decide.speed import reach


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
    """What the run says of one way: memory in bytes, a switch, the service times and how sure they are.

    ``speed``: the mean of ``service`` over visits. ``switch_is``: what of the run ``switch_ns`` is.
    ``each``: bytes that one more task takes (0 where adapters are swapped: one at a time has its place). ``beside``:
    bytes that are needed once, whatever the number of tasks.

    A ``factor`` is how many times as long as measured its requests take, the switch not included.
    """

    way: Way
    each: int
    beside: int
    switch_ns: int
    service: Service
    speed: Estimate
    switch_is: str = ""
    carried: dict[tuple[float, int, float], float] = dataclasses.field(default_factory=dict)

    def tasks_per_gpu(self, memory_bytes: int) -> int | None:
        """How many tasks fit; 0: not one; None: any number."""
        left = memory_bytes - self.beside
        if not self.each:
            return None if left >= 0 else 0
        return max(0, left // self.each)

    def requests_per_second(self, needs: Needs, factor: float = 1.0) -> float:
        """The most that one GPU carries within the SLO; 0: the service times do not allow it at any load."""
        if factor in (0.0, math.inf):
            return 0.0 if factor else math.inf
        key = (needs.switch_share, round(needs.slo_p95_s * 1e9), factor)
        if key not in self.carried:
            self.carried[key] = self.service.times(factor).requests_per_second(self.switch_ns, *key[:2])
        return self.carried[key]

    def p95_s(self, needs: Needs, factor: float = 1.0) -> float:
        """The p95 of requests with this way's share of switches, without waiting, in seconds."""
        if math.isinf(factor):
            return math.inf
        return self.service.times(factor).p95_s(self.switch_ns, needs.switch_share)

    def by_load(self, needs: Needs, factor: float = 1.0) -> int | None:
        """GPUs that the load alone needs; None: the service times do not allow the SLO at any load."""
        carried = self.requests_per_second(needs, factor)
        if not carried:
            return None
        return max(1, math.ceil(needs.requests_per_second / carried - ROUNDING))

    def gpus(self, needs: Needs, factor: float = 1.0) -> int | None:
        """GPUs needed; None: not feasible."""
        fit, by_load = self.tasks_per_gpu(needs.gpu_memory_bytes), self.by_load(needs, factor)
        return None if fit == 0 or by_load is None else gpus_needed(needs.tasks, by_load, fit)

    def gpus_between(self, needs: Needs, speed: Estimate) -> tuple[int | None, int | None]:
        """GPUs needed at either end of the interval of ``speed``; None: not feasible there."""
        ends = reach(speed)
        return self.gpus(needs, ends.low), self.gpus(needs, ends.high)

    def result(self, needs: Needs) -> WayResult:
        """The way, counted for ``needs``."""
        fit, by_load, gpus = self.tasks_per_gpu(needs.gpu_memory_bytes), self.by_load(needs), self.gpus(needs)
        p95_s, ends = self.p95_s(needs), reach(self.speed)
        least, most = self.gpus_between(needs, self.speed)
        by_memory = None if fit == 0 else gpus_needed(needs.tasks, 1, fit)
        why_not = {}
        if fit == 0:
            why_not["memory"] = f"one task needs {gigabytes(self.each + self.beside)}"
        if by_load is None:
            late = "is above it" if p95_s > needs.slo_p95_s else "leaves no time to wait"
            why_not["slo"] = f"p95 {milliseconds(p95_s)} {late}"
        cost = None
        if gpus is not None and needs.gpu_price is not None:
            cost = gpus * needs.gpu_price / 3600 / needs.requests_per_second * 1e6
        return WayResult(
            way=self.way.name,
            label=self.way.label,
            strategy=self.way.strategy,
            feasible=gpus is not None,
            gpus=gpus,
            gpus_least=least,
            gpus_most=most,
            more_rounds=0 if least == most else self._more_rounds(needs),
            no_interval=self.speed.unknown,
            gpus_by_memory=by_memory,
            gpus_by_load=by_load,
            tasks_per_gpu=fit,
            bytes_each=self.each,
            bytes_beside=self.beside,
            requests_per_second_per_gpu=self.requests_per_second(needs),
            p95_s=p95_s,
            p95_low_s=self.p95_s(needs, ends.low),
            p95_high_s=self.p95_s(needs, ends.high),
            switch_s=self.switch_ns / 1e9,
            switch_is=self.switch_is,
            binds=" and ".join(why_not) or _binds(gpus, by_memory, by_load or 1),
            cost_per_million_requests=cost,
            growth=None if gpus is None else self._growth(needs, gpus),
            why_not="; ".join(f"{what}: {why}" for what, why in why_not.items()) or None,
        )

    def _more_rounds(self, needs: Needs) -> int | None:
        """Rounds that would leave one number of GPUs, if speed and spread stay as they are; None: none would."""

        def one_number(forecast: Estimate) -> bool:
            least, most = self.gpus_between(needs, forecast)
            return least == most

        return rounds_until(self.speed, one_number)

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
