"""How a run was measured, down to versions, machine, clocks and plan, and the command that repeats it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from raybench.analysis import Tables
from raybench.page.parts import Columns, Limits, Section, cut, grid, grids
from raybench.page.queries import text_of
from raybench.page.repeating import repeat_command, repeat_notes
from raybench.page.values import moment, whole
from raybench.report import run_argument, shell_command
from raybench.store import redact_uris

_DEEP: Final = 6
_METRICS: Final = re.compile(r"^servers \d+\.metrics\b")
"""Hundreds of each server, which the query has."""
_CLOCKS: Final = (
    "Clocks: wall, until the device had finished, which all verdicts are by; host, until the call returned; device, "
    "between two events on a GPU. Each is a difference of a monotonic clock, in nanoseconds."
)


def provenance_section(tables: Tables, limits: Limits) -> Section:
    """The plan, what measured, versions and machine."""
    run = tables.description
    plan = run.plan
    facts: dict[str, Any] = {
        "run": run.run_id,
        "created": moment(run.created_at),
        "plan": {"name": plan.name, "description": plan.description, "design": plan.design, "rounds": plan.rounds}
        | {"requests of a configuration in a round": plan.requests, "warm-ups": plan.warmups}
        | {"requests of a turn": plan.turn_requests, "seed of the requests": plan.workload_seed}
        | {"seed of the order": plan.order_seed, "margin": plan.margin, "until half-width": plan.until_halfwidth}
        | {"references": list(plan.references), "servers": [dict(one) for one in plan.servers]},
        "model": {"name": run.model.name, "kind": run.model.kind, "location": run.model.location}
        | {"task type": run.model.task_type},
        "requests": dict(run.workload),
        "driver": dict(run.environment.driver.machine),
        "versions": dict(run.environment.driver.versions),
        "workers": [dict(one) for one in run.environment.workers],
    }
    shown = [{"what": name, "value": value} for name, value in flat(facts)]
    columns: Columns = {"what": ("what", str), "value": ("value", str)}
    wide = Limits(max(60, limits.rows), limits.series, 3 * limits.characters)
    measured = tables.rows(text_of("page_machines"))
    machines = grid(
        "What measured",
        measured,
        {
            "device_name": ("device", str),
            "host": ("host", str),
            "devices": ("devices", whole),
            "visits": ("visits", whole),
            "environments": ("different descriptions", whole),
        },
        text_of("page_machines"),
        limits,
    )
    settings = [
        {"what": name if len(measured) == 1 else f"{row['device_name']} at {row['host']}: {name}", "value": value}
        for row in measured[:3]
        for name, value in flat(_parsed(row["environment"]))
        if not _METRICS.search(name)
    ]
    more = grid(
        "What the first visit on each said of itself, but for servers' metrics",
        settings,
        columns,
        text_of("page_machines"),
        wide,
    )
    return Section(
        "how",
        "How it was measured",
        (_CLOCKS,),
        grids=grids(grid("The run", shown, columns, None, wide), machines, more),
    )


def repeat_section(tables: Tables) -> Section:
    """The command that measures it again, and those that read this run."""
    run = tables.description
    lines = [f"With raybench {cut(run.environment.driver.versions.get('raybench', '-'), 40)} and the versions above:"]
    lines += repeat_notes(tables)
    if run.model.kind == "prepared":
        lines.append("The model was prepared for this plan by raybench prepare.")
    argument = run_argument(tables.root)
    commands = (
        repeat_command(tables),
        shell_command(["raybench", "tables", argument]),
        shell_command(["raybench", "sql", argument, "FROM by_strategy"]),
    )
    return Section("again", "The command that repeats it, and those that read it", tuple(lines), commands=commands)


def flat(value: Any, name: str = "", deep: int = 0) -> Iterator[tuple[str, str]]:
    """What a tree of JSON values holds, a name of dots and a text each; URIs without their secrets."""
    if isinstance(value, Mapping) and deep < _DEEP:
        for key, one in value.items():
            yield from flat(one, f"{name}.{key}" if name else str(key), deep + 1)
    elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value) and deep < _DEEP:
        for number, one in enumerate(value, 1):
            yield from flat(one, f"{name} {number}", deep + 1)
    elif value is not None and value not in ([], {}, ""):
        words = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        yield name, redact_uris(words)


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
