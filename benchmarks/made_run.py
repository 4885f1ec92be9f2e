"""Commit a run of a plan whose times are drawn, of any length: what the benchmarks of reading read.

    python benchmarks/made_run.py FOLDER [--rounds 33] [--requests 1000] [--seed 0] [--plan rq2] [--together 1]
                                  [--uncompacted]

33 rounds of 1,000 requests of rq2 are 1.02 million samples. Each visit is a commit, or ``--together`` of them, as those
are of a sweep that end within seconds; commits are compacted as a sweep's are unless ``--uncompacted`` is given. Visits
differ by 1 %, requests by 5 %, and 2 % of them take half as long again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from builds import THIS, environment

from raybench.analysis import write_views
from raybench.deploy import all_traits
from raybench.model.weights import ModelSpec
from raybench.model.workload import GlueLengths, glue_tasks
from raybench.plan import Block, Configuration, Overrides, Plan
from raybench.plan.file import load_plan
from raybench.records import visit_name
from raybench.schemas import SCHEMAS
from raybench.store import RunStore, VisitKey
from raybench.sweep.describe import describe

MEAN_NS = {"full_ft": 2.0e6, "lora_merged": 2.0e6, "lora_separate": 2.6e6, "multi_lora": 2.8e6, "delay": 2.1e6}
_VISIT = {"attempt": 0, "host": "node", "device": "GPU-0", "device_name": "none", "pid": 7, "environment": "{}"}
_VISIT |= {"fork_ns": 1, "load_ns": 2, "warmup_ns": 0, "timing_ns": 4, "total_ns": 9, "process_peak_bytes": 1 << 20}
_LOAD = {"load_ns": 5, "adapter_load_ns": 3, "weight_bytes": 10, "adapter_bytes": 2, "resident_bytes": 12}
_LOAD |= {"load_peak_bytes": 12, "forward_peak_bytes": 3}


def make(
    folder: Path,
    rounds: int,
    requests: int,
    seed: int = 0,
    name: str = "rq2",
    compacted: bool = True,
    together: int = 1,
) -> Path:
    """The run's own folder, ``folder``/run. ``compacted``: its commits, of ``together`` visits each, as by a sweep."""
    plan, _ = load_plan(name, all_traits(), glue_tasks(), Overrides(rounds=rounds, requests=requests))
    model = ModelSpec("micro", "preset_device")
    rng = np.random.default_rng(seed)
    blocks = {block.name: block for block in plan.blocks}
    with RunStore.create(folder, "run", describe("run", plan, GlueLengths(0), model, [], all_traits())) as store:
        write_views(store.root)
        waiting: list[tuple[VisitKey, dict[str, pa.Table]]] = []
        visits = list(plan.visits())
        for number, visit in enumerate(visits):
            block = blocks[visit.block]
            key = VisitKey(visit=visit_name(block.name, visit.round), block=block.name, round=visit.round, attempt=0)
            place = {"visit": key.visit, "block": key.block, "round": key.round}
            began = datetime(2026, 11, 28, tzinfo=UTC) + timedelta(seconds=number)
            tables = {
                "samples": _samples(plan, block, key, rng),
                "visits": _table("visits", [place | _VISIT | {"started_at": began}]),
                "loads": _table("loads", [place | _LOAD | {"configuration": c.name} for c in block.configurations]),
            }
            waiting.append((key, tables))
            if len(waiting) < together and number + 1 < len(visits):
                continue
            joined = {name: pa.concat_tables(of[name] for _, of in waiting) for name in tables}
            store.commit(joined, [key for key, _ in waiting])
            waiting.clear()
            if compacted and store.is_compaction_due():
                store.compact()
        if compacted:
            store.compact()
        return Path(str(store.root))


def made_apart(folder: Path, *options: str) -> str:
    """The folder of a run made by a process of its own: the peak of a process begins with that of what started it."""
    command = [sys.executable, __file__, str(folder), *options]
    return subprocess.run(command, env=environment(THIS), stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _samples(plan: Plan, block: Block, key: VisitKey, rng: np.random.Generator) -> pa.Table:
    parts = []
    slow, begun = float(np.exp(rng.normal(0, 0.01))), 0
    for c in block.configurations:
        task, adapter, request = _asked(plan, block, c, key.round)
        count = len(request)
        tail = 1 + 0.5 * (rng.random(count) < 0.02)
        wall_ns = (MEAN_NS[c.strategy] * slow * np.exp(rng.normal(0, 0.05, count)) * tail).astype(np.int64)
        same = {"visit": key.visit, "block": key.block, "round": key.round, "configuration": c.name, "phase": "timed"}
        order = np.arange(begun, begun + count)
        columns: dict[str, Any] = {name: pa.repeat(value, count) for name, value in (same | {"batch": c.batch}).items()}
        columns |= {"task": task, "adapter": adapter, "request": request, "turn": order, "sequence": order}
        columns |= {"tokens": _tokens(task, request), "started_ns": np.cumsum(wall_ns + 20_000)}
        columns |= {"wall_ns": wall_ns, "host_ns": wall_ns}
        if len(c.adapters) > 1:
            columns["switch_ns"] = rng.integers(250_000, 350_000, count)
        fields = SCHEMAS["samples"]
        arrays = [_column(columns.get(field.name), field.type, count) for field in fields]
        parts.append(pa.table(arrays, schema=fields))
        begun += count
    return pa.concat_tables(parts)


def _asked(plan: Plan, block: Block, c: Configuration, round_index: int) -> tuple[Any, Any, Any]:
    """Of each request of a round its task, the adapter that serves it and its number."""
    first, count, adapters = round_index * plan.requests, plan.requests, {a.task: a.name for a in c.adapters}
    if len(c.tasks) == 1 and c in block.members:  # without a Python object of each, which take as long as the rest
        name = adapters.get(c.tasks[0])
        named = pa.nulls(count, pa.string()) if name is None else pa.repeat(name, count)
        return pa.repeat(c.tasks[0], count), named, np.arange(first, first + count)
    asked = block.requests(c, first, count)
    tasks = [task for task, _ in asked]
    return tasks, [adapters.get(task) for task in tasks], [request for _, request in asked]


def _tokens(tasks: Any, requests: Any) -> Any:
    """A request's length, the same wherever it is served: 10 to 199."""
    names = [tasks[0].as_py()] if isinstance(tasks, pa.Array) else tasks  # an array is of one task
    salts = np.array([zlib.crc32(name.encode()) for name in names])
    return 10 + (np.asarray(requests) * 7919 + salts) % 190


def _column(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMAS[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=33)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plan", default="rq2")
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--uncompacted", action="store_true")
    asked = parser.parse_args()
    compacted = not asked.uncompacted
    print(make(asked.folder, asked.rounds, asked.requests, asked.seed, asked.plan, compacted, asked.together))


if __name__ == "__main__":
    main()
