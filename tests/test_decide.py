"""The decision rule: by hand on a run of known latencies, at its boundaries, and monotone in what is asked."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from conftest import SMALL_PLAN, _known
from raybench import decide, plan_file, strategies
from raybench.advice import Advice, WayResult, advice_to_dict, render
from raybench.decide import WAYS, Measured, Needs, Service, gpus_needed
from raybench.plan_file import Overrides
from raybench.records import InputError
from raybench.tables import Tables
from raybench.workload import glue_tasks
from runs import measure

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


def make_run(folder: Path, latencies_ms: dict[str, float], plan: str = SMALL_PLAN, **overrides: Any) -> Path:
    """A run in which each request of a strategy takes exactly as long as said, and a switch 1 ms."""
    folder.mkdir(exist_ok=True)
    path = folder / "plan.toml"
    path.write_text(plan)
    with pytest.MonkeyPatch.context() as patch:
        for name, ms in latencies_ms.items():
            cost = (round(ms * MS), round(ms * MS), None)
            known = _known(strategies.STRATEGIES[name].traits, lambda tokens, calls, cost=cost: cost, MS)
            patch.setitem(strategies.STRATEGIES, name, known)
        loaded, _ = plan_file.load(str(path), strategies.all_traits(), glue_tasks(), Overrides(**overrides))
        return measure(loaded, folder / "results")


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


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return with_memory(make_run(tmp_path_factory.mktemp("known"), LATENCIES_MS, rounds=3, requests=44))


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Too short for a p95."""
    return make_run(tmp_path_factory.mktemp("small"), LATENCIES_MS, rounds=1)


def by_way(advice: Advice) -> dict[str, WayResult]:
    return {way.way: way for way in advice.ways}


def advise(tables: Tables, **changes: Any) -> Advice:
    return decide.decide(tables, dataclasses.replace(NEEDS, **changes))


# By hand, on the run of known latencies


