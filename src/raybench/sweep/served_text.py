"""Plans of servers, written from what was found of a base and its adapters, or from what a server calls them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from raybench.model import FineTune, FineTunes
from raybench.plan import Load, first_of
from raybench.serve import preset_of
from raybench.sweep.commented_toml import comment_lines, keys_text, table_text
from raybench.sweep.pace import Pace
from raybench.sweep.written_plan import (
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    Asked,
    PlanWriter,
    WrittenPlan,
    claims_text,
    plan_name,
)

ROUNDS, REQUESTS, WARMUPS = 6, 22, 3
"""Together 132 requests of each configuration: a p95 needs 130, and a round's servers take most of its time."""
TURN_REQUESTS: Final = 5
"""Of servers side by side: before each turn the others come to rest, which takes vLLM a second."""
_TIMEOUT_S, _ROUNDED_S = 3600.0, 600
_AT_A_RATE: Final = 1.5
"""Requests of a turn at a rate, for each timed one: a quarter as many come before, and after."""
_TASK: Final = "requests"
_SEED: Final = 0


def loads_of(asked: Asked) -> list[Load]:
    """How requests come; none: one at a time."""
    return [
        *(Load(concurrency=number) for number in asked.concurrency),
        *(Load(rate_per_s=rate) for rate in asked.rates),
    ]


def served_pace(asked: Asked, configurations: int) -> Pace:
    """How many requests, and when a visit of so many ``configurations`` of each load must be over."""
    at_rates = sum(_AT_A_RATE * REQUESTS / rate for rate in asked.rates) * configurations
    whole = math.ceil((_TIMEOUT_S + 2 * at_rates) / _ROUNDED_S) * _ROUNDED_S
    return Pace(REQUESTS, WARMUPS, float(min(86_400, whole)))


def load_tables(header: str, keys: Mapping[str, object], asked: Asked) -> str:
    """A table of what is measured for each way that requests come, with its name for each load."""
    ways: list[dict[str, object]] = []
    for key, values in (("concurrency", asked.concurrency), ("rate_per_s", asked.rates)):
        if values:
            ways.append({key: values[0] if len(values) == 1 else values})
    if not ways:
        return table_text(header, keys)
    named = {**keys, "name": f"{keys['name']}_{{load}}"}
    return "\n".join(table_text(header, named | way) for way in ways)


def goodput_text() -> str:
    """The table that may be there, as a comment."""
    return "# [goodput]\n" + keys_text({"ttft_ms": 500.0, "tpot_ms": 50.0}, commented=True)


class ServedWriter(PlanWriter):
    """A plan of servers that raybench starts: every strategy that an engine serves."""

    all_routings: Sequence[str] = ("round_robin",)
    rounds = ROUNDS
    turn_requests = TURN_REQUESTS

    def usual_pace(self) -> Pace:
        return served_pace(self.asked, max(4, len(self.found.adapters) + 1))

    def endings(self) -> list[str]:
        return [f"_{load.name}" for load in loads_of(self.asked)] or [""]

    def deployed(self) -> list[str]:
        return [*super().deployed(), "base_beside_lora"]

    def references(self) -> list[str]:
        return ["full_ft", *(["lora_merged"] if self.merged else []), "lora_separate"]

    def claimed(self) -> list[tuple[str, str]]:
        pairs = [("lora_separate", "lora_merged"), ("lora_merged", "full_ft")]
        pairs = pairs if self.merged else [("lora_separate", "full_ft")]
        together = [("multi_lora", "lora_separate")] if self.routings else []
        return [*pairs, *together, ("base_beside_lora", "full_ft")]

    def servers(self) -> list[str]:
        asked, python = self.asked, self.asked.python
        keys: dict[str, object] = {"name": "servers", "preset": asked.engine}
        keys |= {} if python is None else {"python": python}
        keys |= {"prefix_caching": False, "eager": False, "ready_within_s": 600.0, "answer_within_s": 120.0}
        others: dict[str, object] = {} if python is not None else {"python": f"{asked.engine}/bin/python"}
        vllm = asked.engine == "vllm"
        others |= {"options": ["--max-num-batched-tokens", "512"] if vllm else ["n_batch=512"]}
        others |= {"environment": {"NAME": "value"}, "cores": [[0, 1], [2, 3]], "kv_cache_gib": 1, "streams": 8}
        others |= {"max_loras": 4, "memory_share": 0.3, "load_adapters": True}
        ignored = preset_of(str(asked.engine)).ignores
        told, may_be = ({key: value for key, value in of.items() if key not in ignored} for of in (keys, others))
        return [table_text("[[servers]]", told) + keys_text(may_be, "[[servers]]", commented=True), goodput_text()]

    def table(
        self,
        header: str,
        keys: Mapping[str, object],
        *,
        adapters: bool = False,
        batches: tuple[int, ...] | None = None,
    ) -> str:
        return load_tables(header, {**keys, "dtype": "auto"}, self.asked)

    def further(self) -> list[str]:
        keys = {"name": "base_beside_{task}", "strategy": "base_beside_lora"}
        return [self.table("[[matrix]]", keys | self.of_tasks(self.names), adapters=True)]


