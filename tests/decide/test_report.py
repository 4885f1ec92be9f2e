"""The advice as text."""

from __future__ import annotations

import io
from typing import Any

from decide.advising import MB, advise, as_if, by_way, with_memory
from raybench.analysis.tables import Tables
from raybench.decide.advice import Advice
from raybench.decide.report import deciding_numbers, growth_words, number_words, render
from raybench.report import Screen


def printed(advice: Advice) -> str:
    written = io.StringIO()
    render(advice, Screen(file=written, width=160))
    return written.getvalue()


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


def test_a_p95_has_its_interval_and_a_mean_says_that_no_switch_is_in_it(known_tables: Tables) -> None:
    rounds = {("full_ft", r): factor for r, factor in enumerate((0.97, 1.0, 1.03))}
    advice = advise(as_if(with_memory(known_tables.root), rounds))
    full = by_way(advice)["full_ft"]
    (p95,) = [number_words(n) for n in deciding_numbers(full, [full]) if "p95" in n.what]
    assert p95.startswith("Full fine-tunes: p95, switches included: 4.12 [")
    assert p95.endswith(f"[{full.p95_low_s * 1e3:.4g}, {full.p95_high_s * 1e3:.4g}] ms (timed)")
    text = printed(advice)
    means = "Mean wall times of the same requests in the same visits, no switch and no wait in them:"
    assert text.index("p95, no wait") < text.index(means) < text.index("multi_lora against lora_separate: +10.0 %")


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
