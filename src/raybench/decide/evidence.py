"""What a run holds of each strategy: its memory and service times, and from which others its latency is told apart.

Sections 1, 2 and 4 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from raybench.analysis import Tables, samples_needed, shipped_sql
from raybench.decide.advice import Comparison, count
from raybench.decide.capacity import STRATEGIES, WAYS, Measured
from raybench.decide.queueing import Service
from raybench.records import INFRASTRUCTURE

Pair = tuple[str, str]

PAIRS: Final[tuple[Pair, ...]] = tuple((one, other) for i, one in enumerate(STRATEGIES) for other in STRATEGIES[:i])
"""Every two strategies once."""

FOR_A_P95: Final = samples_needed(95.0)

Remedy = Literal["another plan", "mend", "report", "longer", "resume"]


class Lack(NamedTuple):
    """What advice needs and a run has not got, in words, and what brings it.

    ``another plan``: one with the strategy, or with tasks in common. ``mend``: what made a configuration fail.
    ``report``: a strategy that reports the number. ``longer``: a run ``times`` as long. ``resume``: this run's rest.
    """

    what: str
    remedy: Remedy
    times: float = 1.0


class Evidence:
    """What a run holds of each strategy, and what it lacks.

    ``lacks``: what advice needs and is not there; `measured` is not to be asked while there is any.
    ``rows``: of each strategy the deployment that stands for it, as `sql/decide_deployments.sql` finds it. ``tasks``:
    those that every strategy served. ``services``: how long each strategy took on them. ``devices``: what measured;
    ``on_cpu``: whether a CPU was among them.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        measured_by = tables.rows("SELECT DISTINCT device_name, device LIKE 'cpu@%' AS cpu FROM visits ORDER BY ALL")
        self.devices = ", ".join(dict.fromkeys(row["device_name"] for row in measured_by))
        self.on_cpu = any(row["cpu"] for row in measured_by)
        self.lacks: list[Lack] = []
        self.rows = self._rows()
        self.tasks: tuple[str, ...] = ()
        self.services: dict[str, Service] = {}
        if not self.lacks:
            self._serve()

    def _rows(self) -> dict[str, dict[str, Any]]:
        """The deployment that stands for each strategy: of several, the one that held the most adapters."""
        chosen: dict[str, dict[str, Any]] = {}
        for row in self.tables.rows(shipped_sql("decide_deployments")):
            if row["strategy"] not in STRATEGIES:
                continue
            if row["complete"] < row["configurations"]:
                self.lacks.append(self._incomplete(row))
            kept = chosen.get(row["strategy"])
            if kept is None or row["adapters"] > kept["adapters"]:
                chosen[row["strategy"]] = row
        self.lacks += [self._absent(name) for name in STRATEGIES if name not in chosen]
        if self.lacks:
            return chosen
        needed = {name: ["parameter_bytes"] for name in STRATEGIES}
        needed["lora_separate"] += ["adapter_load_ns"]
        needed["multi_lora"] += ["adapter_bytes", "switch_ns"]
        self.lacks = [
            Lack(f"{chosen[name]['deployment']}: {column} was not measured", "report")
            for name, columns in needed.items()
            for column in columns
            if chosen[name][column] is None or (column.endswith("_bytes") and chosen[name][column] <= 0)
        ]
        return chosen

    def _incomplete(self, row: Mapping[str, Any]) -> Lack:
        """Whether a deployment's configurations can still become complete, and if not, why."""
        what = f"{row['deployment']}: {row['complete']} of {row['configurations']} configurations complete"
        failed = [
            f"{one['configuration']} failed ({textwrap.shorten(str(one['failure']), 120, placeholder=' ...')})"
            for one in self.tables.rows(shipped_sql("decide_incomplete"))
            if one["deployment"] == row["deployment"] and (one["lost_rounds"] or set(one["kinds"]) - INFRASTRUCTURE)
        ]
        if not failed:
            return Lack(f"{what}, the rest not measured to the end yet", "resume")
        more = f" and {len(failed) - 1:,} more" if len(failed) > 1 else ""
        return Lack(f"{what}; {failed[0]}{more}", "mend")

    def _absent(self, strategy: str) -> Lack:
        rows = self.tables.rows(
            f"SELECT DISTINCT role FROM configurations WHERE strategy = '{strategy}' AND role <> strategy ORDER BY ALL"  # noqa: S608  a fixed name
        )
        if not rows:
            return Lack(f"{strategy}: not in this run", "another plan")
        roles = ", ".join(row["role"] for row in rows)
        return Lack(f"{strategy}: in this run only as {roles}, and advice rests on none of these", "another plan")

    def _serve(self) -> None:
        """The service times of each strategy on the tasks that all of them served, each task counting alike."""
        table = self.tables.query(shipped_sql("decide_latencies"))
        deployment, task = (np.asarray(table[name].to_pylist(), dtype=str) for name in ("deployment", "task"))
        wall_ns = table["wall_ns"].to_numpy()
        served = {name: set(task[deployment == row["deployment"]].tolist()) for name, row in self.rows.items()}
        self.tasks = tuple(sorted(set.intersection(*served.values())))
        if not self.tasks:
            self.lacks.append(Lack("no task was served by every strategy", "another plan"))
        for name, row in self.rows.items():
            parts = [wall_ns[(deployment == row["deployment"]) & (task == one)] for one in self.tasks]
            samples = sum(part.size for part in parts)
            if self.tasks and samples < FOR_A_P95:
                self.lacks.append(_too_few(row, "requests", samples, len(self.tasks)))
            elif self.tasks and name == "multi_lora" and row["switches"] < FOR_A_P95:
                self.lacks.append(_too_few(row, "switches", row["switches"], len(self.tasks)))
            elif self.tasks:
                weights = np.concatenate([np.full(part.size, 1 / part.size / len(parts)) for part in parts])
                values = np.concatenate(parts)
                order = np.argsort(values, kind="stable")
                self.services[name] = Service(values[order], weights[order])

    def comparisons(self) -> dict[Pair, Comparison]:
        """Pairs of strategies by mean wall time: directly where the run compared them, else through a third.

        A pair that is not there was compared neither way.
        """
        strategies = {row["deployment"]: name for name, row in self.rows.items()}
        found: dict[Pair, Comparison] = {}
        for row in self.tables.rows("SELECT * FROM by_strategy WHERE clock = 'wall' AND verdict IS NOT NULL"):
            one, other = strategies.get(row["deployment"], ""), row["reference_strategy"]
            if one and other in STRATEGIES:
                decides = row["verdict"] in ("slower", "faster")
                low, high = (0.0, math.inf) if row["low"] is None else (row["low"], row["high"])
                new = Comparison(one, other, row["ratio"], low, high, row["verdict"], decides)
                pair = _pair(one, other)
                found[pair] = _both_ways(found[pair], new) if pair in found else new
        direct = dict(found)
        for one, other in PAIRS:
            if (one, other) not in direct:
                through = [
                    _through(direct[_pair(one, third)].seen_from(one), direct[_pair(other, third)].seen_from(other))
                    for third in STRATEGIES
                    if _pair(one, third) in direct and _pair(other, third) in direct
                ]
                if through:
                    found[one, other] = min(through, key=lambda c: (not c.decides, c.high - c.low))
        margin = 1 + self.tables.margin
        return {pair: _within_margin(c, margin) if c.through else c for pair, c in found.items()}

    def measured(self, compared: Mapping[Pair, Comparison]) -> list[Measured]:
        """Each way in numbers."""
        classes = _latency_classes(compared)
        found = []
        for way in WAYS:
            row = self.rows[way.strategy]
            resident = math.ceil(max(row["resident_bytes"], row["parameter_bytes"]))
            transient = max(row["load_peak_bytes"] - resident, row["forward_peak_bytes"], 0)
            each, beside, switch_ns, switch_is = resident, transient, 0, ""
            if way.sharing == "adapters":
                each = -(-row["adapter_bytes"] // row["adapters"])
                beside += resident - row["adapters"] * each
                switch_ns, switch_is = math.ceil(row["switch_ns"]), f"p95 of {row['switches']:,} switches"
            elif way.sharing == "swap":
                each, beside = 0, resident + transient
                switch_ns, switch_is = _swap(row)
            services = {name: self.services[name] for name in classes[way.strategy]}
            found.append(Measured(way, each, beside, switch_ns, services, switch_is))
        return found


def _too_few(row: Mapping[str, Any], what: str, found: int, tasks: int) -> Lack:
    # Requests go round a configuration's tasks: each of those that count may have been met once more than its share
    # here, and once less in the longer run.
    times = (FOR_A_P95 + tasks) / max(1, found - tasks)
    return Lack(f"{row['deployment']}: a p95 needs {FOR_A_P95} {what}, not {found}", "longer", times)


def _swap(row: Mapping[str, Any]) -> tuple[int, str]:
    """What bringing another adapter in is planned with, in nanoseconds, and what that is."""
    loads = row["adapter_loads"]
    if loads < FOR_A_P95:
        return row["longest_adapter_load_ns"], f"longest of {count(loads, 'adapter load')}"
    return math.ceil(row["adapter_load_ns"]), f"p95 of {loads:,} adapter loads"


def _pair(one: str, other: str) -> Pair:
    """The two as `PAIRS` has them."""
    return (one, other) if (one, other) in PAIRS else (other, one)


def _both_ways(one: Comparison, other: Comparison) -> Comparison:
    """A pair that was compared in both directions: it is told apart only if both say so, and alike.

    The two need not agree: where one strategy has more configurations, other visits enter.
    """
    other = other.seen_from(one.strategy)
    if one.decides and other.decides and one.verdict != other.verdict:
        low, high = min(one.low, other.low), max(one.high, other.high)
        return dataclasses.replace(one, low=low, high=high, verdict="inconclusive", decides=False)
    return min(one, other, key=lambda c: (c.decides, c.verdict != "inconclusive"))


def _through(one: Comparison, other: Comparison) -> Comparison:
    """Two strategies compared with one reference: their ratio, within the widest that both intervals allow."""
    low = one.low / other.high
    high = one.high / other.low if other.low else math.inf
    verdict = "slower" if low > 1 else "faster" if high < 1 else "inconclusive"
    return Comparison(
        one.strategy,
        other.strategy,
        one.ratio / other.ratio,
        low,
        high,
        verdict,
        verdict != "inconclusive",
        one.reference,
    )


def _within_margin(compared: Comparison, margin: float) -> Comparison:
    """A difference that surely lies within the margin is one that nobody has to act on, as in `stats.verdict`."""
    if 1 / margin < compared.low and compared.high < margin:
        return dataclasses.replace(compared, verdict="equivalent", decides=False)
    return compared


def _latency_classes(compared: Mapping[Pair, Comparison]) -> dict[str, tuple[str, ...]]:
    """Strategies that the run cannot tell apart, directly or by way of others, are one class."""
    classes = {name: {name} for name in STRATEGIES}
    for one, other in PAIRS:
        told_apart = (one, other) in compared and compared[one, other].decides
        if not told_apart and classes[one] is not classes[other]:
            classes[one] |= classes[other]
            for name in classes[one]:
                classes[name] = classes[one]
    return {name: tuple(one for one in STRATEGIES if one in same) for name, same in classes.items()}
