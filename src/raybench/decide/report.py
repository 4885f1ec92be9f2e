"""Advice as people read it: one sentence, the ways, what breaks first, the numbers that decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table

from raybench.decide.advice import Advice, Comparison, Growth, Number, WayResult, milliseconds
from raybench.decide.gains import gain_lines
from raybench.decide.headline import gpu_range
from raybench.decide.needs import MOST_TASKS
from raybench.records import count
from raybench.report import Screen, ends, percent, print_line


def render(advice: Advice, console: Screen) -> None:
    """The advice for people: one sentence, the ways, what breaks first, the numbers that decide, what to type next."""
    print_line(console, advice.sentence)
    for line in (*advice.missing, *advice.because):
        print_line(console, f"  {line}")
    if advice.ways:
        console.print(_table(advice))
    chosen = next((way for way in advice.ways if way.way == advice.way), None)
    if chosen is not None and chosen.growth is not None:
        print_line(console, f"What breaks first: {growth_words(chosen, chosen.growth)}")
    if advice.numbers:
        print_line(console, "Measured numbers that decide:")
    for number in advice.numbers:
        print_line(console, f"  {number_words(number)}")
    if advice.comparisons:
        print_line(console, "Mean wall times of the same requests in the same visits, no switch and no wait in them:")
    for compared in advice.comparisons:
        print_line(console, f"  {comparison_words(compared)}")
    for line in gain_lines(advice.forms):
        print_line(console, line)
    for caution in advice.cautions:
        print_line(console, f"Note: {caution}")
    print_line(console, f"Next: {advice.next_command}")


def deciding_numbers(best: WayResult | None, ways: Sequence[WayResult]) -> tuple[Number, ...]:
    """The measured numbers of the chosen way and of the one that comes next, with their tables."""
    if best is None:
        return ()
    others = [way for way in ways if way.gpus is not None and way.way != best.way]
    shown = [best, *([min(others, key=lambda way: way.gpus or 0)] if others else [])]
    found = []
    for way in shown:
        interval = (None, None) if way.no_interval else (way.p95_low_s, way.p95_high_s)
        found.append(Number(f"{way.label}: p95, switches included", way.p95_s, "s", "timed", *interval))
        found.append(Number(f"{way.label}: memory of one more task", way.bytes_each, "bytes", "loads"))
        found.append(Number(f"{way.label}: memory beside the tasks", way.bytes_beside, "bytes", "loads"))
        if way.switch_s:
            table = "loads.adapter_load_ns" if way.way == "separate_swapped" else "timed.switch_ns"
            found.append(Number(f"{way.label}: a switch, {way.switch_is}", way.switch_s, "s", table))
    return tuple(found)


def number_words(number: Number) -> str:
    """A number as people read it, in ms or MB, and its table."""
    scale, unit = {"s": (1e3, "ms"), "bytes": (1e-6, "MB")}[number.unit]
    interval = ""
    if number.low is not None and number.high is not None:
        interval = f" [{number.low * scale:.4g}, {number.high * scale:.4g}]"
    return f"{number.what}: {number.value * scale:.6g}{interval} {unit} ({number.table})"


def growth_words(way: WayResult, growth: Growth) -> str:
    """Which of tasks and load asks for another GPU first, and at which number."""
    gpus = count(way.gpus or 0, "GPU")
    load = f"load, above {growth.requests_per_second_above:.4g} requests/s"
    if way.tasks_per_gpu is None:
        return f"{load}; {gpus} would do for any number of tasks"
    if growth.tasks_at is None:
        return f"{load}; {gpus} would do for {MOST_TASKS:,} tasks, the most that can be asked for"
    tasks = f"tasks, at {growth.tasks_at:,}"
    first, then = (tasks, load) if growth.first == "tasks" else (load, tasks)
    return f"{first}; then {then} ({gpus} no longer {'does' if way.gpus == 1 else 'do'})"


def comparison_words(compared: Comparison) -> str:
    """A comparison with its interval and verdict."""
    interval = f"[{_percent(compared.low)}, {_percent(compared.high)}]"
    if math.isfinite(compared.high):
        interval = ends(compared.low, compared.high)
    through = f", both against {compared.through}" if compared.through else ""
    who = f"{compared.strategy} against {compared.reference}"
    return f"{who}: {_percent(compared.ratio)} {interval} {compared.verdict}{through} (by_strategy)"


def _table(advice: Advice) -> Table:
    priced = advice.needs["gpu_price"] is not None
    table = Table(box=box.SIMPLE)
    table.add_column("Way", overflow="fold")
    for header in ("GPUs", "tasks/GPU", "requests/s/GPU", "p95, no wait"):
        table.add_column(header, justify="right", overflow="fold")
    table.add_column("binds", overflow="fold")
    if priced:
        table.add_column("cost/10^6 requests", justify="right", overflow="fold")
    for way in advice.ways:
        cells = [
            way.label,
            gpu_range(way).removesuffix(" GPUs").removesuffix(" GPU"),
            "any" if way.tasks_per_gpu is None else f"{way.tasks_per_gpu:,}",
            f"{way.requests_per_second_per_gpu:.4g}",
            milliseconds(way.p95_s),
            way.why_not or way.binds,
        ]
        if priced:
            cost = way.cost_per_million_requests
            cells.append("-" if cost is None else f"{cost:.2f}")
        table.add_row(*cells, style="bold" if way.way == advice.way else None)
    return table


def _percent(ratio: float) -> str:
    return percent(ratio) if math.isfinite(ratio) else "unbounded"
