"""How sure a run is of how fast a strategy is: its mean wall time over visits, with several GPUs over GPUs.

Section 2 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from raybench.analysis import Estimate, from_blocks


class Reach(NamedTuple):
    """How many times as long as measured a strategy's requests may take: the ends of a 95 % interval around 1.

    (0, inf) where nothing says how far visits differ.
    """

    low: float
    high: float


def reach(speed: Estimate) -> Reach:
    """The interval of a strategy's speed, relative to what was measured."""
    high = 1 + speed.halfwidth()
    return Reach(1 / high, high)


def speed_of(visits: Iterable[Mapping[str, Any]], tasks: Collection[str]) -> Estimate:
    """The log of the mean wall time, in nanoseconds, over ``tasks``, each counting alike; a visit is the unit.

    ``visits``: of one deployment, as `sql/decide_levels.sql` gives them. Configurations are blocks of their own, each
    weighing what it adds to the mean.
    """
    means: dict[str, dict[tuple[int, str], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in visits:
        if row["task"] in tasks:
            means[row["configuration"]][row["round"], row["device"]][row["task"]] = row["mean_ns"]
    levels: dict[str, dict[str, list[float]]] = {}
    served: dict[str, set[str]] = {}
    for name, by_visit in means.items():
        of_name = levels[name] = defaultdict(list)
        for (_, device), by_task in by_visit.items():
            of_name[device].append(math.log(math.fsum(by_task.values()) / len(by_task)))
        served[name] = {task for by_task in by_visit.values() for task in by_task}
    serving = Counter(task for of_name in served.values() for task in of_name)
    shares = {
        name: math.fsum(1 / serving[task] for task in served[name]) * _mean(by_device)
        for name, by_device in levels.items()
    }
    return from_blocks(levels, {name: share / math.fsum(shares.values()) for name, share in shares.items()})


def _mean(by_device: Mapping[str, list[float]]) -> float:
    logs = [log for of_device in by_device.values() for log in of_device]
    return math.exp(math.fsum(logs) / len(logs))
