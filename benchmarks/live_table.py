"""What does the table that a sweep shows on a terminal cost: its driver's processor time, and what is measured?

    python benchmarks/live_table.py [--pairs 4] [--rounds 8] [--raw FILE]

Sweeps of the plan smoke, with the table at a terminal and without it into a pipe, in turn, the first of each pair
drawn. Printed: processor seconds of the driver (its own process; Ray's and the visits' are not counted) per second of
the sweep, and the ratio of each configuration's mean latency with the table to without, over pairs, with its 95 %
interval. Leave the machine alone.
"""

from __future__ import annotations

import argparse
import os
import pty
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from raw import write_raw
from scipy import stats

from raybench.analysis import Tables

MEANS = "SELECT configuration, mean_ms FROM by_configuration ORDER BY configuration"


def sweep(results: Path, name: str, rounds: int, live: bool) -> tuple[float, float, dict[str, float]]:
    """Seconds of a sweep, processor seconds of its driver, and each configuration's mean in ms."""
    command = [sys.executable, "-m", "raybench", "sweep", "--plan", "smoke", "--rounds", str(rounds)]
    command += ["--requests", "40", "--no-report", "--results", str(results), "--run-id", name]
    ours, theirs = pty.openpty() if live else os.pipe()
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"}
    )
    os.close(theirs)
    reader = threading.Thread(target=_read_to_the_end, args=(ours,), daemon=True)
    reader.start()
    driver, cpu_s = psutil.Process(process.pid), 0.0
    while process.poll() is None:
        try:
            times = driver.cpu_times()
        except psutil.Error:
            break
        cpu_s = max(cpu_s, times.user + times.system)
        time.sleep(0.1)
    if process.wait() != 0:
        raise SystemExit(f"{name}: the sweep ended with {process.returncode}")
    wall_s = time.perf_counter() - began
    reader.join()
    os.close(ours)
    rows = Tables(results / name).rows(MEANS)
    return wall_s, cpu_s, {row["configuration"]: row["mean_ms"] for row in rows}


def _read_to_the_end(descriptor: int) -> None:
    while True:
        try:
            if not os.read(descriptor, 65536):
                return
        except OSError:  # a terminal that nobody holds any more
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--raw", type=Path)
    asked = parser.parse_args()
    found: dict[bool, list[tuple[float, float, dict[str, float]]]] = {True: [], False: []}
    draw = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="raybench-bench-") as folder:
        for pair in range(asked.pairs):
            for live in draw.sample([True, False], 2):
                name = f"{'live' if live else 'plain'}-{pair}"
                found[live].append(sweep(Path(folder), name, asked.rounds, live))
                wall_s, cpu_s, _ = found[live][-1]
                print(f"{name}: {wall_s:.0f} s, driver {cpu_s:.1f} s of processor time", flush=True)
    for live, sweeps in found.items():
        shares = [cpu_s / wall_s for wall_s, cpu_s, _ in sweeps]
        name = "with the table" if live else "without"
        print(f"{name}: driver {np.median(shares):.1%} of a core ({min(shares):.1%} to {max(shares):.1%})")
    for configuration in found[True][0][2]:
        pairs = zip(found[True], found[False], strict=True)
        logs = np.log([a[2][configuration] / b[2][configuration] for a, b in pairs])
        half = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs) if len(logs) > 1 else np.inf
        low, mean, high = np.expm1([logs.mean() - half, logs.mean(), logs.mean() + half])
        print(f"{configuration}: {mean:+.1%} [{low:+.1%}, {high:+.1%}]")
    write_raw(asked.raw, {"live" if live else "plain": sweeps for live, sweeps in found.items()})


if __name__ == "__main__":
    main()
