"""Cautions that belong to every verdict of a run: of the machine, of servers, of requests unlike the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from raybench.analysis import Tables
from raybench.records import count

OF_SERVERS: Final[Mapping[str, str]] = {
    "running_server": "a server ran already and was not started anew",
    "other_versions": "servers changed between visits",
    "other_prompts": "prompts differ in length by server",
    "caching_unknown": "what came out of a cache is not known",
    "not_held": "some answers were held to no weights",
    "late_client": "requests were sent late",
    "at_once": "some answers came whole",
    "together": "tokens came together",
    "never_idle": "a server was never idle",
}
OF_MACHINES: Final[Mapping[str, str]] = {
    "stolen_time": "a hypervisor took processor time",
    "busy_machine": "others computed on the machine",
    "cpu_quota": "a CPU quota held it up",
    "swapping": "memory was swapped",
    "gpu_throttled": "the GPU's clock was held down",
    "gpu_clocks": "the GPU's clock fell",
    "gpu_shared": "others were on the GPU",
    "machine_changed": "the machine changed meanwhile",
}
"""By code what it is in a few words, as one says it beside an answer."""


def told_in_brief(tables: Tables) -> dict[str, str]:
    """Those that a run has, by code, in a few words each."""
    rows = tables.rows("SELECT DISTINCT code FROM cautions")
    there = {row["code"] for row in rows}
    words = {**OF_MACHINES, **(OF_SERVERS if tables.description.plan.servers else {})}
    found = {code: brief for code, brief in words.items() if code in there}
    outliers = _outliers(tables)
    return found | ({"outliers": outliers} if outliers else {})


def caution_lines(tables: Tables) -> list[str]:
    """The same as sentences, a line for each kind."""
    found = _outliers(tables)
    lines = [] if found is None else [_OUTLIERS.format(found)]
    if tables.description.plan.servers:
        lines += _lines(tables, OF_SERVERS)
    return lines + _lines(tables, OF_MACHINES)


_OUTLIERS: Final = "Caution: {}, as where something shares the machine: raybench tables shows them under outliers."


def _outliers(tables: Tables) -> str | None:
    """Of how many configurations the means are of requests unlike others; None: of none."""
    found = tables.rows(
        "SELECT count(*) FILTER (c.code = 'outliers') AS n, count(DISTINCT name) AS of_all "
        "FROM configurations LEFT JOIN cautions AS c ON c.configuration = name"
    )[0]
    if not found["n"]:
        return None
    return f"{found['n']} of {count(found['of_all'], 'configuration')} had many requests unlike the others"


def _lines(tables: Tables, codes: Collection[str]) -> list[str]:
    found: dict[str, list[str]] = {}
    for row in tables.rows("SELECT code, message FROM cautions ORDER BY code, configuration NULLS FIRST, message"):
        if row["code"] in codes:
            found.setdefault(row["code"], []).append(row["message"])
    return [
        f"Caution: {messages[0]}" + ("." if len(messages) == 1 else f"; {len(messages) - 1} more of that kind.")
        for messages in found.values()
    ]
