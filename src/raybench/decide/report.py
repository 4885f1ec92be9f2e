"""Advice as people read it: one sentence, the ways, what breaks first, the numbers that decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table

from raybench.decide.advice import Advice, Comparison, Growth, Number, WayResult, count, gigabytes, milliseconds
from raybench.decide.needs import MOST_TASKS, Needs
from raybench.report import Screen, percent, print_line


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
    for compared in advice.comparisons:
        print_line(console, f"  {comparison_words(compared)}")
    for caution in advice.cautions:
        print_line(console, f"Note: {caution}")
    print_line(console, f"Next: {advice.next_command}")


def sentence(needs: Needs, best: WayResult | None, ways: Sequence[WayResult], missing: Sequence[str]) -> str:
    """The advice in one sentence."""
    asked = (
        f"{count(needs.tasks, 'task')} at {needs.requests_per_second:g} requests/s "
        f"within p95 {milliseconds(needs.slo_p95_s)}"
    )
    if missing:
        return f"No advice on {asked}: the run lacks what it needs."
    if best is None:
        return f"No way serves {asked} on GPUs of {gigabytes(needs.gpu_memory_bytes)}: {_no_way(ways)}; see each way."
    binds = "" if best.binds == "nothing" else f"; {best.binds} decides how many"
    return f"{best.label}: {count(best.gpus or 0, 'GPU')} for {asked}{binds}."


def _no_way(ways: Sequence[WayResult]) -> str:
    too_big = [way for way in ways if "memory" in way.binds]
    too_slow = [way for way in ways if "slo" in way.binds]
    found = []
    if too_big:
        least = gigabytes(min(way.bytes_each + way.bytes_beside for way in too_big))
        who = "none fits" if len(too_big) == len(ways) else f"{len(too_big)} of {len(ways)} do not fit"
        found.append(f"{who} into memory (one task needs at least {least})")
    if too_slow:
        least = milliseconds(min(way.p95_s for way in too_slow))
        who = "none meets" if len(too_slow) == len(ways) else f"{len(too_slow)} of {len(ways)} do not meet"
        found.append(f"{who} the SLO at any load (p95 without waiting at least {least})")
    return ", ".join(found)


def reasons(best: WayResult | None, ways: Sequence[WayResult], virtue: str) -> tuple[str, ...]:
    """Why this way; ``virtue``: what it has before those that need as many GPUs."""
    if best is None:
        return ()
    found = []
    ties = [way.label for way in ways if way.gpus == best.gpus and way.way != best.way]
    more = [way for way in ways if way.gpus is not None and way.gpus > (best.gpus or 0)]
    if more:
        nearest = min(more, key=lambda way: way.gpus or 0)
        found.append(
            f"It needs the fewest GPUs; of those that need more, {nearest.label} is next with {nearest.gpus:,}."
        )
    if ties:
        found.append(f"As many GPUs: {', '.join(ties)}. The simplest goes first (docs/decide.md): {virtue}.")
    if best.same_latency_as:
        names = ", ".join(best.same_latency_as)
        found.append(f"One latency class with {names} (docs/decide.md): latency decides nothing between them.")
    return tuple(found)


def deciding_numbers(best: WayResult | None, ways: Sequence[WayResult]) -> tuple[Number, ...]:
    """The measured numbers of the chosen way and of the one that comes next, with their tables."""
    if best is None:
        return ()
    others = [way for way in ways if way.gpus is not None and way.way != best.way]
    shown = [best, *([min(others, key=lambda way: way.gpus or 0)] if others else [])]
    found = []
    for way in shown:
        of = "its own" if way.p95_of == way.strategy else f"of {way.p95_of}, in one latency class with it"
        found.append(Number(f"{way.label}: p95 planned with, switches included ({of})", way.p95_s, "s", "timed"))
        if way.p95_of != way.strategy:
            found.append(Number(f"{way.label}: p95 of its own, switches included", way.own_p95_s, "s", "timed"))
        found.append(Number(f"{way.label}: memory of one more task", way.bytes_each, "bytes", "loads"))
        found.append(Number(f"{way.label}: memory beside the tasks", way.bytes_beside, "bytes", "loads"))
        if way.switch_s:
            table = "loads.adapter_load_ns" if way.way == "separate_swapped" else "timed.switch_ns"
            found.append(Number(f"{way.label}: a switch, {way.switch_is}", way.switch_s, "s", table))
    return tuple(found)


def number_words(number: Number) -> str:
    """A number as people read it, in ms or MB, and its table."""
    scale, unit = {"s": (1e3, "ms"), "bytes": (1e-6, "MB")}[number.unit]
    return f"{number.what}: {number.value * scale:.6g} {unit} ({number.table})"


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
    """A comparison with its interval and what it means for the advice."""
    interval = f"{_percent(compared.ratio)} [{_percent(compared.low)}, {_percent(compared.high)}]"
    through = f", both against {compared.through}" if compared.through else ""
    weight = "" if compared.decides else "; latency does not decide between them"
    who = f"{compared.strategy} against {compared.reference}"
    return f"{who}: {interval} {compared.verdict}{through} (by_strategy){weight}"


def _table(advice: Advice) -> Table:
    priced = advice.needs["gpu_price"] is not None
    table = Table(box=box.SIMPLE)
    table.add_column("Way")
    for header in ("GPUs", "tasks/GPU", "requests/s/GPU", "p95 planned"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("binds")
    if priced:
        table.add_column("cost/10^6 requests", justify="right", no_wrap=True)
    for way in advice.ways:
        cells = [
            way.label,
            "-" if way.gpus is None else f"{way.gpus:,}",
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
