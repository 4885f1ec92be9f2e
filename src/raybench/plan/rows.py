"""What the tables of a plan stand for: a configuration, or an adapter, for each value of their axes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from raybench.plan.load import ONE_AT_A_TIME, Load
from raybench.plan.schema import AdaptersTable, DeploymentTable, PlanTable

NUMBER: Final = "{number}"
"""In the names of adapters that are numbered, and of those that a configuration deploys."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One configuration that a table stands for. ``key``: of the table in its file. ``resident``: None for all.

    ``load``: None where requests come one at a time.
    """

    key: str
    table: Any
    task: str | None
    seed: int
    batch: int
    resident: int | None
    load: Load | None

    def fill(self, template: str) -> str:
        """``template`` with its task, seed, batch, load and number of resident adapters filled in."""
        load = ONE_AT_A_TIME if self.load is None else self.load.name
        filled = _fill(template, self.task, self.seed).replace("{batch}", str(self.batch)).replace("{load}", load)
        return filled if self.resident is None else filled.replace("{resident}", str(self.resident))

    def adapters(self, known: Collection[str]) -> list[str]:
        """The names of the adapters that it deploys; of numbered ones those that are ``known``, or so many of them."""
        found: list[str] = []
        for template in self.table.adapters:
            name = _fill(template, self.task, self.seed)
            if NUMBER not in name:
                found.append(name)
                continue
            numbers = range(1, self.resident + 1) if self.resident is not None else itertools.count(1)
            named = (name.replace(NUMBER, str(number)) for number in numbers)
            found += list(itertools.takewhile(known.__contains__, named)) or [name.replace(NUMBER, "1")]
        return found


def rows(parsed: PlanTable) -> Iterator[Row]:
    """Each configuration of a plan."""
    for i, matrix in enumerate(parsed.matrix):
        for resident, batch, load in _axes(matrix):
            for task, seed in itertools.product(matrix.tasks, matrix.seeds):
                yield Row(f"matrix[{i}]", matrix, task, seed, batch, resident, load)
    for i, single in enumerate(parsed.configurations):
        for resident, batch, load in _axes(single):
            yield Row(f"configurations[{i}]", single, single.task, single.seed, batch, resident, load)


def _axes(table: DeploymentTable) -> Iterator[tuple[int | None, int, Load | None]]:
    """Resident adapters, batch and load of each configuration for a task and a seed."""
    return itertools.product(_several(table.resident), _several(table.batch), _loads(table))


def _loads(table: DeploymentTable) -> list[Load | None]:
    """How requests come; what is given besides is told by who builds the plan."""
    if table.trace is not None:
        return [Load(trace=table.trace)]
    if table.rate_per_s is not None:
        return [Load(rate_per_s=float(rate), burstiness=table.burstiness) for rate in _several(table.rate_per_s)]
    # One at once is as requests come where nothing is said.
    return [None if number == 1 else Load(concurrency=number) for number in _several(table.concurrency)]


def adapters_of(table: AdaptersTable) -> Iterator[tuple[str, str | None, str, int]]:
    """Name, path, task and seed of each adapter that a table stands for."""
    numbers = [NUMBER] if table.count is None else [str(number) for number in range(1, table.count + 1)]
    for task, seed, number in itertools.product(table.tasks, table.seeds, numbers):
        name, path = (
            None if template is None else _fill(template, task, seed).replace(NUMBER, number)
            for template in (table.name, table.path)
        )
        yield name or "", path, task, seed


def _fill(template: str, task: str | None, seed: int) -> str:
    return template.replace("{task}", task or "{task}").replace("{seed}", str(seed))


def _several(values: Any) -> Sequence[Any]:
    return values if isinstance(values, list) else [values]
