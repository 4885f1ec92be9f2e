"""From a run's measured latencies and memory to advice: merge, separate, several adapters on one base, or full.

`docs/decide.md` states the rule with its formulas, sources and limits; names here are those used there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from raybench.advice import (
    Advice,
    Comparison,
    Growth,
    WayResult,
    advice_to_dict,
    count,
    deciding_numbers,
    milliseconds,
    reasons,
    render,
    sentence,
)
from raybench.percentiles import samples_needed
from raybench.records import InputError
from raybench.tables import Tables, shipped_sql
from raybench.terminal import open_console

_LATE: Final = 0.05
"""The share of requests that a p95 leaves above it."""

_ROUNDING: Final = 1e-9
"""A load this near a whole number of GPUs is that number; shares this near are equal."""

_MOST_TASKS: Final = 10**9

_BYTES: Final = {f"{p}{b}": s**i for b, s in (("B", 1000), ("iB", 1024)) for i, p in enumerate("KMGT", 1)}
_SECONDS: Final = {"us": Decimal("1e-6"), "ms": Decimal("1e-3"), "s": Decimal(1)}


class Way(NamedTuple):
    """A way to deploy: the strategy whose measurements it rests on, and how tasks share a GPU.

    ``copies``: a whole model for each task. ``adapters``: one base, an adapter for each task, all resident.
    ``swap``: one base, one adapter at a time, the others read when their task is asked for.
    """

    name: str
    label: str
    strategy: str
    sharing: Literal["copies", "adapters", "swap"]
    virtue: str


WAYS: Final = (
    Way("merged", "Merge", "lora_merged", "copies", "a plain model that computes and switches no adapter"),
    Way(
        "multi_adapter",
        "Several adapters on one base",
        "multi_lora",
        "adapters",
        "adapters come and go on one base that stays",
    ),
    Way("separate_swapped", "Separate, adapters swapped", "lora_separate", "swap", "one adapter in memory at a time"),
    Way("full_ft", "Full fine-tunes", "full_ft", "copies", "plain models, each trained and stored in full"),
    Way(
        "separate_copies",
        "Separate, a base for each task",
        "lora_separate",
        "copies",
        "adapters stay apart from their bases",
    ),
)
"""In the order that breaks ties: what asks the least of whoever runs it stands first."""

STRATEGIES: Final = tuple(dict.fromkeys(way.strategy for way in WAYS))


@dataclasses.dataclass(frozen=True, slots=True)
class Needs:
    """What is to be served.

    ``tasks``: fine-tunes. ``requests_per_second``: over all tasks together. ``slo_p95_s``: seconds within which 95 %
    of requests must be answered, waiting and switching included. ``gpu_memory_bytes``: of one GPU, free for models.
    ``switches``: the share (0 to 1) of consecutive requests on a GPU that ask for another task than the one before;
    None takes the worst, 1. With one task there are none. ``gpu_price``: of one GPU for an hour, in any currency.

    Raises InputError where one of them cannot be.
    """

    tasks: int
    gpu_memory_bytes: int
    slo_p95_s: float
    requests_per_second: float
    switches: float | None = None
    gpu_price: float | None = None

    def __post_init__(self) -> None:
        for name in ("tasks", "gpu_memory_bytes", "slo_p95_s", "requests_per_second", "gpu_price"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} must be a finite number above 0, not {value}")
        if self.tasks != int(self.tasks) or self.tasks > _MOST_TASKS:
            raise InputError(f"tasks must be a whole number from 1 to {_MOST_TASKS:,}, not {self.tasks}")
        if round(self.slo_p95_s * 1e9) < 1:
            raise InputError(f"slo_p95_s must be at least a nanosecond, not {self.slo_p95_s}")
        if self.switches is not None and not 0 <= self.switches <= 1:
            raise InputError(f"switches must be a share from 0 to 1, not {self.switches}")

    @property
    def switch_share(self) -> float:
        """The share of requests that find another task's adapter active."""
        if self.tasks == 1:
            return 0.0
        return 1.0 if self.switches is None else self.switches


def parse_bytes(text: str, option: str = "memory") -> int:
    """``24GB`` (10^9 bytes each) or ``24GiB`` (2^30 each) as bytes. Raises InputError."""
    number, unit = _number_and_unit(text)
    if number is None or unit not in _BYTES or not (size := int(number * _BYTES[unit])):
        raise InputError(f"{option}: expected a size above 0 with its unit, as 24GB or 24GiB, not {text!r}")
    return size


def parse_seconds(text: str, option: str = "time") -> float:
    """``40ms`` or ``0.04s`` as seconds. Raises InputError."""
    number, unit = _number_and_unit(text)
    if number is None or unit not in _SECONDS or not 0 < (seconds := float(number * _SECONDS[unit])) < math.inf:
        raise InputError(f"{option}: expected a time above 0 with its unit, as 40ms or 0.04s, not {text!r}")
    return seconds


