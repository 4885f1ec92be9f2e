"""What the decision rule answers: which way to deploy, on how many GPUs, what binds and which numbers decide."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from raybench.terminal import print_line


@dataclasses.dataclass(frozen=True, slots=True)
class Growth:
    """How far a way's number of GPUs goes. ``first``: what needs another GPU (or ends it) first: ``tasks`` or ``load``.

    ``tasks_at``: the number of tasks at which this many GPUs no longer do (None: no number of tasks).
    ``requests_per_second_above``: the load above which they no longer do.
    """

    tasks_at: int | None
    requests_per_second_above: float
    first: str


@dataclasses.dataclass(frozen=True, slots=True)
class WayResult:
    """One way to deploy, counted for the needs. Times in seconds, memory in bytes.

    ``gpus`` is None where the way is not feasible; ``why_not`` then says so. ``tasks_per_gpu``: that fit into memory
    (None: any number). ``p95_s``: measured, a request with its share of switches, without waiting.
    ``requests_per_second_per_gpu``: the most that one GPU carries within the SLO. ``binds``: what another GPU less
    would break: ``memory``, ``load``, ``memory and load``, ``slo``, or ``nothing`` (one GPU is enough).
    ``same_latency_as``: strategies from which the run cannot tell this one's latency; it is planned with the least
    favourable of them. ``cost_per_million_requests``: in the unit of the GPU price.
    """

    way: str
    label: str
    strategy: str
    feasible: bool
    gpus: int | None
    gpus_by_memory: int | None
    gpus_by_load: int | None
    tasks_per_gpu: int | None
    bytes_each: int
    bytes_beside: int
    requests_per_second_per_gpu: float
    p95_s: float
    switch_s: float
    binds: str
    cost_per_million_requests: float | None
    growth: Growth | None
    same_latency_as: tuple[str, ...]
    why_not: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Mean wall time of one strategy against another: ratio, 95 % interval, verdict, and whether latency may decide.

    ``through``: both were compared with this strategy and not with each other; the interval then runs from the one's
    low over the other's high to the opposite, wider than 95 %.
    """

    strategy: str
    reference: str
    ratio: float
    low: float
    high: float
    verdict: str
    decides: bool
    through: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Number:
    """A measured number that the advice rests on, and the table of the run that holds it."""

    what: str
    value: float
    unit: str
    table: str


@dataclasses.dataclass(frozen=True, slots=True)
class Advice:
    """The answer. ``way`` is None where no way is feasible, or where ``missing`` says what the run lacks.

    ``sentence``: the advice in words. ``ways``: each way, in the order that breaks ties. ``because``: why this way.
    ``cautions``: what to keep in mind. ``next_command``: what to type next.
    """

    run: str
    needs: dict[str, Any]
    measured_on: str
    measured_tasks: tuple[str, ...]
    way: str | None
    gpus: int | None
    sentence: str
    because: tuple[str, ...]
    ways: tuple[WayResult, ...]
    comparisons: tuple[Comparison, ...]
    numbers: tuple[Number, ...]
    cautions: tuple[str, ...]
    missing: tuple[str, ...]
    next_command: str


def advice_to_dict(advice: Advice) -> dict[str, Any]:
    """The advice as JSON values; what is not finite is null."""
    found: dict[str, Any] = _json(dataclasses.asdict(advice))
    return found


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def render(advice: Advice, console: Console) -> None:
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
        print_line(console, f"  {number.what}: {number.value:.6g} {number.unit} ({number.table})")
    for compared in advice.comparisons:
        print_line(console, f"  {comparison_words(compared)}")
    for caution in advice.cautions:
        print_line(console, f"Note: {caution}")
    print_line(console, f"Next: {advice.next_command}")


def sentence(asked: str, best: WayResult | None, ways: Sequence[WayResult], missing: Sequence[str]) -> str:
    """The advice in one sentence; ``asked``: what is to be served, in words."""
    if missing:
        return f"No advice on {asked}: the run lacks what it needs."
    if best is None:
        least = min(way.p95_s for way in ways)
        return f"No way serves {asked} on such GPUs: the lowest measured p95 is {milliseconds(least)}; see each way."
    binds = "" if best.binds == "nothing" else f"; {best.binds} decides how many"
    return f"{best.label}: {count(best.gpus or 0, 'GPU')} for {asked}{binds}."


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
        found.append(f"The run shows no difference in latency from {names}: latency decides nothing between them.")
    return tuple(found)


def deciding_numbers(best: WayResult | None, ways: Sequence[WayResult]) -> tuple[Number, ...]:
    """The measured numbers of the chosen way and of the one that comes next, with their tables."""
    if best is None:
        return ()
    others = [way for way in ways if way.gpus is not None and way.way != best.way]
    shown = [best, *([min(others, key=lambda way: way.gpus or 0)] if others else [])]
    found = []
    for way in shown:
        found.append(Number(f"{way.label}: p95 of a request, switches included", way.p95_s * 1e3, "ms", "timed"))
        found.append(Number(f"{way.label}: memory of one more task", way.bytes_each / 1e6, "MB", "loads"))
        found.append(Number(f"{way.label}: memory beside the tasks", way.bytes_beside / 1e6, "MB", "loads"))
        if way.switch_s:
            table = "loads.adapter_load_ns" if way.way == "separate_swapped" else "timed.switch_ns"
            found.append(Number(f"{way.label}: p95 of a switch", way.switch_s * 1e3, "ms", table))
    return tuple(found)


def growth_words(way: WayResult, growth: Growth) -> str:
    """Which of tasks and load asks for another GPU first, and at which number."""
    gpus = count(way.gpus or 0, "GPU")
    load = f"load, above {growth.requests_per_second_above:.4g} requests/s"
    if growth.tasks_at is None:
        return f"{load}; {gpus} would do for any number of tasks"
    tasks = f"tasks, at {growth.tasks_at}"
    first, then = (tasks, load) if growth.first == "tasks" else (load, tasks)
    return f"{first}; then {then} ({gpus} no longer {'does' if way.gpus == 1 else 'do'})"


def comparison_words(compared: Comparison) -> str:
    """A comparison with its interval and what it means for the advice."""
    interval = f"{_percent(compared.ratio)} [{_percent(compared.low)}, {_percent(compared.high)}]"
    through = f", both against {compared.through}" if compared.through else ""
    weight = "" if compared.decides else "; latency does not decide between them"
    who = f"{compared.strategy} against {compared.reference}"
    return f"{who}: {interval} {compared.verdict}{through} (by_strategy){weight}"


def count(number: int, noun: str) -> str:
    """``1 GPU``, ``2 GPUs``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def milliseconds(seconds: float) -> str:
    """Three significant digits and more where there are more: ``40 ms``, ``5.25 ms``."""
    return f"{seconds * 1e3:.4g} ms"


def _table(advice: Advice) -> Table:
    priced = advice.needs["gpu_price"] is not None
    table = Table(box=box.SIMPLE)
    table.add_column("Way")
    for header in ("GPUs", "tasks/GPU", "requests/s/GPU", "p95"):
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
    return f"{(ratio - 1) * 100:+.1f} %" if math.isfinite(ratio) else "unbounded"
