"""The advice as text."""

from __future__ import annotations

import io
from typing import Any

from decide.advising import MB, advise, by_way
from raybench.analysis.tables import Tables
from raybench.decide.advice import Advice
from raybench.decide.report import deciding_numbers, growth_words, number_words, render
from raybench.report import Screen


def printed(advice: Advice) -> str:
    console = Screen(file=io.StringIO(), width=160)
    render(advice, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_way_without_a_price_has_no_cost_column(known_tables: Tables) -> None:
    assert "cost/10^6 requests" not in printed(advise(known_tables))
    assert "cost/10^6 requests" in printed(advise(known_tables, gpu_price=0.9))


# Numbers


def test_another_task_takes_no_memory_where_adapters_are_swapped(known_tables: Tables) -> None:
    # Several adapters do not fit, and whole models need more GPUs.
    advice = advise(known_tables, tasks=40, gpu_memory_bytes=1130 * MB, requests_per_second=0.1)
    assert advice.way == "separate_swapped"
    text = printed(advice)
    assert "Separate, adapters swapped: memory of one more task: 0 MB (loads)" in text
    assert "Separate, adapters swapped: memory beside the tasks: 1130 MB (loads)" in text
    assert "Separate, adapters swapped: a switch, longest of 6 adapter loads: 30 ms (loads.adapter_load_ns)" in text


def test_a_p95_that_is_planned_with_says_whose_it_is(known_tables: Tables) -> None:
    advice = advise(known_tables)  # merged and full cannot be told apart; merged is the slower by 0.02 ms
    ways = by_way(advice)
    numbers = [number_words(n) for n in deciding_numbers(ways["full_ft"], [ways["full_ft"], ways["merged"]])]
    assert [words for words in numbers if "p95" in words] == [
        "Full fine-tunes: p95 planned with, switches included (of lora_merged, in one latency class with it): "
        "4.02 ms (timed)",
        "Full fine-tunes: p95 of its own, switches included: 4 ms (timed)",
        "Merge: p95 planned with, switches included (its own): 4.02 ms (timed)",
    ]
    assert "p95 planned" in printed(advice)


# What breaks first, in words


def test_any_number_of_tasks_is_said_only_where_it_is_true(known_tables: Tables) -> None:
    def words(name: str, **needs: Any) -> str:
        way = by_way(advise(known_tables, **needs))[name]
        assert way.growth is not None
        return growth_words(way, way.growth)

    assert words("separate_swapped").endswith("6 GPUs would do for any number of tasks")
    most = words("merged", tasks=10**9)
    assert most.endswith("500,000,000 GPUs would do for 1,000,000,000 tasks, the most that can be asked for")
    assert "tasks, at 10,001" in words("merged", tasks=9_999)
