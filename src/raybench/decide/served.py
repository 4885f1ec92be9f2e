"""Advice on a run of servers: which way, on how many GPUs, by what servers carried under the loads measured.

Section 8 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

from rich import box
from rich.table import Table

from raybench.analysis import Tables, goodput_rows, limits_of, shipped_sql
from raybench.decide.advice import as_json
from raybench.decide.capacity import STRATEGIES
from raybench.decide.carried import GOOD, ServedNeeds, ServedWay, best_served, limit_words, served_ways
from raybench.records import InputError, count, in_percent
from raybench.report import Screen, print_line, run_argument, shell_command

_BASES: Final = ("full_ft", "lora_merged", "lora_separate")
"""What the base beside adapters is held against, the plainest first."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServedAdvice:
    """The answer. ``way``: None where none is feasible. ``beside``: what requests for the base beside adapters cost.

    ``gpus_least``, ``gpus_most``: as many as the interval of its goodput allows; None: not known, or none would do.
    """

    run: str
    needs: dict[str, Any]
    measured_on: str
    way: str | None
    gpus: int | None
    gpus_least: int | None
    gpus_most: int | None
    sentence: str
    ways: tuple[ServedWay, ...]
    beside: str | None
    cautions: tuple[str, ...]
    next_command: str


def decide_served(tables: Tables, needs: ServedNeeds) -> ServedAdvice:
    """The way that needs the fewest GPUs, ties broken in the order of `capacity.WAYS`.

    Limits that ``needs`` lacks altogether are those of the run's plan. Raises InputError where there are none, or where
    no configuration was measured under a load.
    """
    visits = tables.rows("FROM raybench_load_visits")
    memory = [row for row in tables.rows(shipped_sql("decide_served")) if row["strategy"] in STRATEGIES]
    known = {visit["deployment"] for visit in visits if visit["complete"]}
    if not any(row["deployment"] in known for row in memory):
        raise InputError(_no_load(tables, bool(memory)))
    needs = _with_limits(tables, needs)
    rows = list(goodput_rows(visits, needs.limits))
    devices = tables.rows("SELECT DISTINCT device_name, device LIKE 'cpu@%' AS cpu FROM visits ORDER BY ALL")
    on_cpu = all(row["cpu"] for row in devices)
    ways = tuple(served_ways(rows, memory, needs, on_cpu))
    best = best_served(ways)
    measured_on = ", ".join(dict.fromkeys(row["device_name"] for row in devices))
    return ServedAdvice(
        run=tables.root.name,
        needs=dataclasses.asdict(needs),
        measured_on=measured_on,
        way=None if best is None else best.way,
        gpus=None if best is None else best.gpus,
        gpus_least=None if best is None else best.gpus_least,
        gpus_most=None if best is None else best.gpus_most,
        sentence=_sentence(needs, best),
        ways=ways,
        beside=_beside(tables),
        cautions=tuple(_cautions(tables, needs, ways, measured_on, on_cpu, known)),
        next_command=f"{shell_command(['raybench', 'tables', run_argument(tables.root)])}    # all numbers behind this",
    )


def served_to_dict(advice: ServedAdvice) -> dict[str, Any]:
    """The advice as JSON values; what is not finite is null."""
    found: dict[str, Any] = as_json(dataclasses.asdict(advice))
    return found


def render_served(advice: ServedAdvice, console: Screen) -> None:
    """The advice for people: one sentence, the ways, what the base costs beside adapters, what to keep in mind."""
    print_line(console, advice.sentence)
    priced = advice.needs["gpu_price"] is not None
    table = Table(box=box.SIMPLE)
    table.add_column("Way", overflow="fold")
    for header in ("GPUs", "tasks/GPU", "goodput/s/GPU", "good"):
        table.add_column(header, justify="right", overflow="fold")
    table.add_column("measured as", overflow="fold")
    table.add_column("binds", overflow="fold")
    if priced:
        table.add_column("cost/10^6 requests", justify="right", overflow="fold")
    for way in advice.ways:
        cost = way.cost_per_million_requests
        cells = [
            way.label,
            "-" if way.gpus is None else gpu_words(way).removesuffix(" GPUs").removesuffix(" GPU"),
            f"{way.tasks_per_gpu:,}",
            _rate(way),
            in_percent(way.good_share, ".1f"),
            way.deployment,
            way.why_not or way.binds,
        ]
        cells += ["-" if cost is None else f"{cost:.2f}"] if priced else []
        table.add_row(*cells, style="bold" if way.way == advice.way else None)
    console.print(table)
    for line in (advice.beside, *(f"Note: {caution}" for caution in advice.cautions), f"Next: {advice.next_command}"):
        if line is not None:
            print_line(console, line)


def gpu_words(way: ServedWay) -> str:
    """``2 GPUs``; where the interval of its goodput spans several numbers ``2 to 3 GPUs``; ``2 GPUs or more``."""
    least = way.gpus if way.gpus_least is None else way.gpus_least
    if way.gpus_most is None:
        return f"{count(least or 0, 'GPU')} or more"
    return count(way.gpus_most, "GPU") if least == way.gpus_most else f"{least:,} to {count(way.gpus_most, 'GPU')}"