def parse_positive(text: str, option: str) -> float:
    """A plain number above 0. Raises InputError."""
    number, unit = _number_and_unit(text)
    if number is None or unit or not 0 < (value := float(number)) < math.inf:
        raise InputError(f"{option}: expected a number above 0, not {text!r}")
    return value


def parse_tasks(text: str, option: str = "tasks") -> int:
    """A whole number from 1. Raises InputError."""
    if not re.fullmatch(r"[0-9]{1,10}", text.strip()) or not 1 <= int(text) <= _MOST_TASKS:
        raise InputError(f"{option}: expected a whole number from 1 to {_MOST_TASKS:,}, not {text!r}")
    return int(text)


def parse_share(text: str, option: str) -> float:
    """``0.3`` or ``30%`` as a share from 0 to 1. Raises InputError."""
    number, unit = _number_and_unit(text)
    share = math.nan if number is None or unit not in ("", "%") else float(number / (100 if unit else 1))
    if not 0 <= share <= 1:
        raise InputError(f"{option}: expected a share from 0 to 1 or from 0% to 100%, not {text!r}")
    return share


def _number_and_unit(text: str) -> tuple[Decimal | None, str]:
    # Short on purpose: a number of a thousand digits is nothing that anyone means.
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{0,15})?(?:[eE][+-]?[0-9]{1,2})?)\s*([A-Za-z%]*)", text.strip())
    return (Decimal(found[1]), found[2]) if found else (None, "")


