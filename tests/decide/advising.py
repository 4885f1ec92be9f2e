"""A run of known latencies and memory, and the advice on it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fake_device import known_strategy, uneven
from raybench.analysis.tables import Tables
from raybench.decide.advice import Advice, WayResult
from raybench.decide.command import decide
from raybench.decide.needs import Needs
from raybench.deploy import strategies
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from runs import AT_THE_END, judge_anew, measure
from small_plans import SMALL_PLAN

MS = 1_000_000
MB = 1_000_000
# strategy: weights, adapters, kept after a load, peak of a load, peak of a forward; megabytes
MEMORY = {
    "full_ft": (1000, 0, 1000, 1000, 100),
    "lora_merged": (1000, 0, 1000, 1010, 100),
    "lora_separate": (1000, 10, 1010, 1010, 120),
    "multi_lora": (1000, 20, 1020, 1020, 120),
}
LATENCIES_MS = {"full_ft": 4.0, "lora_separate": 5.0, "lora_merged": 4.02, "multi_lora": 5.5}
NEEDS = Needs(tasks=3, gpu_memory_bytes=2200 * MB, slo_p95_s=0.0402, requests_per_second=10.0)


def make_run(
    folder: Path,
    latencies_ms: dict[str, float],
    plan: str = SMALL_PLAN,
    failing: str = "",
    interval_s: float = AT_THE_END,
    **overrides: Any,
) -> Path:
    """A run in which each request of a strategy takes as long as said, but for nanoseconds of a few, and a switch 1 ms.

    The configuration ``failing`` does not load. ``interval_s``: between commits; 0: each visit is one.
    """
    folder.mkdir(exist_ok=True)
    path = folder / "plan.toml"
    path.write_text(plan)
    with pytest.MonkeyPatch.context() as patch:
        for name, ms in latencies_ms.items():
            cost = (round(ms * MS), round(ms * MS), None)
            traits = strategies.STRATEGIES[name].traits
            known = known_strategy(traits, uneven(lambda tokens, calls, cost=cost: cost), MS)
            patch.setattr(known, "load", _unless(failing, known.load))
            patch.setitem(strategies.STRATEGIES, name, known)
        loaded, _ = plan_file.load_plan(str(path), strategies.all_traits(), glue_tasks(), Overrides(**overrides))
        return measure(loaded, folder / "results", interval_s=interval_s)


def _unless(failing: str, load: Callable[..., Any]) -> Callable[..., Any]:
    def loads(self: Any, configuration: Any, weights: Any, costs: Any) -> Any:
        if configuration.name == failing:
            weights.device.now_ns += 500
            raise RuntimeError("no such file")
        return load(self, configuration, weights, costs)

    return loads


def without_last_visit(folder: Path, latencies_ms: dict[str, float], plan: str = SMALL_PLAN, **given: Any) -> Path:
    """A run of `make_run` as it was before its last visit was committed."""
    run = make_run(folder, latencies_ms, plan, interval_s=0, **given)
    max((run / "manifest").glob("*.json")).unlink()
    return run


def with_memory(run: Path, memory: dict[str, tuple[int, ...]] = MEMORY, adapter_load_ms: float = 30) -> Tables:
    """The run's tables with known memory: the device of tests counts none."""
    tables = Tables(run)
    values = ", ".join(f"('{name}', {', '.join(str(v * MB) for v in row)})" for name, row in memory.items())
    tables.connection.execute(
        f"""
        CREATE TABLE known_memory AS SELECT * FROM (VALUES {values})
            AS t(strategy, weight_bytes, adapter_bytes, resident_bytes, load_peak_bytes, forward_peak_bytes);
        CREATE TABLE measured_loads AS FROM loads;
        CREATE OR REPLACE VIEW loads AS SELECT l.* REPLACE (
            k.weight_bytes AS weight_bytes, k.adapter_bytes AS adapter_bytes, k.resident_bytes AS resident_bytes,
            k.load_peak_bytes AS load_peak_bytes, k.forward_peak_bytes AS forward_peak_bytes,
            {round(adapter_load_ms * MS)}::BIGINT AS adapter_load_ns)
        FROM measured_loads AS l JOIN configurations AS c ON c.name = l.configuration
        JOIN known_memory AS k ON k.strategy = c.strategy
        """
    )
    return tables


def by_way(advice: Advice) -> dict[str, WayResult]:
    return {way.way: way for way in advice.ways}


def advise(tables: Tables, **changes: Any) -> Advice:
    return decide(tables, dataclasses.replace(NEEDS, **changes))


def or_more(gpus: int | None) -> float:
    """A number to compare by: what is not feasible needs more GPUs than anything."""
    return math.inf if gpus is None else gpus


def as_if(tables: Tables, factors: Mapping[tuple[str, int], float]) -> Tables:
    """The run's tables, had each request of a strategy in a round taken so many times as long."""
    values = ", ".join(f"('{name}', {round_index}, {factor!r})" for (name, round_index), factor in factors.items())
    tables.connection.execute(
        f"""
        CREATE TABLE factors AS SELECT * FROM (VALUES {values}) AS t(strategy, round, factor);
        CREATE TABLE timed_as_measured AS FROM timed;
        CREATE OR REPLACE VIEW timed AS SELECT t.* REPLACE (round(t.wall_ns * coalesce(f.factor, 1))::BIGINT AS wall_ns)
        FROM timed_as_measured AS t JOIN configurations AS c ON c.name = t.configuration
        LEFT JOIN factors AS f ON f.strategy = c.strategy AND f.round = t.round
        """
    )
    judge_anew(tables)
    return tables