def test_the_advice_on_a_known_run_is_what_it_is_by_hand(tables: Tables) -> None:
    advice = advise(tables, gpu_price=0.9)
    ways = by_way(advice)
    assert list(ways) == [way.name for way in WAYS]
    assert {name: (w.bytes_each // MB, w.bytes_beside // MB, w.tasks_per_gpu) for name, w in ways.items()} == {
        "merged": (1000, 100, 2),  # 2 x 1000 + 100 <= 2200
        "multi_adapter": (10, 1120, 108),  # 1000 of the base and 120 of a forward, then 10 each
        "separate_swapped": (1010, 120, None),
        "full_ft": (1000, 100, 2),
        "separate_copies": (1010, 120, 2),
    }
    # merged and full are equivalent (+0.5 %, margin 2 %), so both are planned with the slower of the two.
    assert {name: w.p95_s for name, w in ways.items()} == {
        "merged": 0.00402,
        "multi_adapter": 0.0065,  # 5.5 and a switch of 1
        "separate_swapped": 0.035,  # 5 and a swap of 30
        "full_ft": 0.00402,
        "separate_copies": 0.005,
    }
    assert {name: w.gpus for name, w in ways.items()} == {
        "merged": 2,
        "multi_adapter": 1,
        "separate_swapped": 6,  # 1.9 requests/s each
        "full_ft": 2,
        "separate_copies": 2,
    }
    assert (ways["merged"].binds, ways["multi_adapter"].binds) == ("memory", "nothing")
    assert (advice.way, advice.gpus) == ("multi_adapter", 1)
    # 0.9 an hour is 0.00025 a second; 10 requests a second make 10^6 in 10^5 s.
    assert ways["multi_adapter"].cost_per_million_requests == pytest.approx(25, rel=1e-12)
    assert ways["merged"].cost_per_million_requests == pytest.approx(50, rel=1e-12)
    assert advice.because == ("It needs the fewest GPUs; of those that need more, Merge is next with 2.",)


def test_what_one_gpu_carries_solves_the_equation_of_the_docs(tables: Tables) -> None:
    for name, service_ms in (("merged", 4.02), ("multi_adapter", 6.5), ("separate_copies", 5.0)):
        carried = by_way(advise(tables))[name].requests_per_second_per_gpu
        rho = carried * service_ms / 1e3
        assert 0 < rho < 1
        # A constant service time S: what is left of a service is S / 2 on average.
        assert rho * math.exp(-(1 - rho) * (40.2 - service_ms) / (service_ms / 2)) == pytest.approx(0.05, rel=1e-9)


def test_exactly_at_the_slo_a_gpu_may_be_busy_for_five_percent(tables: Tables) -> None:
    at = by_way(advise(tables, slo_p95_s=0.00402))["merged"]
    assert at.feasible
    assert at.requests_per_second_per_gpu == pytest.approx(0.05 / 0.00402, rel=1e-9)
    below = by_way(advise(tables, slo_p95_s=0.004019999))["merged"]
    assert (below.feasible, below.gpus, below.binds) == (False, None, "slo")
    assert below.why_not == "slo: p95 4.02 ms is above it"


def test_exactly_at_the_memory_one_more_task_fits_and_a_byte_less_does_not(tables: Tables) -> None:
    at, less = (by_way(advise(tables, gpu_memory_bytes=b)) for b in (2100 * MB, 2100 * MB - 1))
    assert [at["merged"].tasks_per_gpu, less["merged"].tasks_per_gpu] == [2, 1]
    assert [at["merged"].gpus, less["merged"].gpus] == [2, 3]
    at, less = (by_way(advise(tables, gpu_memory_bytes=b)) for b in (1150 * MB, 1150 * MB - 1))
    assert [at["multi_adapter"].tasks_per_gpu, less["multi_adapter"].tasks_per_gpu] == [3, 2]
    assert at["separate_copies"].tasks_per_gpu == 1
    at, less = (by_way(advise(tables, gpu_memory_bytes=b)) for b in (1130 * MB, 1130 * MB - 1))
    assert [at["separate_swapped"].tasks_per_gpu, less["separate_swapped"].tasks_per_gpu] == [None, 0]
    assert less["separate_swapped"].why_not == "memory: one task needs 1.13 GB"


def test_a_load_that_peaks_above_a_forward_is_what_must_fit(small_run: Path) -> None:
    peaks = {**MEMORY, "lora_merged": (1000, 0, 900, 1500, 100), "multi_lora": (1000, 20, 900, 1220, 120)}
    run = decide._Run(with_memory(small_run, peaks))
    run.services = dict.fromkeys(peaks, Service(np.array([MS]), np.array([1.0])))
    found = {m.way.name: (m.each // MB, m.beside // MB) for m in run.measured({})}
    assert found["merged"] == (1000, 500)
    # The counter said 900, the parameters alone are 1000 and 1020: those count. So the peak adds 1220 - 1020 there,
    # beside a base of 1000.
    assert found["multi_adapter"] == (10, 1200)


def test_what_breaks_first_breaks_exactly_there(tables: Tables) -> None:
    def merged(**changes: Any) -> WayResult:
        return by_way(advise(tables, **changes))["merged"]

    now = merged(requests_per_second=100.0)
    assert now.growth is not None
    assert (now.growth.tasks_at, now.growth.first) == (5, "tasks")  # 2 GPUs of 2 tasks each
    assert (merged(tasks=4).gpus, merged(tasks=5).gpus) == (2, 3)
    edge = now.growth.requests_per_second_above
    assert edge == pytest.approx(2 * now.requests_per_second_per_gpu, rel=1e-12)
    assert (merged(requests_per_second=edge).gpus, merged(requests_per_second=edge * 1.0001).gpus) == (2, 3)
    assert merged(requests_per_second=edge / 1.01).growth.first == "load"  # type: ignore[union-attr]
    swapped = by_way(advise(tables))["separate_swapped"].growth
    assert swapped is not None
    assert (swapped.tasks_at, swapped.first) == (None, "load")
    most = by_way(advise(tables, tasks=10**9))["merged"]
    assert most.growth is not None
    assert (most.gpus, most.growth.tasks_at) == (10**9 // 2, None)


@pytest.mark.parametrize(
    ("changes", "binds"),
    [
        ({"tasks": 2}, "nothing"),
        ({"tasks": 3}, "memory"),
        ({"tasks": 2, "requests_per_second": 400.0}, "load"),
        ({"tasks": 4, "requests_per_second": 400.0}, "memory and load"),
    ],
)
def test_what_binds_is_what_would_take_fewer_gpus_if_lifted(
    tables: Tables, changes: dict[str, Any], binds: str
) -> None:
    assert by_way(advise(tables, **changes))["merged"].binds == binds


def test_one_task_is_merged_and_a_tie_goes_by_the_documented_order(tables: Tables) -> None:
    advice = advise(tables, tasks=1)
    assert {way.gpus for way in advice.ways} == {1}
    assert advice.way == "merged" == WAYS[0].name
    assert advice.because[0].startswith("As many GPUs: Several adapters on one base, Separate, adapters swapped, Full")
    assert advice.needs["switches"] == 0.0
    assert by_way(advice)["separate_swapped"].p95_s == 0.005


def test_switches_cost_what_their_share_says(tables: Tables) -> None:
    rare = by_way(advise(tables, switches=0.04))
    assert (rare["multi_adapter"].p95_s, rare["separate_swapped"].p95_s) == (0.0055, 0.005)
    often = by_way(advise(tables, switches=0.06))
    assert (often["multi_adapter"].p95_s, often["separate_swapped"].p95_s) == (0.0065, 0.035)
    worst, given_as_worst = by_way(advise(tables)), by_way(advise(tables, switches=1.0))
    assert worst == given_as_worst
    assert worst["separate_swapped"].requests_per_second_per_gpu < often["separate_swapped"].requests_per_second_per_gpu
    tight = advise(tables, slo_p95_s=0.03)
    assert by_way(tight)["separate_swapped"].why_not == "slo: p95 35 ms is above it"


def test_no_way_within_the_slo_is_an_answer(tables: Tables) -> None:
    advice = advise(tables, slo_p95_s=0.001)
    assert (advice.way, advice.gpus, advice.missing) == (None, None, ())
    assert advice.sentence.endswith("the lowest measured p95 is 4.02 ms; see each way.")


def test_tasks_of_all_strategies_only_and_each_counts_alike(tables: Tables) -> None:
    assert advise(tables).measured_tasks == ("mrpc", "sst2")
    run = decide._Run(tables)
    for service in run.services.values():
        assert float(service.weights.sum()) == pytest.approx(1, rel=1e-12)


def test_only_tasks_that_all_served_count_and_the_most_adapters_stand_for_several(tmp_path: Path) -> None:
    plan = SMALL_PLAN.replace('["mrpc", "sst2"]', '["mrpc", "sst2", "rte"]').replace(
        'strategy = "lora_merged"\ntasks = ["mrpc", "sst2", "rte"]', 'strategy = "lora_merged"\ntasks = ["sst2", "rte"]'
    )
    three = """
    [[configurations]]
    name = "multi_lora_3_adapters"
    strategy = "multi_lora"
    seed = 42
    adapters = ["mrpc_seed42", "sst2_seed42", "rte_seed42"]
    """
    for i, several in enumerate((plan + three, plan.replace("[[configurations]]", three + "[[configurations]]"))):
        run = decide._Run(with_memory(make_run(tmp_path / str(i), LATENCIES_MS, several, rounds=1)))
        assert run.tasks == ("rte", "sst2")
        assert run.rows["multi_lora"]["deployment"] == "Multi-adapter (3)"


def test_more_switches_never_raise_what_a_gpu_carries() -> None:
    # Long requests among short ones: a switch makes the residual service time shorter, and waits no shorter.
    walls = np.array([MS] * 50 + [1000 * MS])
    service = Service(walls, np.full(walls.size, 1 / walls.size))
    carried = [service.requests_per_second(20 * MS, share, 950 * MS) for share in np.linspace(0, 1, 11)]
    assert carried == sorted(carried, reverse=True)


# What the run cannot tell apart decides nothing


def test_an_advantage_within_the_margin_does_not_decide(tables: Tables) -> None:
    # Between the two p95 (4 and 4.02 ms) the full fine-tune's own would be within the SLO; it must not win by that.
    advice = advise(tables, tasks=1, slo_p95_s=0.00401)
    assert [by_way(advice)[name].feasible for name in ("merged", "full_ft")] == [False, False]
    assert by_way(advice)["full_ft"].same_latency_as == ("lora_merged",)
    chosen = advise(tables, tasks=1)
    pairs = {(c.strategy, c.reference): c for c in chosen.comparisons}
    assert (pairs["lora_merged", "full_ft"].verdict, pairs["lora_merged", "full_ft"].decides) == ("equivalent", False)
    assert pairs["lora_merged", "lora_separate"].decides
    assert any("no difference in latency from full_ft" in line for line in chosen.because)


def test_a_run_on_a_cpu_says_so(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any("CPU" in caution for caution in advise(tables).cautions)
    monkeypatch.setattr(decide._Run, "_device_ids", lambda self: {"cpu@host"})
    assert any(caution.startswith("A CPU measured this") for caution in advise(tables).cautions)


def test_pairs_that_were_never_compared_are_told_apart_through_a_third(tables: Tables) -> None:
    pairs = {(c.strategy, c.reference): c for c in advise(tables, tasks=1).comparisons}
    through = pairs["multi_lora", "lora_merged"]
    assert (through.verdict, through.decides) == ("slower", True)
    assert through.through in ("full_ft", "lora_separate")
    assert through.ratio == pytest.approx(5.5 / 4.02, rel=1e-9)


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        (((1.2, 1.3), (0.9, 1.1)), ("slower", True)),
        (((1.0, 1.2), (1.1, 1.3)), ("inconclusive", False)),
        (((0.7, 0.8), (0.9, 1.1)), ("faster", True)),
        (((1.004, 1.005), (1.001, 1.002)), ("equivalent", False)),
        (((0.0, math.inf), (0.9, 1.1)), ("inconclusive", False)),
    ],
)
def test_through_a_third_only_intervals_apart_by_more_than_the_margin_decide(
    intervals: tuple[tuple[float, float], tuple[float, float]], expected: tuple[str, bool]
) -> None:
    one, other = (
        decide.Comparison(name, "r", math.sqrt(low * high) if low else 1.0, low, high, "slower", True)
        for name, (low, high) in zip("ab", intervals, strict=True)
    )
    found = decide._within_margin(decide._through(one, other), 1.02)
    assert found.low == intervals[0][0] / intervals[1][1]
    assert found.high == intervals[0][1] / intervals[1][0]
    assert (found.verdict, found.decides) == expected


def test_an_inconclusive_run_lets_simplicity_decide_and_says_so(tables: Tables) -> None:
    inconclusive = {
        pair: dataclasses.replace(c, verdict="inconclusive", decides=False)
        for pair, c in decide._Run(tables).comparisons().items()
    }
    run = decide._Run(tables)
    ways = [m.result(dataclasses.replace(NEEDS, tasks=1)) for m in run.measured(inconclusive)]
    # One class: every way is planned with the least favourable latency, multi's 5.5 ms.
    assert {way.p95_s for way in ways} == {0.0055}
    assert all(len(way.same_latency_as) == 3 for way in ways)
    assert any("Inconclusive" in line for line in run.cautions(NEEDS, ways, inconclusive))


# What the run lacks


def test_a_strategy_that_is_missing_is_named_with_the_plan_to_run(tmp_path: Path) -> None:
    plan = SMALL_PLAN.partition("[[configurations]]")[0]
    advice = advise(with_memory(make_run(tmp_path, LATENCIES_MS, plan, rounds=1)))
    assert (advice.way, advice.ways, advice.missing) == (None, (), ("multi_lora: not in this run",))
    assert "--plan rq2" in advice.next_command


def test_too_few_requests_for_a_p95_and_unmeasured_numbers_give_no_advice(small_run: Path) -> None:
    assert advise(with_memory(small_run)).missing == tuple(
        f"{label}: a p95 needs 130 requests, not {n}"
        for label, n in (("Full FT", 8), ("LoRA Separate", 8), ("LoRA Merged", 8), ("Multi-adapter (2)", 4))
    )
    lacking = advise(Tables(small_run)).missing
    assert "LoRA Separate: adapter_load_ns was not measured" in lacking
    assert "Full FT: parameter_bytes was not measured" in lacking


def test_incomplete_configurations_give_no_advice(small_run: Path) -> None:
    tables = with_memory(small_run)
    tables.connection.execute(
        "CREATE OR REPLACE VIEW completeness AS SELECT name AS configuration, name NOT LIKE 'lora_merged_sst2%'"
        " AS complete FROM configurations"
    )
    assert advise(tables).missing == ("LoRA Merged: 1 of 2 configurations complete",)


# Monotone in its inputs

MEASURED = st.builds(
    lambda way, each, beside, switch_ns, walls: Measured(
        way, each, beside, switch_ns, (Service(np.sort(np.array(walls)), np.full(len(walls), 1 / len(walls))),)
    ),
    st.sampled_from(WAYS),
    st.integers(1, 50),
    st.integers(0, 50),
    st.integers(0, 200 * MS),
    st.lists(st.integers(1 * MS, 80 * MS), min_size=1, max_size=40),
)
ASKED = st.builds(
    Needs,
    tasks=st.integers(1, 60),
    gpu_memory_bytes=st.integers(1, 400),
    slo_p95_s=st.floats(0.001, 1.0),
    requests_per_second=st.floats(0.01, 500.0),
    switches=st.none() | st.floats(0, 1),
)


def or_more(gpus: int | None) -> float:
    return math.inf if gpus is None else gpus


@settings(max_examples=150, deadline=None)
@given(MEASURED, ASKED, st.integers(1, 40), st.floats(1.0, 4.0), st.integers(1, 200), st.floats(0.2, 1.0))
def test_asking_more_never_takes_fewer_gpus(
    measured: Measured, asked: Needs, tasks: int, load: float, memory: int, slo: float
) -> None:
    now = or_more(measured.gpus(asked))
    harder = {
        "tasks": asked.tasks + tasks,
        "requests_per_second": asked.requests_per_second * load,
        "gpu_memory_bytes": max(1, asked.gpu_memory_bytes - memory),
        "slo_p95_s": asked.slo_p95_s * slo,
    }
    for name, value in harder.items():
        assert or_more(measured.gpus(dataclasses.replace(asked, **{name: value}))) >= now, name
    if asked.switches is not None:
        assert or_more(measured.gpus(dataclasses.replace(asked, switches=1.0))) >= now
    assert or_more(measured.gpus(dataclasses.replace(asked, **harder))) >= now


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 30), st.floats(1, 900), st.floats(0.003, 0.1), st.integers(1000, 9000), st.data())
def test_the_advised_number_of_gpus_is_monotone_too(
    tables: Tables, tasks: int, load: float, slo: float, memory: int, data: st.DataObject
) -> None:
    asked = Needs(tasks, memory * MB, slo, load)
    name, value = data.draw(
        st.sampled_from(
            [
                ("tasks", tasks + 3),
                ("requests_per_second", load * 1.5),
                ("slo_p95_s", slo * 0.8),
                ("gpu_memory_bytes", (memory - 400) * MB),
            ]
        )
    )
    now, harder = (decide.decide(tables, n) for n in (asked, dataclasses.replace(asked, **{name: value})))
    assert or_more(harder.gpus) >= or_more(now.gpus)
    assert or_more(now.gpus) == min(or_more(way.gpus) for way in now.ways)


# GPUs for any split of the load


def pack(loads: list[Fraction], places: int) -> list[list[tuple[Fraction, int]]]:
    """Put parts of ``loads`` on GPUs that carry 1 each in ``places`` parts, as the proof in docs/decide.md does.

    A part is (load, task); task -1 is one that the proof adds.
    """
    gpus = []
    left = sorted((load, task) for task, load in enumerate(loads))
    while left:
        by_load = max(1, math.ceil(sum(load for load, _ in left)))
        fits = sum(load for load, _ in left[:places]) <= 1
        if fits and (gpus_needed(len(left), by_load, places) > by_load or len(left) <= places):
            gpus.append(left[:places])
            left = left[places:]
            continue
        left = sorted([*left, *[(Fraction(0), -1)] * ((places - 1) * by_load + 1 - len(left))])
        load, task = left[-1]
        left[-1] = (load + by_load - sum(load for load, _ in left), task)
        whole, rest = left[: places - 1], left[places - 1 :]
        for _ in range(places):
            part = 1 - sum(load for load, _ in whole)
            if rest[-1][0] >= part:
                break
            whole, rest = [*whole[1:], rest[-1]], sorted([*rest[:-1], whole[0]])
        load, task = rest[-1]
        gpus.append([*whole, (part, task)])
        left = sorted(one for one in [*rest[:-1], (load - part, task)] if one[0])
    return gpus


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=14), st.integers(1, 5), st.integers(5, 60))
def test_the_gpus_suffice_however_the_load_is_split(parts: list[int], places: int, scale: int) -> None:
    loads = [Fraction(part, scale) for part in parts]
    gpus = pack(loads, places)
    assert len(gpus) <= gpus_needed(len(loads), max(1, math.ceil(sum(loads))), places)
    assert all(sum(load for load, _ in gpu) <= 1 and len(gpu) <= places for gpu in gpus)
    assert all(load >= 0 for gpu in gpus for load, _ in gpu)
    for task, load in enumerate(loads):
        assert sum(part for gpu in gpus for part, served in gpu if served == task) >= load


