"""What a server carries within limits on first and further tokens, as measured under loads, and the GPUs for it.

Section 8 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from raybench.analysis import Limits
from raybench.decide.advice import gigabytes
from raybench.decide.capacity import WAYS, Way, gpus_needed
from raybench.decide.queueing import ROUNDING
from raybench.records import in_percent

GOOD: Final = 0.95
"""The share of requests that must keep the limits for a load to be carried, as for `--slo-p95`."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServedNeeds:
    """What is to be served by servers. ``ttft_s``, ``tpot_s``: what a request must keep, seconds; None: no such limit.

    ``requests_per_second``: good ones, over all tasks together. ``gpu_price``: of one GPU for an hour.
    """

    tasks: int
    gpu_memory_bytes: int
    requests_per_second: float
    ttft_s: float | None = None
    tpot_s: float | None = None
    gpu_price: float | None = None

    @property
    def limits(self) -> Limits:
        """In milliseconds."""
        return Limits(*(None if s is None else s * 1e3 for s in (self.ttft_s, self.tpot_s)))


@dataclasses.dataclass(frozen=True, slots=True)
class ServedWay:
    """One way to deploy on servers. Memory in bytes; rates of one GPU.

    ``deployment``, ``load``: where goodput was highest of the loads that are carried; of a way that carries none, where
    most requests were good. ``goodput_per_s``: good requests a second there, with its 95 % interval over visits (None
    where nothing tells how far these differ). ``gpus``: by it; ``gpus_most``: by its lower end, None where that is not
    known or 0; ``gpus_least``: by its upper one. ``binds``: as of the other ways. ``why_not``: why it is not feasible.
    """

    way: str
    label: str
    strategy: str
    deployment: str
    load: str
    good_share: float
    goodput_per_s: float
    goodput_per_s_low: float | None
    goodput_per_s_high: float | None
    gpus: int | None
    gpus_least: int | None
    gpus_most: int | None
    tasks_per_gpu: int
    bytes_each: int
    bytes_beside: int
    adapters: int
    binds: str
    cost_per_million_requests: float | None
    why_not: str | None


def served_ways(
    rows: Sequence[Mapping[str, Any]], memory: Sequence[Mapping[str, Any]], needs: ServedNeeds, on_cpu: bool
) -> list[ServedWay]:
    """Each way whose strategy was measured under a load, in the order that breaks ties.

    ``rows``: of the table ``goodput``, by the limits of ``needs``. ``memory``: of `sql/decide_served.sql`. Of several
    numbers of adapters the largest stands for all.
    """
    by_deployment = {row["deployment"]: row for row in rows if row.get("goodput_per_s") is not None}
    found = []
    for way in WAYS:
        of = [one for one in memory if one["strategy"] == way.strategy and one["deployment"] in by_deployment]
        most = max((one["adapters"] for one in of), default=0)
        of = [one for one in of if one["adapters"] == most]
        if not of or way.sharing == "swap":
            continue
        loads = [(by_deployment[one["deployment"]], one) for one in of]
        carried = [(row, one) for row, one in loads if row["good_share"] >= GOOD - ROUNDING]
        row, one = (
            max(carried, key=lambda pair: pair[0]["goodput_per_s"])
            if carried
            else max(loads, key=lambda pair: pair[0]["good_share"])
        )
        found.append(_counted(way, row, one, needs, on_cpu, is_carried=bool(carried)))
    return found


def best_served(ways: Sequence[ServedWay]) -> ServedWay | None:
    """The one that needs the fewest GPUs as measured, ties in the order of ``ways``; None: none is feasible."""
    return min((way for way in ways if way.gpus is not None), key=lambda way: way.gpus or 0, default=None)


def _counted(
    way: Way, row: Mapping[str, Any], memory: Mapping[str, Any], needs: ServedNeeds, on_cpu: bool, is_carried: bool
) -> ServedWay:
    each, beside = _memory(way, memory, on_cpu)
    fit = max(0, (needs.gpu_memory_bytes - beside) // each) if each > 0 else 0
    rates = [row["goodput_per_s"], row["goodput_per_s_high"], row["goodput_per_s_low"]]
    gpus, least, most = (_gpus(needs, fit, rate if is_carried else None) for rate in rates)
    by_load = _gpus(needs, None, row["goodput_per_s"]) if is_carried else None
    why_not = [*_why_not(row, needs, is_carried), *([] if fit else [_no_room(each, beside)])]
    return ServedWay(
        way=way.name,
        label=way.label,
        strategy=way.strategy,
        deployment=row["deployment"],
        load=row["load"],
        good_share=row["good_share"],
        goodput_per_s=row["goodput_per_s"],
        goodput_per_s_low=row["goodput_per_s_low"],
        goodput_per_s_high=row["goodput_per_s_high"],
        gpus=gpus,
        gpus_least=least,
        gpus_most=most,
        tasks_per_gpu=fit,
        bytes_each=each,
        bytes_beside=beside,
        adapters=memory["adapters"],
        binds=_binds(gpus, gpus_needed(needs.tasks, 1, fit) if fit else None, by_load),
        cost_per_million_requests=None
        if gpus is None or needs.gpu_price is None
        else gpus * needs.gpu_price / 3600 / needs.requests_per_second * 1e6,
        why_not="; ".join(why_not) or None,
    )


def _memory(way: Way, row: Mapping[str, Any], on_cpu: bool) -> tuple[int, int]:
    """Of one more task, and beside the tasks. On a GPU the weights alone: what a process keeps is the host's."""
    kept = math.ceil(max(row["resident_bytes"], row["parameter_bytes"]) if on_cpu else row["parameter_bytes"])
    transient = max(row["load_peak_bytes"] - kept, row["forward_peak_bytes"], 0) if on_cpu else 0
    if way.sharing != "adapters":
        return kept, transient
    each = -(-row["adapter_bytes"] // row["adapters"])
    return each, transient + kept - row["adapters"] * each


def _gpus(needs: ServedNeeds, fit: int | None, rate: float | None) -> int | None:
    """By what one GPU carries and how many tasks fit (None: whatever fits)."""
    if fit == 0 or rate is None or rate <= 0:
        return None
    by_load = max(1, math.ceil(needs.requests_per_second / rate - ROUNDING))
    return gpus_needed(needs.tasks, by_load, fit)


def _no_room(each: int, beside: int) -> str:
    if each <= 0:
        return "how much memory it takes is not known, as of a server that ran already"
    return f"memory: one task needs {gigabytes(each + beside)}"


def _why_not(row: Mapping[str, Any], needs: ServedNeeds, is_carried: bool) -> Iterator[str]:
    if not is_carried:
        at_most = f"{in_percent(row['good_share'], '.1f')} at most"
        yield f"limits: at no load {in_percent(GOOD)} of requests are within {limit_words(needs)}, {at_most}"


def _binds(gpus: int | None, by_memory: int | None, by_load: int | None) -> str:
    """What would take fewer GPUs if it were lifted: both where lifting one of them is not enough."""
    if gpus is None or gpus == 1 or by_memory is None or by_load is None:
        return "nothing"
    memory, load = by_load < gpus, by_memory < gpus
    return "memory and load" if memory == load else "memory" if memory else "load"


def limit_words(needs: ServedNeeds) -> str:
    """``TTFT 200 ms and TPOT 20 ms``."""
    asked = (("TTFT", needs.ttft_s), ("TPOT", needs.tpot_s))
    return " and ".join(f"{name} {seconds * 1e3:.4g} ms" for name, seconds in asked if seconds is not None)
