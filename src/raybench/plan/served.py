"""What a plan says of servers and of the loads on them: from its tables, checked, to what is kept of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from raybench.plan.choices import did_you_mean, one_of
from raybench.plan.load import Goodput
from raybench.plan.plan import Configuration
from raybench.plan.schema import DeploymentTable, GoodputTable, PlanTable, ServersTable
from raybench.plan.servers import SERVED, PromptsAs, ServerKey, Servers, server_of

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_STARTED_ONLY: Final = (
    *("python", "options", "environment", "cores", "kv_cache_gib", "eager", "streams", "load_adapters"),
    *("max_loras", "memory_share"),
    *("ready", "ready_within_s"),
)
"""Keys of servers that raybench starts."""
_RUNNING_ONLY: Final = ("model", "api_key_variable")
"""Keys of one that runs already."""

Problem = tuple[str, str]
"""Where in a plan, and what is wrong there."""


def servers_of(parsed: PlanTable, base: Path | None, python: str | None) -> tuple[Servers, ...]:
    """Those of a plan's tables. ``python``: of the command line, instead of theirs."""
    usual = _prompts_as(parsed)
    return tuple(_servers(table, base, python, usual) for table in parsed.servers)


def all_run_already(parsed: PlanTable) -> bool:
    """Whether a plan has servers and all of them do, so that they have its models and adapters."""
    return bool(parsed.servers) and all(table.url is not None for table in parsed.servers)


def _prompts_as(parsed: PlanTable) -> PromptsAs:
    """How prompts are told where a table does not say: in text where no tokenizer may be known."""
    if not all_run_already(parsed) or parsed.model is not None:
        return "token_ids"
    return "text" if parsed.workload is None or parsed.workload.chat_column is None else "chat"


def goodput_of(table: GoodputTable | None) -> Goodput | None:
    return None if table is None else Goodput(table.ttft_ms, table.tpot_ms)


def problems_of_servers(parsed: PlanTable, python: str | None) -> Iterator[Problem]:
    """What is wrong with the tables themselves."""
    if not parsed.servers:
        if python is not None:
            yield "servers", "--engine-python goes with [[servers]], and there are none; leave it out"
        if parsed.goodput is not None:
            yield "goodput", "goes with servers, and there are none; add [[servers]], or leave it out"
        return
    if parsed.task_type != "CAUSAL_LM":
        yield "servers", 'servers are of language models; set task_type = "CAUSAL_LM"'
    if parsed.goodput is not None and parsed.goodput.ttft_ms is None and parsed.goodput.tpot_ms is None:
        yield "goodput", "expected ttft_ms, tpot_ms or both, and it has neither"
    for name, count in Counter(table.name for table in parsed.servers).items():
        if count > 1:
            yield "servers", f"{name!r} is the name of {count} of them; give each a name of its own"
    chats = parsed.workload is not None and parsed.workload.chat_column is not None
    for place, table in enumerate(parsed.servers):
        for key, message in _problems_of(table):
            yield f"servers[{place}]{key}", message
        if chats and table.prompts_as == "text":
            yield f"servers[{place}].prompts_as", 'the texts are chats, which are no text; set "chat"'
    if python is not None and all_run_already(parsed):
        yield "servers", "--engine-python goes with servers that raybench starts, and these run already; leave it out"
    elif python is not None and all(table.preset is None for table in parsed.servers):
        yield "servers", "--engine-python goes with a preset, and none of the [[servers]] has one; leave it out"


def problems_of_loads(parsed: PlanTable, tables: Iterable[tuple[str, DeploymentTable]]) -> Iterator[Problem]:
    """Of tables of configurations, each with its key: which servers they are of, and how requests come to these."""
    known = [table.name for table in parsed.servers]
    for key, table in tables:
        if table.servers is not None and table.servers not in known:
            expected = one_of(known) if known else "none, since the plan has no [[servers]]"
            yield (
                f"{key}.servers",
                f"unknown servers {table.servers!r}; expected {expected}{did_you_mean(table.servers, known)}",
            )
        given = [
            name
            for name, is_given in (
                ("concurrency", table.concurrency != 1),
                ("rate_per_s", table.rate_per_s is not None),
                ("trace", table.trace is not None),
            )
            if is_given
        ]
        if given and not known:
            yield (
                f"{key}.{given[0]}",
                "is how requests come to servers, and there are none; add [[servers]], or leave it out",
            )
        if len(given) > 1:
            yield key, f"{' and '.join(given)}: requests come in one way at a time; keep one of them"
        if table.burstiness != 1.0 and table.rate_per_s is None:
            yield f"{key}.burstiness", "goes with rate_per_s, of whose intervals it is; give that, or leave it out"


