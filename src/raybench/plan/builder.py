"""From a plan's tables to a plan: names filled in and unique, choices that exist, adapters that fit their strategy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from raybench.plan.choices import did_you_mean, one_of
from raybench.plan.load import Load
from raybench.plan.plan import (
    BY_BUCKET,
    TEXT_FILES,
    Adapter,
    Claim,
    Configuration,
    Design,
    Form,
    Plan,
    make_blocks,
    make_comparisons,
    own_role,
)
from raybench.plan.rows import NUMBER, Row, adapters_of, rows
from raybench.plan.schema import AdaptersTable, DeploymentTable, PlanTable, WorkloadTable
from raybench.plan.served import (
    all_run_already,
    goodput_of,
    problems_of_loads,
    problems_of_served,
    problems_of_servers,
    servers_of,
)
from raybench.records import Problems, StrategyTraits, count

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
"""``owner/name``, as long as the hub lets one be."""
_MAX_CONFIGURATIONS = 10_000
MAX_REQUESTS = 1_000_000
"""Of one configuration in a run."""
MAX_PROMPTS = 16_000_000
"""Of one configuration in a run: in each of its requests as many as its batch."""
DEFAULT_R = 8
DEFAULT_TARGETS = ("q_proj", "v_proj")
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
    engine_python: str | None = None


class PlanBuilder:
    """Builds the plan of the tables ``parsed``. Raises InputError: of each problem key, what was expected, spelling.

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
        self.problems = Problems()

    def build(self, overrides: Overrides) -> tuple[Plan, WorkloadTable | None]:
        p = self.parsed
        self.check_name(p.name, "name")
        configurations = self.configurations(self.adapters())
        roles = {self.role(row) for row in rows(p)}
        for i, reference in enumerate(p.references):
            self.check_choice(reference, {*self.strategies, *roles}, f"references[{i}]", "strategy")
        for i, claim in enumerate(p.claims):
            self.check_choice(claim.strategy, roles, f"claims[{i}].strategy", "strategy")
            self.check_choice(claim.reference, p.references, f"claims[{i}].reference", "reference")
        mixed = [c.name for c in configurations if c.routing == "mixed" and len(c.tasks) > 1]
        if overrides.design == "independent" and mixed:
            # Its counterparts serve the same batches only beside it.
            self.problem("configurations", f"{mixed[0]!r} has routing mixed, which only the paired design can compare")
        blocks = make_blocks(configurations, overrides.design)
        if clash := _repeated(block.name for block in blocks):
            self.problem("configurations", f"{clash!r} is also the name of a (task, seed) block; choose another name")
        rounds, requests, halfwidth = self.length(overrides)
        self.check_prompts(rounds * requests, configurations)
        workload = self.workload()
        self.check_served(configurations, overrides.engine_python)
        self.problems.raise_if_any()
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
            task_type=p.task_type,
            model=None if p.model is None else self.model(p.model),
            servers=servers_of(p, self.base, overrides.engine_python),
            goodput=goodput_of(p.goodput),
        )
        return plan, workload

    def length(self, overrides: Overrides) -> tuple[int, int, float | None]:
        """Rounds, requests of a configuration in a round, and the half-width to go on until."""
        p = self.parsed
        rounds, requests = overrides.rounds or p.rounds, overrides.requests or p.requests
        halfwidth = overrides.until_halfwidth or p.until_halfwidth
        whole = overrides.rounds is None and overrides.requests is None and halfwidth is None
        if overrides.design == "independent" and whole and not p.servers:  # of which the unit is the launch
            # As the study ran: one task for each configuration, which takes all of its samples.
            rounds, requests = 1, p.rounds * p.requests
        if halfwidth is not None:
            rounds = overrides.max_rounds or overrides.rounds or max(p.rounds, DEFAULT_MAX_ROUNDS)
        elif overrides.max_rounds is not None:
            self.problems.found.append("--max-rounds goes with --until-halfwidth; use --rounds for a fixed number")
        if rounds * requests > MAX_REQUESTS:
            self.problems.found.append(
                f"{self.where}: {count(rounds, 'round')} of {count(requests, 'request')}: more than {MAX_REQUESTS}; "
                "ask for fewer"
            )
        return rounds, requests, halfwidth

    def check_prompts(self, requests: int, configurations: Iterable[Configuration]) -> None:
        largest = max((c.batch for c in configurations), default=1)
        if requests <= MAX_REQUESTS and requests * largest > MAX_PROMPTS:
            self.problems.found.append(
                f"{self.where}: {count(requests, 'request')} of {count(largest, 'prompt')}: more than {MAX_PROMPTS} "
                "prompts; ask for fewer requests, or for a smaller batch"
            )

    def check_served(self, configurations: Iterable[Configuration], python: str | None) -> None:
        """Whether servers are such as can be, and do what is asked of them."""
        parsed = self.parsed
        tables = [(f"matrix[{i}]", matrix) for i, matrix in enumerate(parsed.matrix)]
        found = [*problems_of_servers(parsed, python), *problems_of_loads(parsed, [*tables, *self._singles()])]
        for table in parsed.servers:
            self.check_name(table.name, "servers.name")
        if parsed.servers:
            found += problems_of_served(parsed, configurations)
        for c in configurations:
            if c.strategy == "base_beside_lora" and len(c.tasks) > 1:
                found.append(("configurations", f"{c.name!r}: base_beside_lora takes adapters of one task"))
        for key, message in found:
            self.problem(key, message)

    def _singles(self) -> list[tuple[str, DeploymentTable]]:
        return [(f"configurations[{i}]", single) for i, single in enumerate(self.parsed.configurations)]

    def workload(self) -> WorkloadTable | None:
        w, generates = self.parsed.workload, self.parsed.task_type == "CAUSAL_LM"
        if generates and (w is None or w.output_tokens is None):
            self.problem("workload.output_tokens", "missing; say how many tokens a language model generates (128)")
        if w is None:
            return None
        if not generates and w.output_tokens is not None:
            self.problem(
                "workload.output_tokens", 'a classifier generates none; set task_type = "CAUSAL_LM", or leave it out'
            )
        if w.texts is not None and w.prompt_tokens is not None:
            self.problem("workload", "expected either prompt_tokens or texts; give one of them")
        if self.lengths_are_of_glue and not generates and w.output_tokens is None:
            self.problem("workload", "expected prompt_tokens or texts; give one of them, or leave [workload] out")
        if w.texts is None:
            of_texts = ("text_column", "chat_column", "task_column", "tokenizer", "max_tokens")
            for key in [key for key in of_texts if getattr(w, key) is not None]:
                self.problem(f"workload.{key}", "goes with texts; there are none")
            return w
        if w.text_column is not None and w.chat_column is not None:
            self.problem("workload.chat_column", "expected either text_column or chat_column; leave one out")
        if not w.texts.endswith(TEXT_FILES):
            self.problem("workload.texts", f"expected a file that ends in {one_of(TEXT_FILES)}, got {w.texts!r}")
        texts = w.texts if self.base is None else str(self.base / w.texts)
        tokenizer = None if w.tokenizer is None else self.path(w.tokenizer)
        return w.model_copy(update={"texts": texts, "tokenizer": tokenizer})

    def path(self, text: str) -> str:
        """Paths in a plan are relative to the plan's own folder; ``owner/name`` is a hub id where no such path is."""
        if self.base is None or (HUB_ID.fullmatch(text) and not (self.base / text).exists()):
            return text
        return str(self.base / text)

    def model(self, text: str) -> str:
        """A folder beside the plan, where there is one; else a preset, another folder or a hub id, as it is."""
        beside = None if self.base is None else self.base / text
        return str(beside) if beside is not None and text and beside.is_dir() else text

    def adapters(self) -> dict[str, Adapter | None]:
        """By name; None for one that is not as it must be, which has been told."""
        found: dict[str, Adapter | None] = {}
        for i, table in enumerate(self.parsed.adapters):
            key = f"adapters[{i}]"
            if table.path is None and table.alpha is None and not all_run_already(self.parsed):
                self.problem(f"{key}.alpha", "missing; without a path there is no adapter to read it from")
            if table.path is None and isinstance(table.target_modules, str):
                self.problem(f"{key}.target_modules", "a pattern goes with a path; list the modules' names")
            for where, text in ((f"{key}.name", table.name), (f"{key}.path", table.path)):
                if table.count is not None and text is not None and NUMBER not in text:
                    self.problem(where, f"count makes numbered adapters; put {NUMBER} in it")
            for name, path, task, seed in adapters_of(table):
                good = self.check_name(name, f"{key}.name") and self.check_task(task, f"{key}.tasks")
                if name in found:
                    self.problem(f"{key}.name", f"duplicate adapter {name!r}; put {{task}} and {{seed}} in the name")
                found[name] = self.adapter(name, path, table, task, seed) if good else None
        return found

    def adapter(self, name: str, path: str | None, table: AdaptersTable, task: str, seed: int) -> Adapter:
        targets = table.target_modules
        stated = tuple(targets) if isinstance(targets, list) else targets
        if path is None and table.alpha is None:  # one that a server has
            return Adapter(name, task, seed, table.r, None, stated)
        if path is None:
            return Adapter(name, task, seed, table.r or DEFAULT_R, table.alpha, stated or DEFAULT_TARGETS)
        return Adapter(name, task, seed, table.r, table.alpha, stated, self.path(path))

    def configurations(self, adapters: Mapping[str, Adapter | None]) -> tuple[Configuration, ...]:
        found: dict[str, Configuration] = {}
        seen: set[str] = set()
        for row in rows(self.parsed):
            key, name = row.key, row.fill(row.table.name)
            if name in seen:
                self.problem(
                    f"{key}.name",
                    f"duplicate configuration {name!r}; every name must be its own ({{task}}, {{seed}}, {{batch}}, "
                    "{resident}, {load})",
                )
            seen.add(name)
            if len(seen) > _MAX_CONFIGURATIONS:
                self.problem(key, f"more than {_MAX_CONFIGURATIONS} configurations; split the plan")
                break
            good = self.check_name(name, f"{key}.name")
            made = self.configuration(row, name, adapters)
            if good and made is not None:
                found[name] = made
        if not seen:
            self.problem("configurations", "none; add a [[configurations]] or [[matrix]] table")
        return tuple(found.values())

    def configuration(self, row: Row, name: str, adapters: Mapping[str, Adapter | None]) -> Configuration | None:
        """None where it is not as it must be, which has been told."""
        before = len(self.problems.found)
        key, table, task, batch = row.key, row.table, row.task, row.batch
        known = self.check_choice(table.strategy, self.strategies, f"{key}.strategy", "strategy")
        names = row.adapters(adapters)
        for adapter in names:
            self.check_choice(adapter, adapters, f"{key}.adapters", "adapter")
        if twice := _repeated(names):
            self.problem(f"{key}.adapters", f"adapter {twice!r} is named twice")
        if row.resident is not None:
            self.check_resident(row, len(names))
        if table.role is not None:
            self.check_name(row.fill(table.role), f"{key}.role")
        if table.routing == "mixed" and (batch == 1 or len(names) < 2):
            self.problem(f"{key}.routing", "mixed goes with several adapters and a batch of 2 or more")
        if table.delay_share and table.strategy != "delay":
            self.problem(f"{key}.delay_share", "only the strategy delay takes it")
        if table.strategy == "delay" and self.parsed.task_type == "CAUSAL_LM":
            self.problem(f"{key}.strategy", "delay is for classifiers: steps of a language model would follow waits")
        if known:
            with self.problems.gathered():  # one from outside is imported here
                self.check_traits(key, table, self.strategies[table.strategy], len(names))
        chosen = [a for name in names if (a := adapters.get(name)) is not None]
        if task is not None:
            self.check_task(task, f"{key}.task")
        if len(self.problems.found) > before or len(chosen) < len(names):
            return None
        tasks = tuple(dict.fromkeys(a.task for a in chosen)) if task is None else (task,)
        if not tasks:
            self.problem(f"{key}.task", f"missing; {table.strategy} has no adapter that would tell its task")
            return None
        served = {a.task for a in chosen}
        if len(chosen) > 1 and (len(served) not in (1, len(chosen)) or len(served) != len(tasks)):
            self.problem(f"{key}.adapters", "each adapter must serve a task of its own, or all of them one")
        elif len(served) == 1 and chosen[0].task != tasks[0]:
            self.problem(f"{key}.adapters", f"adapter {chosen[0].name!r} serves {chosen[0].task}, not {tasks[0]}")
        checkpoint = None if table.checkpoint is None else self.path(row.fill(table.checkpoint))
        return Configuration(
            name=name,
            strategy=table.strategy,
            seed=row.seed,
            tasks=tasks,
            adapters=tuple(chosen),
            checkpoint=checkpoint,
            dtype=table.dtype,
            adapter_dtype=table.adapter_dtype,
            routing=table.routing,
            execution=table.execution,
            form=self.form(table),
            role=self.role(row),
            delay_share=table.delay_share,
            batch=batch,
            kv_cache=table.kv_cache,
            quantization=table.quantization,
            servers=(table.servers or self.parsed.servers[0].name) if self.parsed.servers else "",
            load=self.load(row),
        )

    def load(self, row: Row) -> Load | None:
        """How requests come; a trace is beside the plan."""
        load = row.load
        if load is None or load.trace is None:
            return load
        return dataclasses.replace(load, trace=load.trace if self.base is None else str(self.base / load.trace))

    @property
    def lengths_are_of_glue(self) -> bool:
        """Whether the plan says neither texts nor lengths, so that prompts are as long as those of the tasks known."""
        w = self.parsed.workload
        return w is None or (w.texts is None and w.prompt_tokens is None)

    def check_traits(self, key: str, table: DeploymentTable, traits: StrategyTraits, adapters: int) -> None:
        """Whether the strategy takes that many adapters, and mixes them where that is asked for."""
        low, high = traits.min_adapters, traits.max_adapters
        if not low <= adapters <= high:
            expected = count(low, "adapter") if low == high else f"{low} to {high} adapters"
            self.problem(
                f"{key}.adapters",
                f"{table.strategy} takes {expected}, got {adapters}",
            )
        if table.form is not None:
            self.check_choice(table.form, traits.forms, f"{key}.form", f"form of {table.strategy}")
        if table.execution != "eager":
            self.check_execution(key, table, adapters)
        if table.form == "remerge" and table.routing == "mixed":
            self.problem(f"{key}.form", "remerge has one adapter in its weights at a time; stacked mixes several")
        if table.routing == "mixed" and adapters > 1 and not traits.mixes:
            self.problem(f"{key}.routing", f"{table.strategy} serves no batch of several adapters; multi_lora does")

    def check_execution(self, key: str, table: DeploymentTable, adapters: int) -> None:
        if table.routing == "mixed" and table.form != "stacked":
            self.problem(f"{key}.execution", f"{table.execution} mixes adapters in form stacked only")
        elif table.execution == "cudagraph" and adapters > 1 and table.form not in ("stacked", "remerge"):
            self.problem(
                f"{key}.execution", "a captured graph keeps one of PEFT's adapters; give form stacked or remerge"
            )
        if table.execution in BY_BUCKET and self.parsed.task_type == "CAUSAL_LM":
            self.problem(
                f"{key}.execution", f"{table.execution} serves classifiers; a language model takes eager or compile"
            )

    def form(self, table: DeploymentTable) -> Form | None:
        """None where it is what the strategy does by itself, whether the plan says so or not."""
        traits = self.strategies[table.strategy] if table.form and table.strategy in self.strategies else None
        return None if traits is not None and table.form == traits.forms[0] else table.form

    def role(self, row: Row) -> str:
        """What a configuration is compared as."""
        table = row.table
        return row.fill(table.role) if table.role else own_role(table.strategy, self.form(table), table.execution)

    def check_resident(self, row: Row, there: int) -> None:
        """Whether there are as many numbered adapters as are to be resident."""
        key, wanted = f"{row.key}.resident", row.resident or 0
        if len(row.table.adapters) != 1 or NUMBER not in row.table.adapters[0]:
            self.problem(key, f"goes with numbered adapters; name them in adapters once, with {NUMBER}")
        elif there < wanted:
            self.problem(key, f"{wanted} of {row.table.adapters[0]!r}, of which there are {there}; raise their count")

    def check_task(self, task: str, key: str) -> bool:
        if self.lengths_are_of_glue:
            return self.check_choice(
                task, self.tasks, key, "task", "; for others give [workload] prompt_tokens or texts"
            )
        return self.check_name(task, key)

    def check_name(self, name: str, key: str) -> bool:
        if _NAME.fullmatch(name):
            return True
        self.problem(
            key,
            f"{name!r} is not a name; use letters, digits, '.', '_' and '-', starting with one of the first two",
        )
        return False

    def check_choice(self, value: str, choices: Iterable[str], key: str, noun: str, or_else: str = "") -> bool:
        known = tuple(choices)
        if value in known:
            return True
        said = f"unknown {noun} {value!r}; expected {one_of(known)}" + (did_you_mean(value, known) or or_else)
        self.problem(key, said)
        return False

    def problem(self, key: str, message: str) -> None:
        # A table of several tasks and seeds has each of its problems as often; `raise_if_any` tells it once.
        self.problems.found.append(f"{self.where}: {key}: {message}")


def _repeated(names: Iterable[str]) -> str | None:
    """The first name that comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
