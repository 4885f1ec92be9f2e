"""What a run holds of each strategy: its memory, its service times and how sure they are; and what it lacks.

Sections 1, 2 and 4 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from raybench.analysis import Estimate, Tables, shipped_sql
from raybench.decide.capacity import STRATEGIES, WAYS, Measured
from raybench.decide.queueing import Service
from raybench.decide.speed import speed_of
from raybench.records import INFRASTRUCTURE, InputError, count
from raybench.report import brief_failure

FOR_A_P95: Final = 130
"""`samples_needed` for it; a number, since working it out takes scipy, which takes a second to import."""

Remedy = Literal["another plan", "another adapter", "mend", "report", "longer", "resume"]


class Lack(NamedTuple):
    """What advice needs and a run has not got, in words, and what brings it.

    ``another plan``: one with the strategy, or with tasks in common. ``another adapter``: beside the one that the run's
    plan was written from. ``mend``: what made a configuration fail.
    ``report``: a strategy that reports the number. ``longer``: a run ``times`` as long. ``resume``: this run's rest.
    """

    what: str
    remedy: Remedy
    times: float = 1.0


class Evidence:
    """What a run holds of each strategy, and what it lacks.

    ``lacks``: what advice needs and is not there; `measured` is not to be asked while there is any.
    ``rows``: of each strategy the deployment that stands for it, as `sql/decide_deployments.sql` finds it. ``tasks``:
    those that every strategy served. ``services``: how long each strategy took on them; ``speeds``: how sure that is.
    ``devices``: what measured; ``on_cpu``: whether a CPU was among them. ``left_out``: batches of other configurations,
    which are not looked at: advice is for one prompt at a time. ``output_tokens``: what a language model generated for
    a request, on average; None for a classifier.

    Raises InputError where no configuration serves one prompt at a time.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        measured_by = tables.rows("SELECT DISTINCT device_name, device LIKE 'cpu@%' AS cpu FROM visits ORDER BY ALL")
        self.devices = ", ".join(dict.fromkeys(row["device_name"] for row in measured_by))
        self.on_cpu = any(row["cpu"] for row in measured_by)
        batches = [row["batch"] for row in tables.rows("SELECT DISTINCT batch FROM configurations ORDER BY ALL")]
        self.left_out = tuple(batch for batch in batches if batch > 1)
        if len(self.left_out) == len(batches):
            listed = ", ".join(map(str, batches))
            raise InputError(
                f"{tables.root}: every configuration serves batches (of {listed}), and advice is for one prompt at a "
                "time; measure a plan with 1 among its batches"
            )
        (generated,) = tables.rows("SELECT avg(output_tokens) AS n FROM by_configuration WHERE batch = 1")
        self.output_tokens: float | None = generated["n"]
        self.lacks: list[Lack] = []
        self.rows = self._rows()
        self.tasks: tuple[str, ...] = ()
        self.services: dict[str, Service] = {}
        self.speeds: dict[str, Estimate] = {}
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
        what = f"{row['deployment']}: {row['complete']} of {count(row['configurations'], 'configuration')} complete"
        failed = [
            f"{one['configuration']} failed ({brief_failure(str(one['failure']), 120)})"
            for one in self.tables.rows(shipped_sql("decide_incomplete"))
            if one["deployment"] == row["deployment"] and (one["lost_rounds"] or set(one["kinds"]) - INFRASTRUCTURE)
        ]
        if not failed:
            return Lack(f"{what}, the rest not measured to the end yet", "resume")
        more = f" and {len(failed) - 1:,} more" if len(failed) > 1 else ""
        return Lack(f"{what}; {failed[0]}{more}", "mend")

    def _absent(self, strategy: str) -> Lack:
        rows = self.tables.rows(
            f"SELECT DISTINCT role, batch FROM configurations WHERE strategy = '{strategy}' ORDER BY ALL"  # noqa: S608  a fixed name
        )
        if not rows and strategy == "multi_lora" and self.tables.description.written_from.count("--adapter") == 1:
            return Lack(f"{strategy}: not in this run, which has one adapter", "another adapter")
        if not rows:
            return Lack(f"{strategy}: not in this run", "another plan")
        roles = ", ".join(dict.fromkeys(row["role"] for row in rows if row["role"] != strategy))
        if not roles:
            batches = ", ".join(str(row["batch"]) for row in rows)
            return Lack(f"{strategy}: in this run only in batches of {batches}, not of 1", "another plan")
        return Lack(f"{strategy}: in this run only as {roles}, and advice rests on none of these", "another plan")

    def _serve(self) -> None:
        """The service times of each strategy on the tasks that all of them served, each task counting alike."""
        visits = self.tables.rows(shipped_sql("decide_levels"))
        of_deployment = {
            name: [visit for visit in visits if visit["deployment"] == row["deployment"]]
            for name, row in self.rows.items()
        }
        self.tasks = tuple(sorted(set.intersection(*({v["task"] for v in of} for of in of_deployment.values()))))
        if not self.tasks:
            self.lacks.append(Lack("no task was served by every strategy", "another plan"))
            return
        for name, row in self.rows.items():
            query = shipped_sql("decide_latencies")
            times = self.tables.query(query, [row["deployment"], list(self.tasks)])
            task, n = times["place"].to_numpy() - 1, times["n"].to_numpy()
            samples = np.bincount(task, n, len(self.tasks))
            if samples.sum() < FOR_A_P95:
                self.lacks.append(_too_few(row, "requests", int(samples.sum()), len(self.tasks)))
            elif name == "multi_lora" and row["switches"] < FOR_A_P95:
                self.lacks.append(_too_few(row, "switches", row["switches"], len(self.tasks)))
            else:
                self.services[name] = Service(times["wall_ns"].to_numpy(), n / samples[task] / len(self.tasks))
                self.speeds[name] = speed_of(of_deployment[name], self.tasks)

    def measured(self) -> list[Measured]:
        """Each way in numbers: its own, whatever it is compared with."""
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
            service, speed = self.services[way.strategy], self.speeds[way.strategy]
            found.append(Measured(way, each, beside, switch_ns, service, speed, switch_is))
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
