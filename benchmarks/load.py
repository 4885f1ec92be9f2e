"""A synthetic load, as other people's work on the same machine is: bursts of computing and of moving memory.

    python benchmarks/load.py --processes 3

Each process is busy and idle in turn, for times drawn from exponential distributions, until it is ended. A third of the
bursts copy arrays that fit no cache. It lowers no priority: it competes as another build or another test would.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time

import numpy as np


def bursts(seed: int, busy_s: float, idle_s: float) -> None:
    """Never returns; ends with the process that began it."""
    rng = np.random.default_rng(seed)
    small, large = rng.random((64, 64)), rng.random(4_000_000)
    parent = os.getppid()
    while os.getppid() == parent:
        until = time.perf_counter() + rng.exponential(busy_s)
        moving = rng.random() < 1 / 3
        while time.perf_counter() < until:
            if moving:
                large.copy()
            else:
                small @ small
        time.sleep(rng.exponential(idle_s))


def main() -> None:
    """Run until ended."""
    parser = argparse.ArgumentParser(description="a synthetic load")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--busy-s", type=float, default=0.4, help="mean length of a burst")
    parser.add_argument("--idle-s", type=float, default=0.4, help="mean pause between bursts")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    workers = [
        multiprocessing.Process(target=bursts, args=(args.seed + i, args.busy_s, args.idle_s), daemon=True)
        for i in range(args.processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