@pytest.mark.parametrize(("tasks", "by_load", "places"), [(1, 1, 1), (40, 1, 6), (40, 2, 6), (7, 3, 2), (3, 9, 1)])
def test_the_worst_split_needs_them_all(tasks: int, by_load: int, places: int) -> None:
    # One task has all the load: a place on by_load GPUs; each other task one place.
    fewer = gpus_needed(tasks, by_load, places) - 1
    assert fewer * places < tasks - 1 + by_load or fewer < by_load


# The queue, against simulation


@pytest.mark.parametrize("factor", [1.2, 2.0, 5.0])
@pytest.mark.parametrize("shape", ["constant", "lognormal", "exponential", "two lengths"])
def test_at_the_load_that_a_gpu_carries_about_five_percent_are_late(shape: str, factor: float) -> None:
    rng = np.random.default_rng(7)
    draw: dict[str, Callable[[int], Any]] = {
        "constant": lambda n: np.full(n, 10.0),
        "lognormal": lambda n: 10 * rng.lognormal(0, 0.3, n),
        "exponential": lambda n: rng.exponential(10, n),
        "two lengths": lambda n: np.where(rng.random(n) < 0.3, 25.0, 8.0),
    }
    measured = np.sort(np.rint(draw[shape](5_000) * MS).astype(np.int64))
    service = Service(measured, np.full(measured.size, 1 / measured.size))
    slo_ns = round(service.p95_s(0, 0) * 1e9 * factor)
    carried = service.requests_per_second(0, 0, slo_ns)
    n = 200_000
    service_s = draw[shape](n) / 1e3
    steps = np.concatenate([[0], service_s[:-1] - rng.exponential(1 / carried, n - 1)])
    walk = np.cumsum(steps)
    wait_s = walk - np.minimum.accumulate(walk)  # Lindley's recursion
    late = float(np.mean(wait_s + service_s > slo_ns / 1e9))
    assert 0.025 < late < 0.07