@dataclasses.dataclass(frozen=True, eq=False)
class Service:
    """How long requests take a GPU: measured wall times (nanoseconds, ascending), their weights (sum 1), a switch."""

    wall_ns: NDArray[np.int64]
    weights: NDArray[np.float64]

    def p95_s(self, switch_ns: int, share: float) -> float:
        """The smallest time within which 95 % of requests are served, a ``share`` of them after a switch. Seconds."""
        values, weights = self._mixed(switch_ns, share)
        order = np.argsort(values, kind="stable")
        reached = np.cumsum(weights[order]) >= 1 - _LATE - _ROUNDING
        return float(values[order][np.argmax(reached)]) / 1e9

    def requests_per_second(self, switch_ns: int, share: float, slo_ns: int) -> float:
        """The most Poisson arrivals a second that one GPU serves, one by one, with 95 % answered within ``slo_ns``.

        M/G/1: an arrival waits with probability rho = load x mean service; mean wait by Pollaczek and Khinchine; the
        wait's tail taken as exponential; then the wait and the measured service times are added up exactly (they are
        independent). 0 where the service times alone leave no room. Source: docs/decide.md.
        """
        values, weights = self._mixed(switch_ns, share)
        within = values <= slo_ns
        over = float(weights[~within].sum())
        if over >= _LATE - _ROUNDING:
            return 0.0
        mean = float(weights @ values)
        # The residual service time is not always longer with more switches, though waits are: the longer of the two.
        residual = max(_residual(values, weights), _residual(self.wall_ns.astype(float), self.weights))
        slack, weight = (slo_ns - values[within]) / residual, weights[within]

        def late(rho: float) -> float:
            return over + rho * float(weight @ np.exp(-(1 - rho) * slack)) - _LATE

        rho = float(optimize.brentq(late, 0.0, 1.0, xtol=1e-14))
        return rho / mean * 1e9

    def _mixed(self, switch_ns: int, share: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        values = self.wall_ns.astype(float)
        if share == 0 or switch_ns == 0:
            return values, self.weights
        return np.concatenate([values, values + switch_ns]), np.concatenate(
            [(1 - share) * self.weights, share * self.weights]
        )


def _residual(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Mean time that a request in service still takes when another arrives: E[S^2] / (2 E[S])."""
    return float(weights @ values**2 / (2 * (weights @ values)))


def gpus_needed(tasks: int, by_load: int, tasks_per_gpu: int | None) -> int:
    """GPUs that suffice however the load is split over the tasks, and that the worst split needs.

    ``by_load``: GPUs that the load alone needs. A task whose load takes several GPUs is on several of them and takes
    a place on each; in the worst case that is ``by_load - 1`` more places than tasks. Proof: docs/decide.md.
    """
    if tasks_per_gpu is None:
        return by_load
    return max(by_load, -(-(tasks + by_load - 1) // tasks_per_gpu))


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """What the run says of one way: memory in bytes, the service times of its latency class, a switch.

    ``each``: bytes that one more task takes. ``beside``: bytes that are needed once, whatever the number of tasks.
    """

    way: Way
    each: int
    beside: int
    switch_ns: int
    services: tuple[Service, ...]
    same_latency_as: tuple[str, ...] = ()
    carried: dict[tuple[float, int], float] = dataclasses.field(default_factory=dict)

    def tasks_per_gpu(self, memory_bytes: int) -> int | None:
        """How many tasks fit; 0: not one; None: any number."""
        fit = max(0, (memory_bytes - self.beside) // self.each)
        return None if fit and self.way.sharing == "swap" else fit

    def requests_per_second(self, needs: Needs) -> float:
        """The most that one GPU carries within the SLO; 0: the service times do not allow it at any load."""
        key = (needs.switch_share, round(needs.slo_p95_s * 1e9))
        if key not in self.carried:
            self.carried[key] = min(s.requests_per_second(self.switch_ns, *key) for s in self.services)
        return self.carried[key]

    def p95_s(self, needs: Needs) -> float:
        """The p95 of a request and its share of switches, without waiting, in seconds."""
        return max(s.p95_s(self.switch_ns, needs.switch_share) for s in self.services)

    def by_load(self, needs: Needs) -> int | None:
        """GPUs that the load alone needs; None: the service times do not allow the SLO at any load."""
        carried = self.requests_per_second(needs)
        if not carried:
            return None
        return max(1, math.ceil(needs.requests_per_second / carried - _ROUNDING))

    def gpus(self, needs: Needs) -> int | None:
        """GPUs needed; None: not feasible."""
        fit, by_load = self.tasks_per_gpu(needs.gpu_memory_bytes), self.by_load(needs)
        return None if fit == 0 or by_load is None else gpus_needed(needs.tasks, by_load, fit)

    def result(self, needs: Needs) -> WayResult:
        """The way, counted for ``needs``."""
        fit, by_load, gpus = self.tasks_per_gpu(needs.gpu_memory_bytes), self.by_load(needs), self.gpus(needs)
        p95_s = self.p95_s(needs)
        by_memory = None if fit == 0 else gpus_needed(needs.tasks, 1, fit)
        why_not = None
        if fit == 0:
            why_not = f"memory: one task needs {(self.each + self.beside) / 1e9:.4g} GB"
        elif by_load is None:
            late = p95_s > needs.slo_p95_s
            why_not = f"slo: p95 {milliseconds(p95_s)} " + ("is above it" if late else "leaves no time to wait")
        cost = None
        if gpus is not None and needs.gpu_price is not None:
            cost = gpus * needs.gpu_price / 3600 / needs.requests_per_second * 1e6
        return WayResult(
            way=self.way.name,
            label=self.way.label,
            strategy=self.way.strategy,
            feasible=gpus is not None,
            gpus=gpus,
            gpus_by_memory=by_memory,
            gpus_by_load=by_load,
            tasks_per_gpu=fit,
            bytes_each=self.each,
            bytes_beside=self.beside,
            requests_per_second_per_gpu=self.requests_per_second(needs),
            p95_s=p95_s,
            switch_s=self.switch_ns / 1e9,
            binds="memory" if fit == 0 else "slo" if by_load is None else _binds(gpus, by_memory, by_load),
            cost_per_million_requests=cost,
            growth=None if gpus is None else self._growth(needs, gpus),
            same_latency_as=self.same_latency_as,
            why_not=why_not,
        )

    def _growth(self, needs: Needs, gpus: int) -> Growth:
        fit = self.tasks_per_gpu(needs.gpu_memory_bytes)
        most_by_load = gpus if fit is None else min(gpus, gpus * fit - needs.tasks + 1)
        load = most_by_load * self.requests_per_second(needs)
        tasks_at = self._tasks_at(needs, gpus)
        first = "load"
        if tasks_at is not None and tasks_at / needs.tasks < load / needs.requests_per_second:
            first = "tasks"
        return Growth(tasks_at, load, first)

    def _tasks_at(self, needs: Needs, gpus: int) -> int | None:
        """The fewest tasks that ``gpus`` do not serve; the number of GPUs only grows with tasks, so halve."""

        def enough(tasks: int) -> bool:
            found = self.gpus(dataclasses.replace(needs, tasks=tasks))
            return found is not None and found <= gpus

        low, high = needs.tasks, min(needs.tasks + 1, _MOST_TASKS)
        while enough(high):
            if high >= _MOST_TASKS:
                return None
            low, high = high, min(2 * high, _MOST_TASKS)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if enough(middle) else (low, middle)
        return high


def _binds(gpus: int | None, by_memory: int | None, by_load: int) -> str:
    """What would take fewer GPUs if it were lifted: both where lifting one of them is not enough."""
    if gpus == 1 or gpus is None or by_memory is None:
        return "nothing"
    memory, load = by_load < gpus, by_memory < gpus
    return "memory and load" if memory == load else "memory" if memory else "load"


def decide(tables: Tables, needs: Needs) -> Advice:
    """The way that needs the fewest GPUs, ties broken in the order of `WAYS`; `docs/decide.md` has the rule.

    Where the run lacks what that needs, the advice has no way, and ``missing`` says what it lacks.
    """
    run = _Run(tables)
    compared = run.comparisons() if not run.missing else {}
    measured = run.measured(compared) if not run.missing else []
    ways = tuple(one.result(needs) for one in measured)
    best = min((way for way in ways if way.gpus is not None), key=lambda way: way.gpus or 0, default=None)
    virtue = next((way.virtue for way in WAYS if best is not None and way.name == best.way), "")
    asked = (
        f"{count(needs.tasks, 'task')} at {needs.requests_per_second:g} requests/s "
        f"within p95 {milliseconds(needs.slo_p95_s)}"
    )
    return Advice(
        run=tables.root.name,
        needs={**dataclasses.asdict(needs), "switches": needs.switch_share},
        measured_on=run.devices,
        measured_tasks=run.tasks,
        way=None if best is None else best.way,
        gpus=None if best is None else best.gpus,
        sentence=sentence(asked, best, ways, run.missing),
        because=reasons(best, ways, virtue),
        ways=ways,
        comparisons=_telling(best, compared),
        numbers=deciding_numbers(best, ways),
        cautions=run.cautions(needs, ways, compared),
        missing=tuple(run.missing),
        next_command=_next_command(tables, best, run.missing),
    )


class _Run:
    """What a run holds of each strategy, and what it lacks."""

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


def _telling(best: WayResult | None, compared: Mapping[tuple[str, str], Comparison]) -> tuple[Comparison, ...]:
    """Each pair of strategies once, as the chosen one against the other; without a chosen one, all pairs."""
    found: dict[frozenset[str], Comparison] = {}
    for pair, comparison in compared.items():
        if best is None or best.strategy in pair:
            kept = found.get(frozenset(pair))
            if kept is None or (best is not None and comparison.strategy == best.strategy):
                found[frozenset(pair)] = comparison
    return tuple(found.values())


def _next_command(tables: Tables, best: WayResult | None, missing: Sequence[str]) -> str:
    if missing:
        return (
            "python -m raybench.sweep --plan rq2    (or complete this run: the same command as before, with --resume)"
        )
    run = shlex.quote(str(tables.root))
    if best is None:
        return f"raybench tables {run}    (where the time goes; then a faster GPU or a longer SLO)"
    return f"raybench tables {run}    (all numbers behind this)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``raybench decide`` can be told."""
    parser.add_argument("directory", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--tasks", required=True, metavar="N", help="how many fine-tunes are to be served")
    parser.add_argument("--gpu-memory", required=True, metavar="SIZE", help="of one GPU, free for models: 24GB, 24GiB")
    parser.add_argument(
        "--slo-p95", required=True, metavar="TIME", help="95 %% of requests answered within: 40ms, 0.04s"
    )
    parser.add_argument("--requests-per-second", required=True, metavar="RATE", help="over all tasks together")
    parser.add_argument(
        "--switches",
        metavar="SHARE",
        help="share of a GPU's requests for another task than the one before: 0.3, 30%% (default: the worst, 1)",
    )
    parser.add_argument("--gpu-price", metavar="PRICE", help="of one GPU for an hour, in any currency")
    parser.add_argument("--json", action="store_true", help="for programs")


def needs_of(options: argparse.Namespace) -> Needs:
    """The needs that a command line states. Raises InputError."""
    return Needs(
        tasks=parse_tasks(options.tasks, "--tasks"),
        gpu_memory_bytes=parse_bytes(options.gpu_memory, "--gpu-memory"),
        slo_p95_s=parse_seconds(options.slo_p95, "--slo-p95"),
        requests_per_second=parse_positive(options.requests_per_second, "--requests-per-second"),
        switches=None if options.switches is None else parse_share(options.switches, "--switches"),
        gpu_price=None if options.gpu_price is None else parse_positive(options.gpu_price, "--gpu-price"),
    )


def run(options: argparse.Namespace) -> int:
    """Print the advice. Exit code: 0 answered (also where no way is feasible), 1 where the run lacks what it needs.

    Raises InputError for bad options, before the run is read, and what `Tables` raises.
    """
    needs = needs_of(options)
    advice = decide(Tables(options.directory), needs)
    if options.json:
        sys.stdout.write(json.dumps(advice_to_dict(advice), indent=2, allow_nan=False) + "\n")
    else:
        render(advice, open_console())
    return 1 if advice.missing else 0
