"""From a plan's tables to a plan: names filled in and unique, choices that exist, adapters that fit their strategy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from raybench.plan.choices import did_you_mean, one_of
from raybench.plan.plan import Adapter, Claim, Configuration, Design, Plan, make_blocks, make_comparisons
from raybench.plan.schema import DeploymentTable, PlanTable, WorkloadFile
from raybench.records import InputError, StrategyTraits

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_MAX_CONFIGURATIONS = 10_000
MAX_REQUESTS = 1_000_000
"""Of one configuration in a run."""
DEFAULT_MAX_ROUNDS = 50
"""Rounds at most of a run that goes on until its intervals are narrow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line may change of a plan; None leaves it as the plan says."""

    design: Design = "paired"
    rounds: int | None = None
    requests: int | None = None
    order_seed: int | None = None
    until_halfwidth: float | None = None
    max_rounds: int | None = None
    accelerator_type: str | None = None


class PlanBuilder:
    """Builds the plan of the tables ``parsed``. Raises InputError that names the key, what was expected, the spelling.

    ``where``: the plan's name or file, which errors begin with. ``strategies`` and ``tasks``: what can be run.
    ``base``: the folder that paths are relative to; None for a shipped plan, which has none.
    """

    def __init__(
        self,
        where: str,
        parsed: PlanTable,
        strategies: Mapping[str, StrategyTraits],
        tasks: tuple[str, ...],
        base: Path | None,
    ) -> None:
        self.where, self.parsed, self.strategies, self.tasks, self.base = where, parsed, strategies, tasks, base

    def build(self, overrides: Overrides) -> tuple[Plan, WorkloadFile | None]:
        p = self.parsed
        self.check_name(p.name, "name")
        configurations = self.configurations(self.adapters())
        known = {*self.strategies, *(c.role for c in configurations)}
        for i, reference in enumerate(p.references):
            self.check_choice(reference, known, f"references[{i}]", "strategy")
        for i, claim in enumerate(p.claims):
            self.check_choice(claim.strategy, {c.role for c in configurations}, f"claims[{i}].strategy", "strategy")
            self.check_choice(claim.reference, p.references, f"claims[{i}].reference", "reference")
        blocks = make_blocks(configurations, overrides.design)
        names = [block.name for block in blocks]
        if clash := next((name for name in names if names.count(name) > 1), None):
            raise self.error(
                "configurations", f"{clash!r} is also the name of a (task, seed) block; choose another name"
            )
        rounds, requests = overrides.rounds or p.rounds, overrides.requests or p.requests
        halfwidth = overrides.until_halfwidth or p.until_halfwidth
        whole = overrides.rounds is None and overrides.requests is None and halfwidth is None
        if overrides.design == "independent" and whole:
            # As the study ran: one task for each configuration, which takes all of its samples.
            rounds, requests = 1, p.rounds * p.requests
        if halfwidth is not None:
            rounds = overrides.max_rounds or overrides.rounds or max(p.rounds, DEFAULT_MAX_ROUNDS)
        elif overrides.max_rounds is not None:
            raise InputError("--max-rounds goes with --until-halfwidth; use --rounds for a fixed number")
        if rounds * requests > MAX_REQUESTS:
            raise InputError(
                f"{self.where}: {rounds} rounds of {requests} requests are more than {MAX_REQUESTS}; ask for fewer"
            )
        plan = Plan(
            name=p.name,
            description=p.description,
            design=overrides.design,
            rounds=rounds,
            requests=requests,
            warmups=p.warmups,
            turn_requests=p.turn_requests,
            workload_seed=p.workload_seed,
            order_seed=p.order_seed if overrides.order_seed is None else overrides.order_seed,
            margin=p.margin,
            references=tuple(p.references),
            visit_timeout_s=p.visit_timeout_s,
            accelerator_type=overrides.accelerator_type or p.accelerator_type,
            configurations=configurations,
            blocks=blocks,
            comparisons=make_comparisons(configurations, blocks, p.references),
            claims=tuple(Claim(c.strategy, c.reference) for c in p.claims),
            until_halfwidth=halfwidth,
        )
        return plan, self.workload()

    def workload(self) -> WorkloadFile | None:
        w = self.parsed.workload
        if w is None:
            return None
        if not w.texts.endswith((".parquet", ".jsonl")):
            raise self.error("workload.texts", f"expected a .parquet or .jsonl file, got {w.texts!r}")
        texts = w.texts if self.base is None else str(self.base / w.texts)
        tokenizer = None if w.tokenizer is None else self.path(w.tokenizer)
        return w.model_copy(update={"texts": texts, "tokenizer": tokenizer})

    def path(self, text: str) -> str:
        """Paths in a plan are relative to the plan's own folder; ``owner/name`` is a hub id where no such path is."""
        if self.base is None or (_HUB_ID.fullmatch(text) and not (self.base / text).exists()):
            return text
        return str(self.base / text)

    def adapters(self) -> dict[str, Adapter]:
        found: dict[str, Adapter] = {}
        for i, table in enumerate(self.parsed.adapters):
            for task, seed in _product(table.tasks, table.seeds):
                key = f"adapters[{i}]"
                name = _fill(table.name, task, seed)
                self.check_name(name, f"{key}.name")
                self.check_task(task, f"{key}.tasks")
                if name in found:
                    raise self.error(
                        f"{key}.name", f"duplicate adapter {name!r}; put {{task}} and {{seed}} in the name"
                    )
                path = None if table.path is None else self.path(_fill(table.path, task, seed))
                found[name] = Adapter(name, task, seed, table.r, table.alpha, tuple(table.target_modules), path)
        return found

    def configurations(self, adapters: Mapping[str, Adapter]) -> tuple[Configuration, ...]:
        found: dict[str, Configuration] = {}
        for key, table, task, seed in self.rows():
            name = _fill(table.name, task, seed)
            self.check_name(name, f"{key}.name")
            if name in found:
                raise self.error(f"{key}.name", f"duplicate configuration {name!r}; every name must be its own")
            found[name] = self.configuration(key, table, name, task, seed, adapters)
            if len(found) > _MAX_CONFIGURATIONS:
                raise self.error(key, f"more than {_MAX_CONFIGURATIONS} configurations; split the plan")
        if not found:
            raise self.error("configurations", "none; add a [[configurations]] or [[matrix]] table")
        return tuple(found.values())

    def rows(self) -> Iterable[tuple[str, DeploymentTable, str | None, int]]:
        for i, matrix in enumerate(self.parsed.matrix):
            for task, seed in _product(matrix.tasks, matrix.seeds):
                yield f"matrix[{i}]", matrix, task, seed
        for i, single in enumerate(self.parsed.configurations):
            yield f"configurations[{i}]", single, single.task, single.seed

    def configuration(
        self, key: str, table: Any, name: str, task: str | None, seed: int, adapters: Mapping[str, Adapter]
    ) -> Configuration:
        self.check_choice(table.strategy, self.strategies, f"{key}.strategy", "strategy")
        traits = self.strategies[table.strategy]
        chosen: list[Adapter] = []
        for adapter in (_fill(a, task, seed) for a in table.adapters):
            self.check_choice(adapter, adapters, f"{key}.adapters", "adapter")
            if adapters[adapter] in chosen:
                raise self.error(f"{key}.adapters", f"adapter {adapter!r} is named twice")
            chosen.append(adapters[adapter])
        if table.role is not None:
            self.check_name(table.role, f"{key}.role")
        if table.delay_share and table.strategy != "delay":
            raise self.error(f"{key}.delay_share", "only the strategy delay takes it")
        if not traits.min_adapters <= len(chosen) <= traits.max_adapters:
            low, high = traits.min_adapters, traits.max_adapters
            expected = f"{low}" if low == high else f"{low} to {high}"
            raise self.error(f"{key}.adapters", f"{table.strategy} takes {expected} adapters, got {len(chosen)}")
        tasks = tuple(dict.fromkeys(a.task for a in chosen)) if task is None else (task,)
        if not tasks:
            raise self.error(f"{key}.task", f"missing; {table.strategy} has no adapter that would tell its task")
        if len(chosen) > 1 and len(tasks) != len(chosen):
            raise self.error(f"{key}.adapters", "each adapter must serve a task of its own")
        for t in tasks:
            self.check_task(t, f"{key}.task")
        if len(chosen) == 1 and chosen[0].task != tasks[0]:
            raise self.error(f"{key}.adapters", f"adapter {chosen[0].name!r} serves {chosen[0].task}, not {tasks[0]}")
        checkpoint = None if table.checkpoint is None else self.path(_fill(table.checkpoint, task, seed))
        return Configuration(
            name=name,
            strategy=table.strategy,
            seed=seed,
            tasks=tasks,
            adapters=tuple(chosen),
            checkpoint=checkpoint,
            dtype=table.dtype,
            adapter_dtype=table.adapter_dtype,
            routing=table.routing,
            execution=table.execution,
            role=table.role or "",
            delay_share=table.delay_share,
        )

    def check_task(self, task: str, key: str) -> None:
        if self.parsed.workload is None:
            self.check_choice(task, self.tasks, key, "task")
        else:
            self.check_name(task, key)

    def check_name(self, name: str, key: str) -> None:
        if not _NAME.fullmatch(name):
            raise self.error(
                key,
                f"{name!r} is not a name; use letters, digits, '.', '_' and '-', starting with one of the first two",
            )

    def check_choice(self, value: str, choices: Iterable[str], key: str, noun: str) -> None:
        known = tuple(choices)
        if value not in known:
            raise self.error(key, f"unknown {noun} {value!r}; expected {one_of(known)}" + did_you_mean(value, known))

    def error(self, key: str, message: str) -> InputError:
        return InputError(f"{self.where}: {key}: {message}")


def _fill(template: str, task: str | None, seed: int) -> str:
    return template.replace("{task}", task or "{task}").replace("{seed}", str(seed))


def _product(tasks: Iterable[str], seeds: Iterable[int]) -> Iterable[tuple[str, int]]:
    return ((task, seed) for task in tasks for seed in seeds)