def problems_of_served(parsed: PlanTable, configurations: Iterable[Configuration]) -> Iterator[Problem]:
    """What no server does, roles that would be taken for one another, and what one server cannot be both of."""
    runs_already = {table.name for table in parsed.servers if table.url is not None}
    alone: dict[str, tuple[ServerKey, Configuration]] = {}
    by_role: dict[tuple[object, ...], Configuration] = {}
    by_words: dict[str, Configuration] = {}
    for c in configurations:
        usual = c.is_usual and c.batch == 1 and c.kv_cache == "dynamic" and c.quantization is None
        if c.strategy not in SERVED:
            yield "configurations", f"{c.name!r}: {c.strategy} is of no server; expected {one_of(SERVED)}"
        elif not usual or c.routing == "mixed" or c.adapter_dtype != "float32":
            yield (
                "configurations",
                f"{c.name!r}: an engine has forms, batches, caches and data types of adapters of its own; leave out "
                "form, execution, batch, kv_cache, quantization, adapter_dtype and routing mixed",
            )
        loads = server_of(c)
        kind, first = alone.setdefault(c.servers, (loads, c))
        if c.servers in runs_already and (kind.loads, loads.loads) != ("base", "base") and kind != loads:
            yield (
                "configurations",
                f"{first.name!r} ({first.strategy}) and {c.name!r} ({c.strategy}) are of other models, and "
                f"{c.servers!r} is one server that runs already; give each [[servers]] of its own, or ask for the base "
                "as base_beside_lora",
            )
        same = by_role.setdefault((c.role, c.adapters, c.tasks, c.seed, c.dtype, c.load), c)
        if same.servers != c.servers:
            yield (
                "configurations",
                f"{same.name!r} of servers {same.servers!r} and {c.name!r} of {c.servers!r} are both {c.role}; give "
                "one of them a role of its own",
            )
        if c.load is not None and (alike := by_words.setdefault(c.load.words(), c)).load != c.load:
            yield (
                "configurations",
                f"{alike.name!r} and {c.name!r} have other loads that tables would both call {c.load.words()!r}; "
                "give one trace's file another name, or take rates that differ more",
            )


def _servers(table: ServersTable, base: Path | None, python: str | None, prompts_as: PromptsAs) -> Servers:
    # The command line's is of engines that are known: a command begins with its own program.
    python = (python or table.python) if table.preset is not None else table.python if table.url is None else None
    if python is not None and base is not None and (base / python).exists():
        python = str(base / python)
    return Servers(
        name=table.name,
        preset=table.preset,
        command=tuple(table.command or ()),
        url=table.url,
        model=table.model,
        api_key_variable=table.api_key_variable,
        prompts_as=table.prompts_as or prompts_as,
        python=python,
        options=tuple(table.options),
        environment=tuple(table.environment.items()),
        cores=tuple(map(tuple, table.cores)),
        kv_cache_gib=table.kv_cache_gib,
        prefix_caching=table.prefix_caching,
        eager=table.eager,
        streams=table.streams,
        max_loras=table.max_loras,
        memory_share=table.memory_share,
        load_adapters=table.load_adapters,
        ready=table.ready,
        ready_within_s=table.ready_within_s,
        answer_within_s=table.answer_within_s,
    )


def _problems_of(table: ServersTable) -> Iterator[Problem]:
    given = [key for key in ("preset", "command", "url") if getattr(table, key) is not None]
    if len(given) != 1:
        yield "", f"expected one of preset, command and url; it has {' and '.join(given) or 'none'}"
    set_here = table.model_fields_set
    for key in sorted(set_here & set(_RUNNING_ONLY if table.url is None else _STARTED_ONLY)):
        whose = "one that runs already (url)" if table.url is None else "servers that raybench starts"
        yield f".{key}", f"goes with {whose}; leave it out"
    if table.preset is not None and "ready" in set_here:
        yield ".ready", "goes with a command, a preset knows its own; leave it out"
    if table.api_key_variable is not None and not _VARIABLE.fullmatch(table.api_key_variable):
        yield ".api_key_variable", "expected the name of an environment variable; the key itself has no place in a plan"
