"""What a run holds of each strategy: its memory and service times, and from which others its latency is told apart.

Sections 1, 2 and 4 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raybench.advice import Comparison, WayResult
from raybench.capacity import STRATEGIES, WAYS, Measured
from raybench.needs import Needs
from raybench.percentiles import samples_needed
from raybench.queueing import Service
from raybench.tables import Tables, shipped_sql


class Evidence:
    """What a run holds of each strategy, and what it lacks.

    ``missing``: what advice needs and the run lacks, in words; `measured` is not to be asked while there is any.
    ``rows``: of each strategy the deployment that stands for it, as `sql/decide_deployments.sql` finds it. ``tasks``:
    those that every strategy served. ``services``: how long each strategy took on them. ``devices``: what measured.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.devices = ", ".join(
            row["device_name"] for row in tables.rows("SELECT DISTINCT device_name FROM visits ORDER BY ALL")
        )
        self.missing: list[str] = []
        self.rows = self._rows()
        self.tasks: tuple[str, ...] = ()
        self.services: dict[str, Service] = {}
        if not self.missing:
            self._serve()

    def _rows(self) -> dict[str, dict[str, Any]]:
        """The deployment that stands for each strategy: of several, the one that held the most adapters."""
        chosen: dict[str, dict[str, Any]] = {}
        for row in self.tables.rows(shipped_sql("decide_deployments")):
            if row["strategy"] not in STRATEGIES:
                continue
            if row["complete"] < row["configurations"]:
                self.missing.append(
                    f"{row['deployment']}: {row['complete']} of {row['configurations']} configurations complete"
                )
            kept = chosen.get(row["strategy"])
            if kept is None or row["adapters"] > kept["adapters"]:
                chosen[row["strategy"]] = row
        self.missing += [f"{name}: not in this run" for name in STRATEGIES if name not in chosen]
        if self.missing:
            return chosen
        needed = {name: ["parameter_bytes"] for name in STRATEGIES}
        needed["lora_separate"] += ["adapter_load_ns"]
        needed["multi_lora"] += ["adapter_bytes", "switch_ns"]
        self.missing = [
            f"{chosen[name]['deployment']}: {column} was not measured"
            for name, columns in needed.items()
            for column in columns
            if chosen[name][column] is None or (column.endswith("_bytes") and chosen[name][column] <= 0)
        ]
        return chosen

    def _serve(self) -> None:
        """The service times of each strategy on the tasks that all of them served, each task counting alike."""
        table = self.tables.query(shipped_sql("decide_latencies"))
        deployment, task = (np.asarray(table[name].to_pylist(), dtype=str) for name in ("deployment", "task"))
        wall_ns = table["wall_ns"].to_numpy()
        served = {name: set(task[deployment == row["deployment"]].tolist()) for name, row in self.rows.items()}
        self.tasks = tuple(sorted(set.intersection(*served.values())))
        if not self.tasks:
            self.missing.append("no task was served by every strategy")
        for name, row in self.rows.items():
            parts = [wall_ns[(deployment == row["deployment"]) & (task == one)] for one in self.tasks]
            samples = sum(part.size for part in parts)
            if self.tasks and samples < samples_needed(95.0):
                self.missing.append(f"{row['deployment']}: a p95 needs {samples_needed(95.0)} requests, not {samples}")
            elif self.tasks:
                weights = np.concatenate([np.full(part.size, 1 / part.size / len(parts)) for part in parts])
                values = np.concatenate(parts)
                order = np.argsort(values, kind="stable")
                self.services[name] = Service(values[order], weights[order])

    def comparisons(self) -> dict[tuple[str, str], Comparison]:
        """Each pair of strategies by mean wall time: directly where the run compared them, else through a third."""
        strategies = {row["deployment"]: name for name, row in self.rows.items()}
        found: dict[tuple[str, str], Comparison] = {}
        for row in self.tables.rows("SELECT * FROM by_strategy WHERE clock = 'wall' AND verdict IS NOT NULL"):
            pair = (strategies.get(row["deployment"], ""), row["reference_strategy"])
            if pair[0] and pair[1] in STRATEGIES:
                decides = row["verdict"] in ("slower", "faster")
                found[pair] = Comparison(*pair, row["ratio"], row["low"], row["high"], row["verdict"], decides)
        direct = dict(found)
        for i, one in enumerate(STRATEGIES):
            for other in STRATEGIES[:i]:
                if (one, other) not in direct and (other, one) not in direct:
                    through = [
                        _through(direct[one, third], direct[other, third])
                        for third in STRATEGIES
                        if (one, third) in direct and (other, third) in direct
                    ]
                    if through:
                        found[one, other] = min(through, key=lambda c: (not c.decides, c.high - c.low))
        margin = 1 + self.tables.margin
        return {pair: _within_margin(c, margin) if c.through else c for pair, c in found.items()}

    def measured(self, compared: Mapping[tuple[str, str], Comparison]) -> list[Measured]:
        """Each way in numbers."""
        classes = _latency_classes(compared)
        found = []
        for way in WAYS:
            row, same = self.rows[way.strategy], classes[way.strategy]
            resident = math.ceil(max(row["resident_bytes"], row["parameter_bytes"]))
            transient = max(row["load_peak_bytes"] - resident, row["forward_peak_bytes"], 0)
            each, beside, switch_ns = resident, transient, 0
            if way.sharing == "adapters":
                each = -(-row["adapter_bytes"] // row["adapters"])
                beside += resident - row["adapters"] * each
                switch_ns = math.ceil(row["switch_ns"])
            elif way.sharing == "swap":
                switch_ns = math.ceil(row["adapter_load_ns"])
            services = tuple(self.services[name] for name in same)
            others = tuple(name for name in same if name != way.strategy)
            found.append(Measured(way, each, beside, switch_ns, services, others))
        return found

    def cautions(
        self, needs: Needs, ways: Sequence[WayResult], compared: Mapping[tuple[str, str], Comparison]
    ) -> tuple[str, ...]:
        """What the reader should know before they act on the advice."""
        if self.missing:
            return ()
        found = [f"Measured on {self.devices}, {', '.join(self.tasks)}: it holds for such devices and requests."]
        if any(device.startswith("cpu") for device in self._device_ids()):
            found.append("A CPU measured this; memory is its process's and no GPU's. Measure on the GPU you mean.")
        held = self.rows["multi_lora"]["adapters"]
        several = next(way for way in ways if way.way == "multi_adapter")
        if several.feasible and min(needs.tasks, several.tasks_per_gpu or 0) > held:
            found.append(f"At most {held} adapters shared a base in this run; more are taken to be as fast as those.")
        unsure = [pair for pair, comparison in compared.items() if comparison.verdict == "inconclusive"]
        if unsure:
            found.append(f"Inconclusive: {' against '.join(unsure[0])}. More rounds (--rounds) would settle it.")
        if needs.switches is None and needs.tasks > 1:
            found.append("No --switches given: every request is taken to ask for another task than the one before.")
        return tuple(found)

    def _device_ids(self) -> set[str]:
        return {row["device"] for row in self.tables.rows("SELECT DISTINCT device FROM visits")}


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


def _latency_classes(compared: Mapping[tuple[str, str], Comparison]) -> dict[str, tuple[str, ...]]:
    """Strategies that the run cannot tell apart, directly or by way of others, are one class."""
    classes = {name: {name} for name in STRATEGIES}
    told_apart = {frozenset(pair) for pair, comparison in compared.items() if comparison.decides}
    for one in STRATEGIES:
        for other in STRATEGIES:
            if frozenset((one, other)) not in told_apart and classes[one] is not classes[other]:
                classes[one] |= classes[other]
                for name in classes[one]:
                    classes[name] = classes[one]
    return {name: tuple(one for one in STRATEGIES if one in same) for name, same in classes.items()}
