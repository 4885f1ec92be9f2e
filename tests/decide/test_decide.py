"""The decision rule: by hand on a run of known latencies, at its boundaries, and monotone in what is asked."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide.advising import LATENCIES_MS, MB, MEMORY, NEEDS, advise, by_way, make_run, or_more, with_memory
from raybench.analysis.tables import Tables
from raybench.decide import command as decide
from raybench.decide.advice import Comparison
from raybench.decide.capacity import WAYS
from raybench.decide.evidence import Evidence
from raybench.decide.needs import Needs
from raybench.decide.telling import comparisons_of
from small_plans import SMALL_PLAN

# By hand, on the run of known latencies


def test_the_advice_on_a_known_run_is_what_it_is_by_hand(known_tables: Tables) -> None:
    advice = advise(known_tables, gpu_price=0.9)
    ways = by_way(advice)
    assert list(ways) == [way.name for way in WAYS]
    assert {name: (w.bytes_each // MB, w.bytes_beside // MB, w.tasks_per_gpu) for name, w in ways.items()} == {
        "merged": (1000, 100, 2),  # 2 x 1000 + 100 <= 2200
        "multi_adapter": (10, 1120, 108),  # 1000 of the base and 120 of a forward, then 10 each
        "separate_swapped": (0, 1130, None),  # 1010 of the base and its adapter, 120 of a forward
        "full_ft": (1000, 100, 2),
        "separate_copies": (1010, 120, 2),
    }
    assert {name: w.p95_s for name, w in ways.items()} == {
        "merged": 0.00402,
        "multi_adapter": 0.0065,  # 5.5 and a switch of 1
        "separate_swapped": 0.035,  # 5 and a swap of 30
        "full_ft": 0.004,
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


def test_what_one_gpu_carries_solves_the_equation_of_the_docs(known_tables: Tables) -> None:
    for name, service_ms in (("merged", 4.02), ("multi_adapter", 6.5), ("separate_copies", 5.0)):
        carried = by_way(advise(known_tables))[name].requests_per_second_per_gpu
        rho = carried * service_ms / 1e3
        assert 0 < rho < 1
        # A constant service time S: what is left of a service is S / 2 on average.
        assert rho * math.exp(-(1 - rho) * (40.2 - service_ms) / (service_ms / 2)) == pytest.approx(0.05, rel=1e-6)


def test_exactly_at_the_slo_a_gpu_may_be_busy_for_five_percent(known_tables: Tables) -> None:
    at = by_way(advise(known_tables, slo_p95_s=0.00402))["merged"]
    assert at.feasible
    assert at.requests_per_second_per_gpu == pytest.approx(0.05 / 0.00402, rel=1e-6)
    below = by_way(advise(known_tables, slo_p95_s=0.004019999))["merged"]
    assert (below.feasible, below.gpus, below.binds) == (False, None, "slo")
    assert below.why_not == "slo: p95 4.02 ms is above it"


def test_exactly_at_the_memory_one_more_task_fits_and_a_byte_less_does_not(known_tables: Tables) -> None:
    at, less = (by_way(advise(known_tables, gpu_memory_bytes=b)) for b in (2100 * MB, 2100 * MB - 1))
    assert [at["merged"].tasks_per_gpu, less["merged"].tasks_per_gpu] == [2, 1]
    assert [at["merged"].gpus, less["merged"].gpus] == [2, 3]
    at, less = (by_way(advise(known_tables, gpu_memory_bytes=b)) for b in (1150 * MB, 1150 * MB - 1))
    assert [at["multi_adapter"].tasks_per_gpu, less["multi_adapter"].tasks_per_gpu] == [3, 2]
    assert at["separate_copies"].tasks_per_gpu == 1
    at, less = (by_way(advise(known_tables, gpu_memory_bytes=b)) for b in (1130 * MB, 1130 * MB - 1))
    assert [at["separate_swapped"].tasks_per_gpu, less["separate_swapped"].tasks_per_gpu] == [None, 0]
    assert less["separate_swapped"].why_not == "memory: one task needs 1.13 GB"


def test_one_task_is_merged_and_a_tie_goes_by_the_documented_order(known_tables: Tables) -> None:
    advice = advise(known_tables, tasks=1)
    assert {way.gpus for way in advice.ways} == {1}
    assert advice.way == "merged" == WAYS[0].name
    assert advice.because[0].startswith("As many GPUs: Several adapters on one base, Separate, adapters swapped, Full")
    assert advice.needs["switches"] == 0.0
    assert by_way(advice)["separate_swapped"].p95_s == 0.005


def test_switches_cost_what_their_share_says(known_tables: Tables) -> None:
    rare = by_way(advise(known_tables, switches=0.04))
    assert (rare["multi_adapter"].p95_s, rare["separate_swapped"].p95_s) == (0.0055, 0.005)
    often = by_way(advise(known_tables, switches=0.06))
    assert (often["multi_adapter"].p95_s, often["separate_swapped"].p95_s) == (0.0065, 0.035)
    worst, given_as_worst = by_way(advise(known_tables)), by_way(advise(known_tables, switches=1.0))
    assert worst == given_as_worst
    assert worst["separate_swapped"].requests_per_second_per_gpu < often["separate_swapped"].requests_per_second_per_gpu
    tight = advise(known_tables, slo_p95_s=0.03)
    assert by_way(tight)["separate_swapped"].why_not == "slo: p95 35 ms is above it"


@pytest.mark.parametrize(
    ("needs", "binds", "reason", "remedy"),
    [
        (
            {"slo_p95_s": 0.001},
            ["slo"] * 5,
            "none meets the SLO at any load (p95 without waiting at least 4 ms)",
            "a faster GPU or a longer SLO",
        ),
        (
            {"gpu_memory_bytes": 1000 * MB},
            ["memory"] * 5,
            "none fits into memory (one task needs at least 1.1 GB)",
            "GPUs with more memory",
        ),
        (
            {"gpu_memory_bytes": 1125 * MB, "slo_p95_s": 0.00399, "switches": 0.0},  # of 1.13 GB, and of 4 ms
            ["slo", "memory and slo", "memory and slo", "slo", "memory and slo"],
            "3 of 5 do not fit into memory (one task needs at least 1.13 GB), "
            "none meets the SLO at any load (p95 without waiting at least 4 ms)",
            "a faster GPU or a longer SLO",
        ),
        (
            {"gpu_memory_bytes": 1000 * MB, "slo_p95_s": 0.00402},
            ["memory", "memory and slo", "memory and slo", "memory", "memory and slo"],
            "none fits into memory (one task needs at least 1.1 GB), "
            "3 of 5 do not meet the SLO at any load (p95 without waiting at least 5 ms)",
            "GPUs with more memory",
        ),
        (
            {"gpu_memory_bytes": 1000 * MB, "slo_p95_s": 0.001},
            ["memory and slo"] * 5,
            "none fits into memory (one task needs at least 1.1 GB), "
            "none meets the SLO at any load (p95 without waiting at least 4 ms)",
            "GPUs with more memory, and faster ones or a longer SLO",
        ),
    ],
)
def test_no_way_is_an_answer_that_names_what_stands_in_each_way(
    known_tables: Tables, needs: dict[str, Any], binds: list[str], reason: str, remedy: str
) -> None:
    advice = advise(known_tables, **needs)
    assert (advice.way, advice.gpus, advice.missing) == (None, None, ())
    assert [way.binds for way in advice.ways] == binds
    assert [[part.partition(":")[0] for part in str(way.why_not).split("; ")] for way in advice.ways] == [
        one.split(" and ") for one in binds
    ]
    assert advice.sentence.endswith(f": {reason}; see each way.")
    assert advice.next_command.endswith(f"; then {remedy}")


def test_where_some_ways_do_not_fit_and_the_others_are_too_slow_either_helps(known_tables: Tables) -> None:
    big = {"full_ft": (1300, 0, 1300, 1300, 0), "lora_merged": (1300, 0, 1300, 1300, 0)}
    tables = with_memory(known_tables.root, {**MEMORY, **big})
    advice = advise(tables, gpu_memory_bytes=1200 * MB, slo_p95_s=0.0045)
    assert [way.binds for way in advice.ways] == ["memory", "slo", "slo", "memory", "slo"]
    assert advice.sentence.endswith(
        "on GPUs of 1.2 GB: 2 of 5 do not fit into memory (one task needs at least 1.3 GB), "
        "3 of 5 do not meet the SLO at any load (p95 without waiting at least 5 ms); see each way."
    )
    assert advice.next_command.endswith("GPUs with more memory, or for those that fit a faster GPU or a longer SLO")


# What the run cannot tell apart turns no number


def test_each_way_is_planned_with_its_own_numbers_however_little_it_differs(known_tables: Tables) -> None:
    # Between the two p95 (4 and 4.02 ms), which the run has to within nanoseconds.
    advice = advise(known_tables, tasks=1, slo_p95_s=0.00401)
    assert by_way(advice)["merged"].why_not == "slo: p95 4.02 ms is above it"
    assert (by_way(advice)["full_ft"].feasible, advice.way) == (True, "full_ft")
    chosen = advise(known_tables, tasks=1)
    pairs = {(c.strategy, c.reference): c for c in chosen.comparisons}
    assert (pairs["lora_merged", "full_ft"].verdict, pairs["lora_merged", "full_ft"].decides) == ("equivalent", False)
    assert pairs["lora_merged", "lora_separate"].decides


def test_the_chosen_way_is_compared_with_each_other_one_also_where_the_run_compared_the_other_way_round(
    known_tables: Tables,
) -> None:
    advice = advise(known_tables, tasks=40, gpu_memory_bytes=1130 * MB, requests_per_second=0.1)
    assert advice.way == "separate_swapped"
    assert [c.strategy for c in advice.comparisons] == ["lora_separate"] * 3
    pairs = {c.reference: c for c in advice.comparisons}
    assert set(pairs) == {"full_ft", "lora_merged", "multi_lora"}
    by_strategy = known_tables.rows(
        "FROM by_strategy WHERE strategy = 'lora_merged' AND reference_strategy = 'lora_separate' AND clock = 'wall'"
    )
    merged, (measured,) = pairs["lora_merged"], by_strategy
    assert (measured["verdict"], merged.verdict, merged.decides) == ("faster", "slower", True)
    assert (merged.ratio, merged.low, merged.high) == pytest.approx(
        (1 / measured["ratio"], 1 / measured["high"], 1 / measured["low"]), rel=1e-12
    )


def test_a_comparison_without_bounds_seen_from_the_other_side() -> None:
    unknown = Comparison("a", "b", 2.0, 0.0, math.inf, "inconclusive", False, "c")
    assert unknown.seen_from("b") == Comparison("b", "a", 0.5, 0.0, math.inf, "inconclusive", False, "c")
    assert unknown.seen_from("b").seen_from("a") == unknown.seen_from("a") == unknown


# What the reader should know


def test_every_pair_that_is_not_told_apart_is_named(known_tables: Tables) -> None:
    assert not any("told apart" in line or "Never" in line for line in advise(known_tables).cautions)
    tables = with_memory(known_tables.root)
    tables.connection.execute("UPDATE by_strategy SET verdict = 'inconclusive' WHERE strategy = 'lora_merged'")
    tables.connection.execute("DELETE FROM by_strategy WHERE strategy = 'multi_lora'")
    cautions = advise(tables).cautions
    assert (
        "Not told apart by mean wall time: lora_merged against full_ft, lora_merged against lora_separate. Each way is "
        "planned with its own numbers all the same. More rounds (--rounds) in a new run may tell."
    ) in cautions
    assert (
        "Never compared, nor with a common reference: multi_lora against lora_merged, "
        "lora_separate against multi_lora, full_ft against multi_lora. "
        "A plan that compares them, such as rq2, may tell."
    ) in cautions


def test_a_run_on_a_cpu_says_so(known_tables: Tables) -> None:
    run = Evidence(known_tables)
    pairs = comparisons_of(known_tables, run.rows)
    ways = [one.result(NEEDS) for one in run.measured()]
    assert not any("CPU" in line for line in decide.cautions(run, NEEDS, ways, pairs))
    run.on_cpu = True
    assert any(line.startswith("A CPU measured this") for line in decide.cautions(run, NEEDS, ways, pairs))


# What the run lacks


def test_a_strategy_that_is_missing_is_named_with_the_plan_to_run(tmp_path: Path) -> None:
    plan = SMALL_PLAN.partition("[[configurations]]")[0]
    advice = advise(with_memory(make_run(tmp_path, LATENCIES_MS, plan, rounds=1)))
    assert (advice.way, advice.ways, advice.missing) == (None, (), ("multi_lora: not in this run",))
    assert "--plan rq2" in advice.next_command


# Monotone in what is asked


@settings(max_examples=8)
@given(st.integers(1, 30), st.floats(1, 900), st.floats(0.003, 0.1), st.integers(1000, 9000), st.data())
def test_the_advised_number_of_gpus_is_monotone_too(
    known_tables: Tables, tasks: int, load: float, slo: float, memory: int, data: st.DataObject
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
    now, harder = (decide.decide(known_tables, n) for n in (asked, dataclasses.replace(asked, **{name: value})))
    assert or_more(harder.gpus) >= or_more(now.gpus)
    assert or_more(now.gpus) == min(or_more(way.gpus) for way in now.ways)
