"""Runs of servers under loads whose every time is known: loops are played by hand, request by request."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from generated_runs import _LOAD, _VISIT, BEGAN, MODEL, MS, load_generated
from raybench.analysis.tables import write_views
from raybench.deploy.strategies import all_traits
from raybench.model.workload import GlueLengths
from raybench.plan.plan import Configuration, Plan
from raybench.records import visit_name
from raybench.schemas import SCHEMAS
from raybench.store.store import RunStore, VisitKey
from raybench.sweep.describe import describe

HEAD = """
name = "loaded"
task_type = "CAUSAL_LM"
rounds = 2
requests = 4
turn_requests = 2
warmups = 0
references = ["full_ft", "lora_merged", "lora_separate"]
[workload]
prompt_tokens = 5
output_tokens = 3
[[servers]]
command = ["serve", "{model}"]
"""
GOODPUT = "[goodput]\nttft_ms = 5.0\ntpot_ms = 2.0\n"
ADAPTERS = """
[[adapters]]
name = "a{number}"
tasks = ["t"]
seeds = [1]
alpha = 8
count = 2
"""
FULL = '[[configurations]]\nname = "full_{load}"\nstrategy = "full_ft"\ntask = "t"\nseed = 1\n'

Cost = Callable[[Configuration, int, int], tuple[float, float]]
"""Milliseconds until the first token, and for each of the two after it: of a configuration, round and place in its
turn, from 0, openers among them."""


def beside(name: str, strategy: str, adapters: str = "a1") -> str:
    """A table of a configuration with adapters."""
    found = f'[[configurations]]\nname = "{name}_{{load}}"\nstrategy = "{strategy}"\nseed = 1\n'
    return found + f'adapters = ["{adapters}"]\n'


def at(table: str, *concurrency: int) -> str:
    """The configurations of ``table`` at loads."""
    return table + f"concurrency = {list(concurrency)}\n"


def load_loaded(folder: Path, text: str, **overrides: Any) -> Plan:
    return load_generated(folder, text, **overrides)


def even(configuration: Configuration, round_index: int, place: int) -> tuple[float, float]:
    """10 ms a request; the second opener 5, so that the two under way at once are not in step."""
    return (1.0, 2.0) if place == 1 else (4.0, 3.0)


def loaded(
    plan: Plan,
    results: Path,
    cost: Cost = even,
    run_id: str = "run",
    late_ns: Callable[[Configuration], int] = lambda c: 0,
    prompt_tokens: Callable[[Configuration], int | None] = lambda c: 5,
    loads: Mapping[str, Mapping[str, Any]] | None = None,
    rounds: int | None = None,
    openers: tuple[int, int] = (6, 6),
    streams: int = 1_000_000,
    cached_tokens: int | None = None,
    environment: Callable[[int], str] = lambda r: "{}",
    conditions: Callable[[int], Mapping[str, Any]] = lambda r: {},
) -> Path:
    """Commit a run of ``plan`` whose requests took what ``cost`` says, each sent once the one before it has ended.

    In an open loop each comes at its moment (`moments_ns`), with ``openers`` before and after the timed ones, and waits
    until fewer than ``streams`` are under way. ``loads``: of a strategy values of its rows in that table. ``rounds``:
    how many are committed. ``environment``: what the visit of a round keeps of it;
    ``conditions``: further columns of its row.
    """
    description = describe(run_id, plan, GlueLengths(0), MODEL, [], all_traits())
    rows: dict[str, list[dict[str, Any]]] = {"samples": [], "visits": [], "loads": []}
    keys = []
    for number, visit in enumerate(v for v in plan.visits() if rounds is None or v.round < rounds):
        key = VisitKey(visit=visit_name(visit.block, visit.round), block=visit.block, round=visit.round, attempt=0)
        keys.append(key)
        at_visit = {"visit": key.visit, "block": key.block, "round": key.round}
        rows["visits"].append(at_visit | _VISIT | {"attempt": 0, "device": "fake-0"})
        rows["visits"][-1] |= {"started_at": BEGAN + timedelta(seconds=number), "environment": environment(visit.round)}
        rows["visits"][-1] |= conditions(visit.round)
        block = next(b for b in plan.blocks if b.name == visit.block)
        began, turn = 0, 0
        for c in block.configurations:
            rows["loads"].append(at_visit | {"configuration": c.name} | _LOAD | dict((loads or {}).get(c.strategy, {})))
            asked = block.requests(c, visit.round * plan.requests, plan.requests)
            is_open = c.load is not None and c.load.concurrency is None
            each = len(asked) if is_open else plan.turn_requests * (1 if c.load is None else c.load.concurrency or 1)
            for first in range(0, len(asked), each):
                of_turn = (c, asked[first : first + each], visit.round, cost, began)
                for row in _open_turn(*of_turn, openers, streams) if is_open else _turn(*of_turn):
                    told = {"late_ns": None if c.load is None else late_ns(c), "prompt_tokens": prompt_tokens(c)}
                    told["cached_tokens"] = cached_tokens
                    row |= at_visit | told | {"turn": turn, "sequence": len(rows["samples"])}
                    rows["samples"].append(row)
                began = max(row["started_ns"] + row["wall_ns"] for row in rows["samples"] if row["visit"] == key.visit)
                turn += 1
    with RunStore.create(results, run_id, description) as store:
        write_views(store.root)
        store.commit({name: pa.Table.from_pylist(found, SCHEMAS[name]) for name, found in rows.items()}, keys)
        return Path(str(store.root))


def _turn(
    c: Configuration, asked: list[tuple[str, int]], round_index: int, cost: Cost, began_ns: int
) -> Iterator[dict[str, Any]]:
    """The rows of a turn: openers as many as are under way at once, the timed ones, and one opener fewer."""
    at_once = 1 if c.load is None else c.load.concurrency or 1
    order = [(asked[0], "opener")] * at_once + [(one, "timed") for one in asked]
    order += [(asked[-1], "opener")] * (at_once - 1)
    free = [began_ns] * at_once
    for place, ((task, request), phase) in enumerate(order):
        ttft, step = (round(ms * MS) for ms in cost(c, round_index, place))
        started = heapq.heappop(free)
        whole = ttft + 2 * step
        heapq.heappush(free, started + whole)
        yield _row(c, task, request, phase, started, whole, ttft, step)


def moments_ns(rate_per_s: float, timed: int, round_index: int, openers: tuple[int, int]) -> list[int]:
    """A Poisson process. Timed requests are as far apart whatever ``openers`` there are before and after."""
    before, within, after = (
        np.random.default_rng([round_index, part]).exponential(1 / rate_per_s, count)
        for part, count in enumerate((openers[0], timed - 1, openers[1]))
    )
    offsets = np.concatenate([-np.cumsum(before)[::-1], [0], np.cumsum(within)])
    offsets = np.concatenate([offsets, offsets[-1] + np.cumsum(after)])
    return [round(float(s - offsets[0]) * 1e9) for s in offsets]


def _open_turn(
    c: Configuration,
    asked: list[tuple[str, int]],
    round_index: int,
    cost: Cost,
    began_ns: int,
    openers: tuple[int, int],
    streams: int,
) -> Iterator[dict[str, Any]]:
    """The rows of a turn in an open loop."""
    assert c.load is not None
    assert c.load.rate_per_s is not None
    order = (
        [(asked[0], "opener")] * openers[0] + [(one, "timed") for one in asked] + [(asked[-1], "opener")] * openers[1]
    )
    ends: list[int] = []
    moments = moments_ns(c.load.rate_per_s, len(asked), round_index, openers)
    for place, ((task, request), phase) in enumerate(order):
        ttft, step = (round(ms * MS) for ms in cost(c, round_index, place))
        started = began_ns + moments[place]
        waits = max(0, heapq.heappop(ends) - started) if len(ends) == streams else 0
        heapq.heappush(ends, started + waits + ttft + 2 * step)
        yield _row(c, task, request, phase, started, waits + ttft + 2 * step, waits + ttft, step)


def _row(
    c: Configuration, task: str, request: int, phase: str, started: int, whole: int, ttft: int, step: int
) -> dict[str, Any]:
    return {
        "configuration": c.name,
        "task": task,
        "request": request,
        "phase": phase,
        "adapter": c.adapters[0].name if c.adapters else None,
        "tokens": 5,
        "batch": 1,
        "started_ns": started,
        "host_ns": whole,
        "wall_ns": whole,
        "output_tokens": 3,
        "prefill_host_ns": ttft,
        "prefill_wall_ns": ttft,
        "decode_host_ns": [step, step],
        "decode_wall_ns": [step, step],
    }
