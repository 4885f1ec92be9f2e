"""What is still to be measured: which visit comes next, and what a failure takes out of those to come."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Iterable
from typing import Literal

from raybench.models import ModelSpec
from raybench.plan import Plan, Visit
from raybench.prepare import Recipe
from raybench.records import visit_name
from raybench.visit import VisitSpec
from raybench.workload import Workload

MAX_ATTEMPTS = 3
"""How often a visit is tried when what was lost is the worker and not one of its configurations."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What stays the same for every visit of a run."""

    plan: Plan
    workload: Workload
    model: ModelSpec
    recipe: Recipe
    device_kind: Literal["cpu", "cuda"]


class Agenda:
    """Visits in the plan's order, less those already committed and less the configurations that failed.

    A failed configuration is not tried again: its error would repeat in every round. The others of its block
    go on without it. With ``last_round`` set, later rounds wait until it is raised.
    """

    def __init__(self, job: Job, done: Iterable[tuple[str, int]] = (), failed: Iterable[str] = ()) -> None:
        self._job = job
        self._failed = set(failed)
        self.last_round = job.plan.rounds - 1
        self._losses: Counter[tuple[str, int]] = Counter()
        committed = set(done)
        self._pending: deque[tuple[Visit, int]] = deque(
            (visit, 0) for visit in job.plan.visits() if (visit.block, visit.round) not in committed
        )

    def __len__(self) -> int:
        return len(self._pending)

    def next(self) -> VisitSpec | None:
        """The next visit that has anything to measure, or None."""
        while self._pending and self._pending[0][0].round <= self.last_round:
            visit, attempt = self._pending.popleft()
            if spec := self._spec(visit, attempt):
                return spec
        return None

    def drop(self, configuration: str) -> None:
        """``configuration`` failed: later visits do without it."""
        self._failed.add(configuration)

    def again(self, spec: VisitSpec, *, lost: bool) -> bool:
        """Put a visit that did not finish back in front; False where its attempts are used up.

        ``lost``: nothing was taken out of it, so the same may happen again and tries are limited.
        """
        if lost:
            self._losses[spec.block, spec.round] += 1
            if self._losses[spec.block, spec.round] >= MAX_ATTEMPTS:
                return False
        self._pending.appendleft((Visit(spec.block, spec.round), spec.attempt + 1))
        return True

    def _spec(self, visit: Visit, attempt: int) -> VisitSpec | None:
        plan = self._job.plan
        block = plan.block(visit.block)
        if all(member.name in self._failed for member in block.members):
            return None  # guests alone are measured for nobody
        configurations = tuple(c for c in block.configurations if c.name not in self._failed)
        first = visit.round * plan.requests
        requests = tuple(
            tuple(self._job.workload.request(task, i) for task, i in block.requests(c, first, plan.requests))
            for c in configurations
        )
        kept = [(c, r) for c, r in zip(configurations, requests, strict=True) if r]
        return VisitSpec(
            visit=visit_name(visit.block, visit.round, attempt),
            block=visit.block,
            round=visit.round,
            attempt=attempt,
            configurations=tuple(c for c, _ in kept),
            requests=tuple(r for _, r in kept),
            model=self._job.model,
            recipe=self._job.recipe,
            warmups=plan.warmups,
            turn_requests=plan.turn_requests,
            order_seed=(plan.order_seed, plan.blocks.index(block), visit.round),
            timeout_s=plan.visit_timeout_s,
            device_kind=self._job.device_kind,
        )