def running_plan(names: Sequence[str], asked: Asked, model: str | None, found: FineTunes | None = None) -> WrittenPlan:
    """The plan of a server that runs already and has adapters of these ``names``.

    ``model``: what it calls its base, where nothing is ``found`` of their files.
    """
    known = found is not None
    keys: dict[str, object] = {
        "name": plan_name(names),
        "description": f"{first_of(names, 4)} on a server that runs already, beside requests for its base",
        **({} if found is None else {"model": found.base}),
        "task_type": "CAUSAL_LM",
        "rounds": ROUNDS,
        "requests": REQUESTS,
        "warmups": WARMUPS,
        "turn_requests": 1,
        "workload_seed": 0,
        "order_seed": 0,
        "margin": 0.02,
        "references": ["base_beside_lora"],
        "visit_timeout_s": served_pace(asked, 2).visit_timeout_s,
    }
    servers: dict[str, object] = {"name": "servers", "url": asked.url}
    servers |= {} if model is None else {"model": model}
    servers |= {"prompts_as": "token_ids" if known else "chat" if asked.chats else "text", "prefix_caching": False}
    servers |= {"answer_within_s": 120.0}
    others: dict[str, object] = {"api_key_variable": "SERVER_KEY"}
    others |= {"model": "llama"} if model is None else {}
    files: dict[str, FineTune] = {} if found is None else {adapter.name: adapter for adapter in found.adapters}
    adapters = []
    for name in names:
        adapter: dict[str, object] = {"name": name, "tasks": [_TASK], "seeds": [_SEED]}
        adapter |= {"path": files[name].location} if name in files else {}
        about = comment_lines([files[name].about]) if name in files else ""
        adapters.append(about + table_text("[[adapters]]", adapter))
    measured: list[dict[str, object]] = [
        {"name": "together", "strategy": "multi_lora", "task": _TASK, "seed": _SEED, "adapters": names},
        {"name": "base_beside", "strategy": "base_beside_lora", "task": _TASK, "seed": _SEED, "adapters": names},
    ]
    measured[0]["routing"] = "round_robin"
    parts = [
        comment_lines(
            [
                "A plan for raybench of a server that runs already; docs/served.md says what is measured, docs/plan.md "
                "explains each key.",
                "What it would do: raybench plan FILE. To run it: raybench sweep --plan FILE",
            ]
        ),
        keys_text(keys) + keys_text({"until_halfwidth": 0.01}, commented=True),
        _workload(asked, found),
        table_text("[[servers]]", servers) + keys_text(others, "[[servers]]", commented=True),
        goodput_text(),
        claims_text([("multi_lora", "base_beside_lora")]),
        *adapters,
        *(load_tables("[[configurations]]", table, asked) for table in measured),
    ]
    return WrittenPlan("\n".join(parts), ())


def _workload(asked: Asked, found: FineTunes | None) -> str:
    keys: dict[str, object] = {}
    if asked.texts is not None:
        keys |= {"texts": asked.texts, "chat_column" if asked.chats else "text_column": _column(asked)}
    else:
        keys["prompt_tokens"] = asked.prompt_tokens or PROMPT_TOKENS
    keys["output_tokens"] = asked.output_tokens or OUTPUT_TOKENS
    instead: dict[str, object] = {"texts": "prompts.jsonl", "text_column": "text", "chat_column": "messages"}
    others = {key: value for key, value in instead.items() if key not in keys}
    return table_text("[workload]", keys) + keys_text(others, commented=True)


def _column(asked: Asked) -> str:
    return "messages" if asked.chats else "text"


def whole_path(python: str | None) -> str | None:
    """Of a Python that is named by its path, from wherever; of a program's name, as it is."""
    if python is None:
        return None
    path = Path(python).expanduser()
    return str(path.absolute()) if path.exists() else python
