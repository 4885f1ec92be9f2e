"""What a plan says of servers, held against what it names: engines, URLs, traces, and what is known of a model."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from raybench.model import ModelSpec
from raybench.plan import Configuration, Load, Plan, Servers, WorkloadTable, adapters_beside, first_of
from raybench.records import InputError, Problems, RaybenchError, SeveralProblemsError
from raybench.serve import check_gguf, check_started, endpoint_of, preset_of, reach_at, trace_arrivals, versions_in

_BESIDE: Final = frozenset({"torch", "transformers"})
"""What engines run on, which raybench has too."""
OWN_MODEL: Final = "the server's own"
"""The name of a model of which nothing is known, not even what its server calls it."""


def check_servers(servers: Servers, plan: Plan, where: str) -> None:
    """Raises InputError where they cannot be started as the plan says, or their URL is none. ``where``: the plan."""
    beside = adapters_beside(c for c in plan.configurations if c.servers == servers.name)
    try:
        if servers.url is None:
            check_started(servers, bool(beside))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    try:
        if servers.url is not None:
            endpoint_of(servers.url)
    except InputError as error:
        raise InputError(f"{where}: servers.url: {error}") from None


def missing_engines(plan: Plan) -> list[str]:
    """Of the engines that a plan's servers are of those that are not installed on this machine, a line each."""
    problems = Problems()
    for preset, python in dict.fromkeys((table.preset, table.python) for table in plan.servers):
        if preset is not None:
            with problems.gathered():
                _check_engine(preset, python)
    return problems.found


def _check_engine(preset: str, python: str | None) -> None:
    packages = [name for name in preset_of(preset).packages if name not in _BESIDE]
    remedy = "--engine-python PATH, or servers.python in a plan, names the Python of an environment that has it"
    found = sys.executable if python is None else shutil.which(Path(python).expanduser())
    if found is None:
        raise InputError(f"{preset}: {python}: no such program; {remedy}")
    if not versions_in(found, packages):
        raise InputError(f"{preset}: {found} has no {' or '.join(packages)} installed; {remedy}")
    if preset == "llama.cpp":
        check_gguf()


def check_running(plan: Plan) -> None:
    """Whether servers that run already answer, and know their models and adapters. Raises InputError."""
    found: list[str] = []
    for table in plan.servers:
        key = None if table.api_key_variable is None else os.environ.get(table.api_key_variable)
        if table.url is None:
            continue
        if table.api_key_variable is not None and not key:
            found.append(f"servers {table.name}: the environment variable {table.api_key_variable} is not set; set it")
            continue
        adapters = adapters_beside(c for c in plan.configurations if c.servers == table.name)
        try:
            reach_at(f"servers {table.name}", table.url, key, table.model, adapters)
        except RaybenchError as error:
            found.append(str(error))
    if found:
        raise SeveralProblemsError(found)


def with_traces(plan: Plan, where: str, problems: Problems) -> Plan:
    """``plan`` with the arrivals of its traces, as many as a round has requests; of one that cannot be, the problem."""
    read: dict[str, tuple[int, ...]] = {}
    for path in {c.load.trace: None for c in plan.configurations if c.load is not None and c.load.trace is not None}:
        with problems.gathered():
            try:
                arrivals = trace_arrivals(Path(path))
            except InputError as error:
                raise InputError(f"{where}: trace: {error}") from None
            if len(arrivals) < plan.requests:
                raise InputError(
                    f"{where}: trace: {path}: it has {len(arrivals):,} arrivals, and a round {plan.requests:,} "
                    "requests; ask for as many requests at most, or give a longer trace"
                )
            read[path] = tuple(arrivals[: plan.requests].tolist())
    if not read:
        return plan

    def traced(c: Configuration) -> Configuration:
        offsets = () if c.load is None else read.get(c.load.trace or "", ())
        return dataclasses.replace(c, load=dataclasses.replace(c.load, offsets_ns=offsets)) if c.load and offsets else c

    return plan.replaced(map(traced, plan.configurations))


def problems_of_moments(plan: Plan) -> Iterator[str]:
    """Where the requests of an open loop come for longer than a visit may take: a line for each block."""
    for block in plan.blocks:
        taken_s = {
            c.name: _lasts_s(c.load, len(block.requests(c, 0, plan.requests)), plan.warmups)
            for c in block.configurations
            if c.load is not None and c.load.concurrency is None
        }
        if (whole_s := sum(taken_s.values())) > plan.visit_timeout_s:
            yield (
                f"visit_timeout_s: in a visit of {block.name} the requests of {first_of(list(taken_s), 4)} come over "
                f"{whole_s:,.0f} s, and it is given up after {plan.visit_timeout_s:,.0f} s; have them come at a higher "
                f"rate or by a shorter trace, ask for fewer, or give a visit more time, a day at most"
            )


def _lasts_s(load: Load, timed: int, warmups: int) -> float:
    """From the first to the last moment of a configuration in a visit, on average.

    At a rate the timed ones have as a rule a quarter as many before and after them, and warm-ups come at it too.
    """
    if load.rate_per_s is not None:
        return (warmups + timed + 2 * max(1, timed // 4)) / load.rate_per_s
    return max(load.offsets_ns[:timed], default=0) / 1e9


def runs_already(plan: Plan) -> bool:
    """Whether all its servers do: then they have its model and adapters, and files need not be known."""
    return bool(plan.servers) and all(table.url is not None for table in plan.servers)


def served_model(plan: Plan) -> ModelSpec:
    """The model of servers that run already, of which no files are known."""
    names = list(dict.fromkeys(table.model for table in plan.servers if table.model is not None))
    return ModelSpec(first_of(names, 3) or OWN_MODEL, "served", None, plan.task_type)


def problems_of_files(plan: Plan, texts: WorkloadTable | None, model: str | None) -> Iterator[str]:
    """Of a plan whose servers run already: whether all files are known, or none. ``model``: that has files; or None."""
    if model is not None:
        if unknown := [adapter.name for adapter in plan.adapters() if not adapter.is_known]:
            yield (
                f"adapters: {first_of(unknown, 4)} without a path, beside the files of model {model}: give their "
                "folders too, or leave the model out and name what the server calls it as servers.model"
            )
        return
    named = [adapter.name for adapter in plan.adapters() if adapter.path is not None]
    named += [c.name for c in plan.configurations if c.checkpoint is not None]
    if named:
        yield (
            f"{first_of(named, 4)} with files, and no model whose files they go with: name it as model or by --model, "
            "or leave path and checkpoint out"
        )
    for table in plan.servers:
        if table.prompts_as == "token_ids":
            yield (
                f"servers.prompts_as: token_ids of {table.name!r} are of a tokenizer, and no model is named that has "
                'one: name it as model or by --model, or set "text" or "chat"'
            )
    for key in ("tokenizer", "max_tokens"):
        if texts is not None and getattr(texts, key) is not None:
            yield (
                f"workload.{key}: goes with a model whose files are known; texts are told to these servers as they "
                "are: leave it out"
            )
