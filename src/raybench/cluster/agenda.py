"""What is still to be measured: which visit comes next on a device, and what a failure takes out of those to come."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Literal

from raybench.model import ModelSpec, Recipe, Request, Workload, request_of
from raybench.plan import Block, Configuration, Plan, Visit
from raybench.records import visit_name
from raybench.visit import VisitSpec

MAX_ATTEMPTS = 6
"""How often a visit is tried where what was lost is the worker, or a process that was killed from outside.

A machine that may be taken away at any time may take the same visit with it more than once; a configuration whose
process is killed each time, for want of memory say, must not keep the others from being measured.
"""

_NEAR = 16
"""Visits at the head of a round among which a device takes the block that it has served least."""

_AS_LONG = 0.8
"""In the last round only visits nearly as long as the longest may be taken before it."""


Kind = tuple[tuple[str, int, int], ...]
"""The strategies that a block measures, with their adapters and prompts in a batch: blocks of one kind take alike."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What stays the same for every visit of a run."""

    plan: Plan
    workload: Workload
    model: ModelSpec
    recipe: Recipe
    device_kind: Literal["cpu", "cuda"]


class Agenda:
    """Visits round by round, less those already committed and less the configurations that failed.

    Within a round a device takes, of those next in line, the block that it has served least, so that every block
    meets every device. The last round goes longest first: what begins last decides when the run ends. Nobody waits
    for a round to be over. With ``last_round`` set, later rounds wait until it is raised.

    A failed configuration is not tried again: its error would repeat in every round. The others of its block
    go on without it.
    """

    def __init__(
        self,
        job: Job,
        done: Iterable[tuple[str, int]] = (),
        failed: Iterable[str] = (),
        served: Iterable[tuple[str, str]] = (),
    ) -> None:
        """``done``: committed (block, round); ``failed``: configurations; ``served``: (block, device) of each visit."""
        self._job = job
        self.failed = set(failed)
        self.last_round = job.plan.rounds - 1
        self._index = {block.name: i for i, block in enumerate(job.plan.blocks)}
        self._blocks = {block.name: block for block in job.plan.blocks}
        self._again: deque[tuple[Visit, int]] = deque()
        self._losses: Counter[tuple[str, int]] = Counter()
        self._served = Counter(served)
        self._durations: dict[str, list[int]] = {}
        committed = set(done)
        self._rounds: dict[int, list[str]] = {}
        for visit in job.plan.visits():
            if (visit.block, visit.round) not in committed:
                self._rounds.setdefault(visit.round, []).append(visit.block)
        self._kinds = {block.name: _kind(block) for block in job.plan.blocks}
        self._expected: dict[str, float] = {}
        self._ordered: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Visits left, of all rounds."""
        return len(self._again) + sum(map(len, self._rounds.values()))

    def waiting(self) -> int:
        """Visits that can begin now."""
        return len(self._again) + sum(len(blocks) for r, blocks in self._rounds.items() if r <= self.last_round)

    def next(self, device: str = "") -> VisitSpec | None:
        """The next visit for ``device`` that has anything to measure, or None."""
        while (taken := self._take(device)) is not None:
            visit, attempt = taken
            if spec := self._spec(visit, attempt):
                self._served[visit.block, device] += 1
                return spec
        return None

    def learn(self, block: str, total_ns: int) -> None:
        """A visit of ``block`` took so long."""
        self._durations.setdefault(block, []).append(total_ns)

    def drop(self, configuration: str) -> None:
        """``configuration`` failed: later visits do without it."""
        self.failed.add(configuration)

    def again(self, spec: VisitSpec, *, lost: bool) -> bool:
        """Put a visit that did not finish back in front; False where its attempts are used up.

        ``lost``: nothing was taken out of it, so the same may happen again and tries are limited.
        """
        if lost:
            self._losses[spec.block, spec.round] += 1
            if self._losses[spec.block, spec.round] >= MAX_ATTEMPTS:
                return False
        self._again.append((Visit(spec.block, spec.round), spec.attempt + 1))
        return True

    def _take(self, device: str) -> tuple[Visit, int] | None:
        if self._again:
            return self._again.popleft()
        for round_index, blocks in self._rounds.items():
            if round_index > self.last_round:
                return None
            if blocks:
                block = blocks.pop(self._choose(round_index, blocks, device))
                return Visit(block, round_index), 0
        return None

    def _choose(self, round_index: int, blocks: list[str], device: str) -> int:
        near = blocks[:_NEAR]
        if round_index == self.last_round:
            known = round_index, len({self._kinds[block] for block in self._durations})
            if known != self._ordered:  # another round, or more is known than when it was put in order
                self._ordered, self._expected = known, self._expect()
                blocks.sort(key=lambda block: -self._expected[block])
            least = _AS_LONG * self._expected[blocks[0]]
            near = [block for block in blocks[:_NEAR] if self._expected[block] >= least]
        return min(range(len(near)), key=lambda i: (self._served[near[i], device], i))

    def _expect(self) -> dict[str, float]:
        """How long a visit of each block is likely to take: as measured, else as its kind, else by its forwards."""
        plan = self._job.plan
        forwards = {b.name: float(len(b.configurations) * (plan.warmups + 2 * plan.requests)) for b in plan.blocks}
        measured = {block: sum(ns) / len(ns) for block, ns in self._durations.items()}
        of_kind: dict[Kind, list[float]] = {}
        for block, ns in measured.items():
            of_kind.setdefault(self._kinds[block], []).append(ns)
        scale = sum(measured.values()) / sum(forwards[block] for block in measured) if measured else 1.0
        unmeasured = {
            block: sum(alike) / len(alike) if (alike := of_kind.get(self._kinds[block])) else scale * n
            for block, n in forwards.items()
        }
        return unmeasured | measured

    def _spec(self, visit: Visit, attempt: int) -> VisitSpec | None:
        plan = self._job.plan
        block = self._blocks[visit.block]
        if all(member.name in self.failed for member in block.members):
            return None  # guests alone are measured for nobody
        configurations = tuple(c for c in block.configurations if c.name not in self.failed)
        first = visit.round * plan.requests
        requests = self._requests(block, configurations, first)
        kept = [(c, r) for c, r in zip(configurations, requests, strict=True) if r]
        return VisitSpec(
            visit=visit_name(visit.block, visit.round, attempt),
            block=visit.block,
            round=visit.round,
            attempt=attempt,
            configurations=tuple(c for c, _ in kept),
            requests=tuple(r for _, r in kept),
            places=tuple(c.adapter_places(first, plan.requests) for c, _ in kept),
            model=self._job.model,
            recipe=self._job.recipe,
            warmups=plan.warmups,
            turn_requests=plan.turn_requests,
            order_seed=(plan.order_seed, self._index[visit.block]),
            timeout_s=plan.visit_timeout_s,
            device_kind=self._job.device_kind,
            calibrates=plan.calibrates(visit.round),
            servers=plan.servers,
        )

    def _requests(self, block: Block, configurations: Sequence[Configuration], first: int) -> list[tuple[Request, ...]]:
        """What each configuration serves; made once for all that serve the same, since with many it takes long."""
        found: dict[tuple[tuple[str, ...], str, bool, int], tuple[Request, ...]] = {}
        requests, workload, mixed = [], self._job.workload, block.mixed_tasks
        for c in configurations:
            key = c.tasks, c.routing, c in block.members, c.batch
            if key not in found:
                served = block.requests(c, first, self._job.plan.requests)
                found[key] = tuple(request_of(workload, task, i, c.batch, mixed) for task, i in served)
            requests.append(found[key])
        return requests


def _kind(block: Block) -> Kind:
    return tuple(sorted((c.strategy, len(c.adapters), c.batch) for c in block.configurations))