# What is typed


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GB", 24 * 10**9), ("24GiB", 24 * 2**30), ("1.5 GB", 1_500_000_000), ("512MiB", 2**29), ("1e3KB", 10**6)],
)
def test_sizes(text: str, size: int) -> None:
    assert decide.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["24", "GB", "0GB", "-1GB", "nanGB", "infGB", "24gb", "24Gb", "1e-12KB", "", "2 4GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError, match="--gpu-memory: expected a size above 0 with its unit, as 24GB"):
        decide.parse_bytes(text, "--gpu-memory")


@pytest.mark.parametrize(("text", "seconds"), [("40ms", 0.04), ("0.04s", 0.04), ("250us", 0.00025), ("2 s", 2.0)])
def test_times(text: str, seconds: float) -> None:
    assert decide.parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["40", "ms", "0ms", "-40ms", "nanms", "infs", "40m", "1e999s", "40 GB", "", "٤ms"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="--slo-p95: expected a time above 0"):
        decide.parse_seconds(text, "--slo-p95")


def test_shares_and_numbers() -> None:
    assert [decide.parse_share(text, "x") for text in ("0", "30%", "0.3", "1", "100 %")] == [0, 0.3, 0.3, 1, 1]
    assert (decide.parse_positive("12.5", "x"), decide.parse_tasks("40")) == (12.5, 40)
    for text in ("1.1", "101%", "-1", "nan", "%", "x"):
        with pytest.raises(InputError, match="--switches: expected a share"):
            decide.parse_share(text, "--switches")
    for text in ("0", "-3", "nan", "inf", "1e400", "12rps"):
        with pytest.raises(InputError, match="--gpu-price: expected a number above 0"):
            decide.parse_positive(text, "--gpu-price")
    for text in ("0", "-1", "1.5", "nan", "1e3", "99999999999"):
        with pytest.raises(InputError, match="--tasks: expected a whole number"):
            decide.parse_tasks(text, "--tasks")


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": 0},
        {"tasks": 1.5},
        {"gpu_memory_bytes": -1},
        {"slo_p95_s": math.nan},
        {"slo_p95_s": 1e-12},
        {"requests_per_second": math.inf},
        {"switches": 1.01},
        {"switches": math.nan},
        {"gpu_price": 0.0},
    ],
)
def test_needs_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(wrong))} must be"):
        dataclasses.replace(NEEDS, **wrong)