def _with_limits(tables: Tables, needs: ServedNeeds) -> ServedNeeds:
    if needs.ttft_s is not None or needs.tpot_s is not None:
        return needs
    limits = limits_of(tables.description.plan)
    if limits.ttft_ms is None and limits.tpot_ms is None:
        raise InputError(
            f"{tables.root}: neither --ttft nor --tpot is given, and its plan has no goodput; say what a request must "
            "keep"
        )
    ttft_s, tpot_s = (None if ms is None else ms / 1e3 for ms in limits)
    return dataclasses.replace(needs, ttft_s=ttft_s, tpot_s=tpot_s)


def _no_load(tables: Tables, has_loads: bool) -> str:
    if has_loads:
        return f"{tables.root}: no configuration under a load is complete; finish the run by --resume"
    return (
        f"{tables.root}: no way to deploy was asked under a load, and what a server carries cannot be told without; "
        "measure a plan with concurrency or rate_per_s, as concurrency = [1, 8, 32]"
    )


def _sentence(needs: ServedNeeds, best: ServedWay | None) -> str:
    asked = (
        f"{count(needs.tasks, 'task')} at {needs.requests_per_second:g} requests/s, {in_percent(GOOD)} within "
        f"{limit_words(needs)}"
    )
    if best is None:
        return f"No way serves {asked}: see each way."
    binds = "" if best.binds == "nothing" else f"; {best.binds} decides how many"
    words = gpu_words(best)
    if best.gpus_most is None:
        how = ": not settled, for nothing tells how far visits differ; more rounds may"
    else:
        how = "" if best.gpus_least == best.gpus_most else f": {count(best.gpus or 0, 'GPU')} as measured"
    return f"{best.label}: {words} for {asked}{binds}{how}."


def _rate(way: ServedWay) -> str:
    if way.goodput_per_s_low is None or way.goodput_per_s_high is None:
        return f"{way.goodput_per_s:.4g}"
    high = "open" if math.isinf(way.goodput_per_s_high) else f"{way.goodput_per_s_high:.4g}"
    return f"{way.goodput_per_s:.4g} [{way.goodput_per_s_low:.4g}, {high}]"


def _beside(tables: Tables) -> str | None:
    """What a request for the base costs where adapters are beside it: no way to deploy a fine-tune, so only told."""
    rows = tables.rows(
        "SELECT * FROM by_strategy WHERE strategy = 'base_beside_lora' AND clock = 'wall' AND measure = 'end_to_end' "
        "AND ratio IS NOT NULL"
    )
    told = []
    for deployment in dict.fromkeys(row["deployment"] for row in rows):
        against = {row["reference_strategy"]: row for row in rows if row["deployment"] == deployment}
        row = next((against[base] for base in _BASES if base in against), None)
        if row is not None:
            ends = "" if row["low"] is None else f" [{row['low']:.3g}, {row['high']:.3g}]"
            told.append(f"{row['ratio']:.3g}{ends} times a request to {row['reference_deployment']}")
    return f"A request for the base on the server that has adapters costs {'; '.join(told)}." if told else None


def _cautions(
    tables: Tables,
    needs: ServedNeeds,
    ways: tuple[ServedWay, ...],
    measured_on: str,
    on_cpu: bool,
    known: set[str],
) -> list[str]:
    found = [
        f"Measured on {measured_on}: it holds for such devices, these servers and requests like these, and no load "
        "above those measured was tried."
    ]
    if on_cpu:
        found.append("A CPU measured this; memory is that of servers' processes and no GPU's.")
    else:
        found.append("Memory is that of weights alone: leave room for what servers keep keys and values in.")
    several = next((way for way in ways if way.way == "multi_adapter" and way.gpus is not None), None)
    if several is not None and min(needs.tasks, several.tasks_per_gpu) > several.adapters:
        found.append(
            f"At most {count(several.adapters, 'adapter')} shared a server in this run; more are taken to be as fast "
            "as those."
        )
    if any(way.gpus is not None and way.way != "multi_adapter" and way.tasks_per_gpu > 1 for way in ways):
        found.append("Several servers on one GPU are taken to carry together what one carries alone.")
    asked = tables.rows("SELECT DISTINCT strategy, deployment, load FROM configurations ORDER BY ALL")
    lost = [row["deployment"] for row in asked if row["load"] is not None and row["deployment"] not in known]
    if lost:
        found.append(f"Not complete, and left out: {', '.join(lost)}.")
    if absent := [name for name in STRATEGIES if name not in {way.strategy for way in ways}]:
        found.append(f"Not measured under a load, so not among the ways: {', '.join(absent)}.")
    late = tables.rows("SELECT configuration FROM cautions WHERE code = 'late_client'")
    if late:
        found.append(f"The client held servers up in {count(len(late), 'configuration')}: they may carry more.")
    return found
