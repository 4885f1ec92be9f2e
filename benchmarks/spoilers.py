"""Which of what `raybench doctor` looks for matters on this machine, and by how much?

    python benchmarks/spoilers.py            a minute; root for the quota and the priorities, two cores for neighbours

A request is a forward of sixteen products over 64 MB of weights, on one thread of one core. In each round every
condition is made for a process of its own, in an order drawn anew, and compared with that round's process beside which
nothing was put: medians of the rounds' ratios, and their range. What else runs on the machine runs beside all of them.
What looking costs is timed at the end. Nothing of the system is changed: quotas are of a control group of its own,
huge pages of the process's own memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import random
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from raybench.machine import Watch, examine_steady, open_device

LAYERS, WIDTH, TOKENS = 16, 1024, 16
GROUPS = Path("/sys/fs/cgroup/cpu")
FORK = get_context("fork")


def requests_ms(seconds: float, huge: bool | None) -> list[float]:
    """Milliseconds of each request that there is time for. ``huge``: ask for huge pages, for none, or for nothing."""
    torch.set_num_threads(1)
    size = LAYERS * WIDTH * WIDTH * 4
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if huge is not None:
        memory.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    weights = torch.frombuffer(memory, dtype=torch.float32).view(LAYERS, WIDTH, WIDTH)
    weights.normal_(std=WIDTH**-0.5)
    x = torch.randn(TOKENS, WIDTH)

    def forward() -> None:
        y = x
        for layer in weights:
            y = torch.relu(y @ layer)

    found: list[float] = []
    with torch.inference_mode():
        for _ in range(5):
            forward()
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            forward()
            found.append((time.perf_counter() - started) * 1e3)
    return found


def burn(cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)
    while True:
        pass


@contextlib.contextmanager
def neighbour(cores: set[int] | None) -> Iterator[None]:
    """A process that computes on these cores; None: none."""
    if cores is None:
        yield
        return
    process = FORK.Process(target=burn, args=(cores,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


@contextlib.contextmanager
def quota(cores: float | None) -> Iterator[Path | None]:
    """A control group (version 1) of so much processor time; None: none."""
    if cores is None:
        yield None
        return
    group = GROUPS / f"raybench-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        (group / "cpu.cfs_quota_us").write_text(str(int(cores * 100_000)))
        yield group
    finally:
        group.rmdir()


def measured(
    seconds: float,
    *,
    beside: set[int] | None = None,
    niceness: int = 0,
    cores: float | None = None,
    huge: bool | None = None,
) -> list[float]:
    """Milliseconds of requests in a process of its own, on core 0."""
    receiver, sender = FORK.Pipe(duplex=False)

    def child(group: Path | None) -> None:
        os.sched_setaffinity(0, {0})
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))
        sender.send(requests_ms(seconds, huge))

    with neighbour(beside), quota(cores) as group:
        process = FORK.Process(target=child, args=(group,))
        process.start()
        sender.close()
        try:
            found: list[float] = receiver.recv()
        finally:
            process.join()
    return found


CONDITIONS: dict[str, dict[str, Any]] = {
    "nothing beside it": {},
    "the same again": {},
    "a process that computes on the other core": {"beside": {1}},
    "on the same core": {"beside": {0}},
    "on the same core, niceness -10": {"beside": {0}, "niceness": -10},
    "on the same core, niceness 15": {"beside": {0}, "niceness": 15},
    "a quota of 0.9 cores": {"cores": 0.9},
    "a quota of 0.5 cores": {"cores": 0.5},
    "huge pages": {"huge": True},
    "no huge pages": {"huge": False},
}


def possible() -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The conditions that this machine allows, and why it does not the others."""
    refused: dict[str, str] = {}
    for name, how in CONDITIONS.items():
        try:
            measured(0.01, **how)
        except (OSError, EOFError) as error:
            refused[name] = str(error) or "its process ended"
    return {name: how for name, how in CONDITIONS.items() if name not in refused}, refused


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


SUMMARIES: dict[str, Callable[[list[float]], float]] = {
    "median": statistics.median,
    "mean": statistics.fmean,
    "p99": lambda values: percentile(values, 0.99),
}


def costs_us() -> dict[str, float]:
    """Microseconds of what a visit looks at: the counters before and after requests, and the checks at its end."""
    with Watch(open_device("cpu")) as watch:
        looks = [_took_us(watch.begin) for _ in range(200)]
    return {
        "counters": statistics.median(looks),
        "checks": statistics.median(_took_us(examine_steady) for _ in range(50)),
    }


def _took_us(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.4, help="of requests, of each condition in a round")
    parser.add_argument("--raw", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()}, cores: {len(os.sched_getaffinity(0))}, torch {torch.__version__}")
    conditions, refused = possible()
    for name, why in refused.items():
        print(f"not possible here: {name}: {why}")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in conditions}
    for round_index in range(options.rounds):
        order = list(conditions)
        random.Random(round_index).shuffle(order)
        for name in order:
            times = measured(options.seconds, **conditions[name])
            found[name].append({key: summary(times) for key, summary in SUMMARIES.items()} | {"n": len(times)})
    base = found["nothing beside it"]
    print(f"\n{'':42s}" + "".join(f"{key:>24s}" for key in SUMMARIES))
    for name, rounds in found.items():
        cells = []
        for key in SUMMARIES:
            if name == "nothing beside it":
                cells.append(f"{statistics.median(one[key] for one in rounds):.2f} ms")
                continue
            ratios = [one[key] / alone[key] for one, alone in zip(rounds, base, strict=True)]
            cells.append(f"{statistics.median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(f"{name:42s}" + "".join(f"{cell:>24s}" for cell in cells))
    cost = costs_us()
    print(f"\nlooking costs: counters {cost['counters']:.0f} us, checks {cost['checks']:.0f} us (medians)")
    if options.raw is not None:
        options.raw.write_text(json.dumps({"rounds": found, "refused": refused, "costs_us": cost}, indent=1) + "\n")


if __name__ == "__main__":
    main()
