"""Is the time of a classifier's request that of the model, or is some of it ours?

One model, loaded once, is measured in one visit under four names that take turns as any configurations do
(`raybench.visit.turns.take_turns`, turns of one request in balanced orders, garbage collection off). What differs is
who reads the clock: ``ours``, what a visit runs (`raybench.visit.serving.Server`); ``bare``, two readings of a clock
around ``model(**inputs)``; ``torch timer``, ``timeit(1)`` of torch.utils.benchmark.Timer, which calls the model twice
before the call that it times; ``bare again``, a control: what the benchmark cannot tell from nothing. Prints ratios to
``bare`` on the same requests, with 95 % intervals over blocks: of mean times, which stalls of the machine move, and the
median over requests. One thread, on a CPU; about a minute for 4,000 requests of each.

    python benchmarks/timed_region.py [--blocks 20] [--requests 200] [--seed 0] [--raw FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from raw import write_raw
from scipy import stats
from torch.utils.benchmark import Timer

from raybench.deploy.strategies import Deployment
from raybench.machine.device import CpuDevice, Device, Times
from raybench.model.prompts import Prompts
from raybench.model.weights import build
from raybench.model.workload import GlueLengths
from raybench.visit.inputs import make_inputs
from raybench.visit.serving import Served, Server
from raybench.visit.turns import Identity, Subject, schedule, take_turns

WITHIN = 0.005
"""How far from 1.00 the whole interval may reach."""
_WARMUPS = 10
_TASK = "mrpc"


class Bare(Server):
    """Two readings of the clock around the call, and nothing else."""

    def serve(
        self, prompts: Prompts, device: Device, opener: bool = False, names: tuple[str, ...] | None = None
    ) -> Served:
        model, inputs, clock = self.forward, prompts.values, time.perf_counter_ns
        began = clock()
        model(**inputs)
        elapsed = clock() - began
        return Served(Times(began, elapsed, elapsed, None))


@dataclasses.dataclass(frozen=True)
class TorchTimer(Server):
    """``timers``: that of each request, made beforehand."""

    timers: Mapping[int, Timer] = dataclasses.field(default_factory=dict)

    def serve(
        self, prompts: Prompts, device: Device, opener: bool = False, names: tuple[str, ...] | None = None
    ) -> Served:
        if opener:
            return super().serve(prompts, device, opener, names)
        (seconds,) = self.timers[id(prompts)].timeit(1).times
        elapsed = round(seconds * 1e9)
        return Served(Times(device.clock() - elapsed, elapsed, elapsed, None))


def block(model: Any, device: CpuDevice, number: int, count: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Wall nanoseconds of each way, in the order of the requests."""
    workload = GlueLengths(seed)
    requests = tuple(workload.request(_TASK, number * count + i) for i in range(count))
    inputs = make_inputs(requests, "SEQ_CLS", [model], device)
    timers = {
        id(prompts): Timer("model(**inputs)", globals={"model": model, "inputs": prompts.values})
        for prompts in inputs.values()
    }
    ways = {
        "bare": Bare(model),
        "ours": Server.of(Deployment(model, model), {}, None),
        "torch timer": TorchTimer(model, timers=timers),
        "bare again": Bare(model),
    }
    subjects = [Subject(way, server, requests) for way, server in ways.items()]
    steps = schedule(subjects, _WARMUPS, 1, [seed], number)
    taken = take_turns(subjects, steps, inputs, device, Identity("v", "b", 0), on_turn=lambda s: None, on_error=_raise)
    samples = pa.Table.from_batches(list(taken)).filter(pc.field("phase") == "timed").sort_by("request")
    by_way = {way: samples.filter(pc.field("configuration") == way)["wall_ns"] for way in ways}
    return {way: wall_ns.to_numpy().astype(float) for way, wall_ns in by_way.items()}


def _raise(subject: int, error: Exception) -> None:
    raise error


def ratios(blocks: Sequence[Mapping[str, NDArray[np.float64]]]) -> dict[str, dict[str, list[float]]]:
    """Logarithms, of each block, of the times of each way over the bare loop's."""
    return {
        way: {
            "mean": [float(np.log(times[way].mean() / times["bare"].mean())) for times in blocks],
            "median": [float(np.median(np.log(times[way] / times["bare"]))) for times in blocks],
        }
        for way in blocks[0]
        if way != "bare"
    }


def tell(blocks: Sequence[Mapping[str, NDArray[np.float64]]]) -> None:
    for way, logs in ratios(blocks).items():
        print(f"  {way:11}  mean {_interval(logs['mean'])}; median {_interval(logs['median'])}")


def _interval(logs: Sequence[float]) -> str:
    half = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs)
    ratio, low, high = np.exp([np.mean(logs), np.mean(logs) - half, np.mean(logs) + half])
    inside = "" if low > 1 - WITHIN and high < 1 + WITHIN else "not "
    return f"{ratio:.4f} [{low:.4f}, {high:.4f}], {inside}within {WITHIN:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--requests", type=int, default=200, help="of each way in a block")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=Path, help="where each block's mean and median ratios go")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model, device = build("micro", torch.float32, "cpu", 0), CpuDevice()
    with torch.inference_mode():
        blocks = [block(model, device, number, asked.requests, asked.seed) for number in range(asked.blocks)]
    median_ms = np.median(np.concatenate([times["bare"] for times in blocks])) / 1e6
    print(f"request of {median_ms:.3f} ms, {asked.blocks} blocks of {asked.requests}; times the bare loop's:")
    tell(blocks)
    write_raw(asked.raw, {"median_ms": float(median_ms), "log_ratios": ratios(blocks)})


if __name__ == "__main__":
    main()
