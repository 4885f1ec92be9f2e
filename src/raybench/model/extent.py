"""How long a plan's requests get: what a model must take of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from raybench.model.workload import Workload
from raybench.plan import DRAWN, Configuration, Plan, places

Places = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class Extent:
    """The longest of the requests that are called by ``task``, and the largest token id of all where it is known.

    ``prompt_tokens``: of the longest prompt of a batch, to which the others are padded. ``output_tokens``: what the
    same request generates.
    """

    task: str
    prompt_tokens: int
    output_tokens: int
    largest_token_id: int | None = None

    @property
    def tokens(self) -> int:
        """Positions that the request takes."""
        return self.prompt_tokens + self.output_tokens


class Extents:
    """The extent of the requests of each configuration of ``plan``, worked out once for all that are asked the same."""

    def __init__(self, plan: Plan, workload: Workload) -> None:
        self.workload, self.count, self.round = workload, plan.rounds * plan.requests, plan.requests
        self._known: dict[tuple[tuple[str, ...], str, int, int], Extent] = {}

    def of(self, configuration: Configuration) -> Extent:
        """Of its requests in all rounds, as `Configuration.requests` and `request_of` have them.

        A guest is asked nothing that its host is not.
        """
        c = configuration
        key = c.tasks, c.routing, c.batch, c.seed if c.routing in DRAWN else 0
        if key not in self._known:
            self._known[key] = self._extent(c)
        return self._known[key]

    def _extent(self, c: Configuration) -> Extent:
        called_by = self._called_by(c)
        longest, outputs = np.zeros((2, self.count), dtype=np.int32)
        for place, task in enumerate(c.tasks):
            prompts = self.workload.prompt_tokens(task, self.count * c.batch).reshape(self.count, c.batch)
            mine = called_by == place
            outputs[mine] = self.workload.output_tokens(task, self.count)[mine]
            if c.routing != "mixed":
                longest[mine] = prompts[mine].max(axis=1)
                continue
            for position in range(c.batch):  # prompt j of request i is of task (i + j) modulo the number of tasks
                those = slice((place - position) % len(c.tasks), None, len(c.tasks))
                longest[those] = np.maximum(longest[those], prompts[those, position])
        most = int(np.argmax(longest + outputs))
        known = [self.workload.largest_token_id(task, self.count * c.batch) for task in c.tasks]
        largest = max((id_ for id_ in known if id_ is not None), default=None)
        return Extent(c.tasks[called_by[most]], int(longest[most]), int(outputs[most]), largest)

    def _called_by(self, c: Configuration) -> Places:
        """The place among its tasks of that which each request is called by, of shape (count,)."""
        if len(c.tasks) == 1:
            return np.zeros(self.count, dtype=np.int64)
        rounds = range(0, self.count, self.round)
        return np.concatenate([places(c.routing, len(c.tasks), first, self.round, c.seed) for first in rounds])
