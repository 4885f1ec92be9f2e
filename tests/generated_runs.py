"""Runs of language models whose every prefill and decoding step took a known time: rows made by hand, a real store."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from raybench.analysis.tables import write_views
from raybench.deploy.strategies import all_traits
from raybench.model.weights import ModelSpec
from raybench.model.workload import GlueLengths, glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.plan.plan import Configuration, Plan
from raybench.records import visit_name
from raybench.schemas import SCHEMAS
from raybench.store.location import Location
from raybench.store.store import RunStore, VisitKey
from raybench.sweep.describe import describe
from small_plans import deployments

MS = 1_000_000
MODEL = ModelSpec("micro-lm", "preset_device", task_type="CAUSAL_LM")
BEGAN = datetime(2026, 11, 28, tzinfo=UTC)

_HEAD = """
name = "generated"
task_type = "CAUSAL_LM"
rounds = 3
requests = 4
warmups = 0

[workload]
prompt_tokens = 5
output_tokens = 4
"""
PLAN = _HEAD + deployments("fullft_{task}", "lora_{task}", "merged_{task}", "multi")


@dataclasses.dataclass(frozen=True)
class Took:
    """What a request took: its prefill and each decoding step, nanoseconds, by the wall clock.

    ``host``, ``device``: what share of that by the other clocks; no device: None. ``between``: nanoseconds of wall time
    in no step. ``switch``: of choosing the adapter.
    """

    prefill: int
    steps: Sequence[int]
    host: float = 1.0
    device: float | None = None
    between: int = 0
    switch: int | None = None

    def row(self) -> dict[str, Any]:
        parts = {"prefill": self.prefill, "decode": list(self.steps)}
        found: dict[str, Any] = {"output_tokens": 1 + len(self.steps), "switch_ns": self.switch}
        for clock, share in (("wall", 1.0), ("host", self.host), ("device", self.device)):
            for part, ns in parts.items():
                found[f"{part}_{clock}_ns"] = None if share is None else _times(ns, share)
            whole = None if share is None else found[f"prefill_{clock}_ns"] + sum(found[f"decode_{clock}_ns"])
            found[f"{clock}_ns"] = whole
        found["wall_ns"] += self.between
        return found


def _times(ns: int | list[int], share: float) -> int | list[int]:
    return round(ns * share) if isinstance(ns, int) else [round(one * share) for one in ns]


Cost = Callable[[Configuration, str, int, int], Took | Mapping[str, Any]]
"""What a request took: of a configuration, task, request, round. A mapping: values of the row of a classifier's."""


EVEN_MS = {"full_ft": (10.0, 2.0), "lora_separate": (12.0, 2.6), "lora_merged": (10.0, 2.01), "multi_lora": (13.0, 2.8)}
"""Of each strategy what a prefill takes, and a decoding step."""


def even_cost(configuration: Configuration, task: str, request: int, round_index: int) -> Took:
    """What `EVEN_MS` says, a little longer or shorter by round, strategy and part: visits of no machine are equal."""
    prefill_ms, step_ms = EVEN_MS[configuration.strategy]
    nudge = zlib.crc32(f"{configuration.name} {round_index}".encode()) % 100
    switch = MS if configuration.strategy == "multi_lora" else None
    return Took(round(prefill_ms * MS) + nudge, [round(step_ms * MS) + 99 - nudge] * 3, switch=switch)


def load_generated(folder: Path, text: str = PLAN, **overrides: Any) -> Plan:
    """The plan ``text`` from a file in ``folder``; ``batch`` and such are to be replaced in the text."""
    path = folder / "generated.toml"
    path.write_text(text)
    return plan_file.load_plan(str(path), all_traits(), glue_tasks(), Overrides(**overrides))[0]


def batched(batches: Sequence[int], text: str = PLAN) -> str:
    """`PLAN` with each configuration at each of ``batches``."""
    return text.replace('"\nstrategy', f'_b{{batch}}"\nbatch = {list(batches)}\nstrategy')


def generated(
    plan: Plan,
    results: Location,
    cost: Cost,
    run_id: str = "run",
    devices: int = 1,
    loads: Mapping[str, Mapping[str, Any]] | None = None,
    counts: Callable[[Configuration], Sequence[Mapping[str, Any]]] | None = None,
    calibration: Mapping[str, Any] | None = None,
    rounds: int | None = None,
    model: ModelSpec = MODEL,
) -> Any:
    """Commit a run of ``plan`` in which every request took what ``cost`` says; round r on device r modulo ``devices``.

    ``loads``: of a configuration, or a strategy, values of its rows in that table. ``counts``: of a configuration the
    values of its rows in that table; ``calibration``: of each row there. ``rounds``: how many of the plan's are
    committed.
    """
    description = describe(run_id, plan, GlueLengths(0), model, [], all_traits())
    rows: dict[str, list[dict[str, Any]]] = {"samples": [], "visits": [], "loads": [], "counts": [], "calibrations": []}
    keys = []
    for number, visit in enumerate(v for v in plan.visits() if rounds is None or v.round < rounds):
        key = VisitKey(visit=visit_name(visit.block, visit.round), block=visit.block, round=visit.round, attempt=0)
        keys.append(key)
        place = {"visit": key.visit, "block": key.block, "round": key.round}
        block = next(b for b in plan.blocks if b.name == visit.block)
        rows["visits"].append(place | _VISIT | {"attempt": 0, "device": f"fake-{visit.round % devices}"})
        rows["visits"][-1]["started_at"] = BEGAN + timedelta(seconds=number)
        if calibration is not None:
            rows["calibrations"] += [place | {"place": when} | dict(calibration) for when in ("before", "after")]
        sequence = 0
        for c in block.configurations:
            own = next((loads[key] for key in (c.name, c.strategy) if key in loads), {}) if loads else {}
            rows["loads"].append(place | {"configuration": c.name} | _LOAD | dict(own))
            if counts is not None and visit.round == 0:
                rows["counts"] += [
                    place | {"configuration": c.name, "task": c.tasks[0], "request": number} | dict(of)
                    for number, of in enumerate(counts(c))
                ]
            for task, request in block.requests(c, visit.round * plan.requests, plan.requests):
                took = cost(c, task, request, visit.round)
                rows["samples"].append(
                    place
                    | {"configuration": c.name, "task": task, "request": request, "phase": "timed"}
                    | {"adapter": next((a.name for a in c.adapters if a.task == task), None)}
                    | {"turn": sequence, "sequence": sequence}
                    | {"tokens": 5 * c.batch, "started_ns": sequence, "batch": c.batch}
                    | (took.row() if isinstance(took, Took) else dict(took))
                )
                sequence += 1
    with RunStore.create(results, run_id, description) as store:
        write_views(store.root)
        tables = {name: pa.Table.from_pylist(found, SCHEMAS[name]) for name, found in rows.items() if found}
        store.commit(tables, keys)
        return store.root


_VISIT = {"host": "node", "device_name": "fake device", "pid": 7, "process_peak_bytes": 1 << 20, "environment": "{}"}
_VISIT |= {"fork_ns": 1, "load_ns": 2, "warmup_ns": 0, "timing_ns": 4, "total_ns": 9}
_LOAD = {"load_ns": 5, "weight_bytes": 10, "adapter_bytes": 2, "resident_bytes": 12, "load_peak_bytes": 12}
_LOAD |= {"forward_peak_bytes": 3, "adapter_load_ns": MS}
