"""What does a sweep's machine time go into, and how narrow are the intervals that it buys?

    python benchmarks/sweeps.py [--plan rq2] [--repeats 2] [--against REVISION] [--folder DIR] [--raw FILE]

Whole sweeps, preset micro, each a process of its own, by this build and by ``--against`` (a revision of this
repository, checked out into a temporary folder), in turn, beginning with the other one in every second repeat. Printed
for each sweep: seconds from the command to its end, until its workers are ready, the share of the visits' seconds in
which requests were timed, and the half-widths of 95 % of what each deployment's mean takes against full fine-tuning's;
then, for each build, the geometric mean over its sweeps of squared half-width times seconds, beside this build's: what
an interval of the same width costs. ``--folder``: keep the runs there.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from builds import asked_of, builds, environment
from raw import write_raw

_HALF_WIDTHS = """
SELECT deployment, (high - low) / 2 / ratio AS half_width FROM by_strategy
WHERE clock = 'wall' AND measure = 'end_to_end' AND reference_strategy = 'full_ft' AND ratio IS NOT NULL AND via IS NULL
AND strategy <> reference_strategy ORDER BY deployment
"""
_SHARE = "SELECT sum(wall_ns) / (SELECT sum(total_ns) FROM visits) AS share FROM timed"
_START = re.compile(r"\(start ([0-9.]+) (s|min)")


def swept(plan: str, source: Path, results: Path, run_id: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "raybench.sweep", "--plan", plan, "--model", "micro"]
    command += ["--results", str(results), "--run-id", run_id]
    load = os.getloadavg()[0]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment(source), capture_output=True, text=True)
    wall_s = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-3000:]}")
    start = _START.search(done.stdout)
    widths = {row["deployment"]: float(row["half_width"]) for row in asked_of(results / run_id, _HALF_WIDTHS, source)}
    return {
        "wall_s": wall_s,
        "start_s": float(start[1]) * (60 if start[2] == "min" else 1) if start else math.nan,
        "timed_share": float(asked_of(results / run_id, _SHARE, source)[0]["share"]),
        "half_widths": widths,
        "load": load,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", default="rq2")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--against", metavar="REVISION")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--raw", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raybench-bench-") as folder, builds(asked.against, Path(folder)) as ways:
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for repeat in range(asked.repeats):
            for name in list(ways)[:: -1 if repeat % 2 else 1]:
                run_id = f"{name.replace(' ', '-')}-{repeat}"
                one = swept(asked.plan, ways[name], asked.folder or Path(folder, "runs"), run_id)
                found[name].append(one)
                widths = ", ".join(f"{deployment} {width:.2%}" for deployment, width in one["half_widths"].items())
                print(
                    f"{name:12} {one['wall_s']:6.1f} s, ready after {one['start_s']:.0f} s, timed "
                    f"{one['timed_share']:.2f}; load before {one['load']:.1f}; half-widths: {widths}",
                    flush=True,
                )
    write_raw(asked.raw, found)
    costs = {name: cost(runs) for name, runs in found.items()}
    for name, each in costs.items():
        told = ", ".join(
            f"{deployment} {value / costs['this build'][deployment]:.2f}" for deployment, value in each.items()
        )
        print(f"{name:12} squared half-width x seconds, of this build's: {told}")


def cost(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Geometric means over sweeps, by deployment."""
    logs = {
        deployment: [2 * math.log(run["half_widths"][deployment]) + math.log(run["wall_s"]) for run in runs]
        for deployment in runs[0]["half_widths"]
    }
    return {deployment: math.exp(sum(each) / len(each)) for deployment, each in logs.items()}


if __name__ == "__main__":
    main()
