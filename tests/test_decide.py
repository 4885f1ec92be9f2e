"""The decision rule: by hand on a run of known latencies, at its boundaries, and monotone in what is asked."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advising import LATENCIES_MS, MB, NEEDS, advise, by_way, make_run, or_more, with_memory
from conftest import SMALL_PLAN
from raybench import decide
from raybench.advice import advice_to_dict
from raybench.capacity import WAYS
from raybench.needs import Needs
from raybench.records import InputError
from raybench.tables import Tables

# By hand, on the run of known latencies


def test_the_advice_on_a_known_run_is_what_it_is_by_hand(known_tables: Tables) -> None:
    advice = advise(known_tables, gpu_price=0.9)
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


def test_what_one_gpu_carries_solves_the_equation_of_the_docs(known_tables: Tables) -> None:
    for name, service_ms in (("merged", 4.02), ("multi_adapter", 6.5), ("separate_copies", 5.0)):
        carried = by_way(advise(known_tables))[name].requests_per_second_per_gpu
        rho = carried * service_ms / 1e3
        assert 0 < rho < 1
        # A constant service time S: what is left of a service is S / 2 on average.
        assert rho * math.exp(-(1 - rho) * (40.2 - service_ms) / (service_ms / 2)) == pytest.approx(0.05, rel=1e-9)


def test_exactly_at_the_slo_a_gpu_may_be_busy_for_five_percent(known_tables: Tables) -> None:
    at = by_way(advise(known_tables, slo_p95_s=0.00402))["merged"]
    assert at.feasible
    assert at.requests_per_second_per_gpu == pytest.approx(0.05 / 0.00402, rel=1e-9)
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


def test_no_way_within_the_slo_is_an_answer(known_tables: Tables) -> None:
    advice = advise(known_tables, slo_p95_s=0.001)
    assert (advice.way, advice.gpus, advice.missing) == (None, None, ())
    assert advice.sentence.endswith("the lowest measured p95 is 4.02 ms; see each way.")


# What the run cannot tell apart decides nothing


def test_an_advantage_within_the_margin_does_not_decide(known_tables: Tables) -> None:
    # Between the two p95 (4 and 4.02 ms) the full fine-tune's own would be within the SLO; it must not win by that.
    advice = advise(known_tables, tasks=1, slo_p95_s=0.00401)
    assert [by_way(advice)[name].feasible for name in ("merged", "full_ft")] == [False, False]
    assert by_way(advice)["full_ft"].same_latency_as == ("lora_merged",)
    chosen = advise(known_tables, tasks=1)
    pairs = {(c.strategy, c.reference): c for c in chosen.comparisons}
    assert (pairs["lora_merged", "full_ft"].verdict, pairs["lora_merged", "full_ft"].decides) == ("equivalent", False)
    assert pairs["lora_merged", "lora_separate"].decides
    assert any("no difference in latency from full_ft" in line for line in chosen.because)


# What the run lacks


def test_a_strategy_that_is_missing_is_named_with_the_plan_to_run(tmp_path: Path) -> None:
    plan = SMALL_PLAN.partition("[[configurations]]")[0]
    advice = advise(with_memory(make_run(tmp_path, LATENCIES_MS, plan, rounds=1)))
    assert (advice.way, advice.ways, advice.missing) == (None, (), ("multi_lora: not in this run",))
    assert "--plan rq2" in advice.next_command


# Monotone in what is asked


@settings(max_examples=8, deadline=None)
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


# What is printed


def options(tables: Tables, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    decide.add_arguments(parser)
    asked = ["--tasks", "3", "--gpu-memory", "2.2GB", "--slo-p95", "40.2ms", "--requests-per-second", "10"]
    return parser.parse_args([str(tables.root), *asked, *more])


@pytest.fixture
def printed(known_tables: Tables, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr(decide, "Tables", lambda path: known_tables)
    return lambda *more: decide.run(options(known_tables, *more))


def test_the_command_line_states_the_needs(known_tables: Tables) -> None:
    assert decide.needs_of(options(known_tables)) == NEEDS
    assert decide.needs_of(options(known_tables, "--switches", "30%", "--gpu-price", "0.8")) == dataclasses.replace(
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
    printed: Callable[..., int], known_tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed("--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert found == advice_to_dict(advise(known_tables))
    assert (found["way"], found["gpus"], found["ways"][2]["tasks_per_gpu"]) == ("multi_adapter", 1, None)


def test_what_is_missing_is_printed_with_exit_code_1(
    short_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = Tables(short_run)
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


def test_it_needs_neither_ray_nor_torch() -> None:
    code = "import sys, raybench.decide; print(sorted({'ray', 'torch', 'transformers', 'peft'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