# What is printed


def options(tables: Tables, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    decide.add_arguments(parser)
    asked = ["--tasks", "3", "--gpu-memory", "2.2GB", "--slo-p95", "40.2ms", "--requests-per-second", "10"]
    return parser.parse_args([str(tables.root), *asked, *more])


@pytest.fixture
def printed(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr(decide, "Tables", lambda path: tables)
    return lambda *more: decide.run(options(tables, *more))


def test_the_command_line_states_the_needs(tables: Tables) -> None:
    assert decide.needs_of(options(tables)) == NEEDS
    assert decide.needs_of(options(tables, "--switches", "30%", "--gpu-price", "0.8")) == dataclasses.replace(
        NEEDS, switches=0.3, gpu_price=0.8
    )


def test_the_advice_comes_first_then_the_ways_what_breaks_the_numbers_and_what_next(
    printed: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed("--gpu-price", "0.9") == 0
    out = capsys.readouterr().out
    order = [
        "Several adapters on one base: 1 GPU for 3 tasks at 10 requests/s within p95 40.2 ms.",
        "cost/10^6 requests",
        "What breaks first: ",
        "Measured numbers that decide:",
        "multi_lora against lora_separate: +10.0 % [+10.0 %, +10.0 %] slower (by_strategy)",
        "Next: raybench tables ",
    ]
    positions = [out.index(text) for text in order]
    assert positions == sorted(positions)
    assert out.startswith(order[0])


def test_json_holds_the_same_and_nothing_that_json_has_not(
    printed: Callable[..., int], tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed("--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert found == advice_to_dict(advise(tables))
    assert (found["way"], found["gpus"], found["ways"][2]["tasks_per_gpu"]) == ("multi_adapter", 1, None)
    unbounded = dataclasses.replace(
        advise(tables), numbers=(decide.Comparison("a", "b", 1.0, 0.0, math.inf, "inconclusive", False),)
    )
    assert advice_to_dict(unbounded)["numbers"][0]["high"] is None


def test_what_is_missing_is_printed_with_exit_code_1(
    small_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = Tables(small_run)
    monkeypatch.setattr(decide, "Tables", lambda path: tables)
    assert decide.run(options(tables)) == 1
    out = capsys.readouterr().out
    assert out.startswith("No advice on 3 tasks")
    assert "adapter_load_ns was not measured" in out
    assert "Next: python -m raybench.sweep --plan rq2" in out


def test_bad_input_is_found_before_the_run_is_read(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    decide.add_arguments(parser)
    asked = ["--tasks", "3", "--gpu-memory", "24", "--slo-p95", "40ms", "--requests-per-second", "10"]
    with pytest.raises(InputError, match="--gpu-memory") as error:
        decide.run(parser.parse_args([str(tmp_path / "nowhere"), *asked]))
    assert error.value.exit_code == 2


def test_a_way_without_a_price_has_no_cost_column(tables: Tables) -> None:
    console = Console(width=160, record=True, quiet=True)
    render(advise(tables), console)
    assert "cost" not in console.export_text()


def test_the_docs_example_is_what_the_rule_says() -> None:
    text = (Path(__file__).parents[1] / "docs" / "decide.md").read_text()
    constant = Service(np.array([10 * MS]), np.array([1.0]))
    example = Measured(WAYS[0], each=10, beside=4, switch_ns=0, services=(constant,))
    way = example.result(Needs(40, 64, 0.04, 70.0, gpu_price=0.8))
    assert (way.tasks_per_gpu, way.gpus_by_load, way.gpus, way.binds) == (6, 2, 7, "memory")
    assert way.growth is not None
    assert (way.growth.tasks_at, way.growth.first) == (42, "tasks")
    assert f"rho = {way.requests_per_second_per_gpu / 100:.4f}" in text
    assert f"{way.requests_per_second_per_gpu:.2f} requests/s" in text
    assert f"x 10^6 = {way.cost_per_million_requests:.2f} for a million" in text
    assert f"= {way.growth.requests_per_second_above:.1f} requests/s. Tasks break first: 42 / 40" in text
    for call in ("gpus_needed(40, 1, 6) = 7", "gpus_needed(40, 2, 6) = 7", "gpus_needed(40, 2, 1) = 41"):
        assert call in text
    assert (gpus_needed(40, 1, 6), gpus_needed(40, 2, 6), gpus_needed(40, 2, 1)) == (7, 7, 41)


def test_it_needs_neither_ray_nor_torch() -> None:
    code = "import sys, raybench.decide; print(sorted({'ray', 'torch', 'transformers', 'peft'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
