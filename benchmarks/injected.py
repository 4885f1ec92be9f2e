"""Does raybench find what is really there? Sweeps of a plan whose truth is known, and how often it is found.

    python benchmarks/injected.py --plan delays --runs 20     known delays: is the truth inside the interval?
    python benchmarks/injected.py --plan aa --runs 5          the same configuration twice: is nothing found?

Real processes, real Parquet. Each sweep has an order seed of its own; those that are in --results already are kept, so
a run of this can be interrupted and gone on with. Exits 1 where fewer than 93 % of the intervals hold the truth, those
of blocks or those over blocks, or where a difference is found between equals. Takes one to three minutes a sweep.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from scipy import stats

from raybench.analysis.tables import Tables

TARGET = 0.93


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--plan", default="delays", choices=("delays", "aa"))
    p.add_argument("--runs", type=int, default=20)
    p.add_argument("--results", type=Path, default=Path("data/runs/injected"))
    options = p.parse_args()
    runs = []
    for seed in range(1, options.runs + 1):
        run = sweep(options.plan, seed, options.results)
        runs.append(Tables(run))
        print(f"{run}: {tally(comparisons(runs[-1:]))}", flush=True)
    found = comparisons(runs)
    by_truth: dict[float, list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        by_truth[row["truth"]].append(row)
    for truth, rows in sorted(by_truth.items()):
        print(f"truth {truth - 1:+7.1%}: {tally(rows)}; mean estimate {mean_ratio(rows) - 1:+.2%}")
    print(f"all blocks:    {tally(found)}")
    print(f"over blocks:   {tally(pooled := over_blocks(runs))}")
    wrong = [row for row in found + pooled if row["truth"] == 1 and row["verdict"] in ("slower", "faster")]
    print(f"verdicts slower or faster where nothing is: {len(wrong)} of {sum(r['truth'] == 1 for r in found + pooled)}")
    missed = min(share_held(found), share_held(pooled)) < TARGET
    return 1 if missed or (options.plan == "aa" and wrong) else 0


def sweep(plan: str, seed: int, results: Path) -> Path:
    """The folder of a finished sweep with this order seed."""
    run = results / f"{plan}-{seed:02d}"
    if not (run / "tables" / "overhead.parquet").exists():
        command = [sys.executable, "-m", "raybench.sweep", "--plan", plan, "--order-seed", str(seed)]
        command += ["--results", str(results), "--run-id", run.name]
        command += ["--resume"] if (run / "run.json").exists() else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return run


def comparisons(runs: list[Tables]) -> list[dict[str, Any]]:
    """Each configuration against its reference in its block, by wall time, with the true ratio."""
    return [
        {**row, "truth": 1 + delays[row["configuration"]]}
        for run in runs
        for delays in [{c.name: c.delay_share for c in run.description.configurations}]
        for row in run.rows("FROM overhead WHERE clock = 'wall' ORDER BY configuration")
    ]


def over_blocks(runs: list[Tables]) -> list[dict[str, Any]]:
    """Each deployment against its reference, over its blocks."""
    return [
        {**row, "truth": 1 + delays[row["strategy"]]}
        for run in runs
        for delays in [{c.role: c.delay_share for c in run.description.configurations}]
        for row in run.rows("FROM by_strategy WHERE clock = 'wall' AND verdict IS NOT NULL")
    ]


def share_held(rows: list[dict[str, Any]]) -> float:
    return sum(row["low"] <= row["truth"] <= row["high"] for row in rows) / len(rows)


def mean_ratio(rows: list[dict[str, Any]]) -> float:
    return math.exp(sum(math.log(row["ratio"]) for row in rows) / len(rows))


def tally(rows: list[dict[str, Any]]) -> str:
    held = sum(row["low"] <= row["truth"] <= row["high"] for row in rows)
    sure = stats.binomtest(held, len(rows)).proportion_ci()
    return f"truth inside {held} of {len(rows)} intervals, {held / len(rows):.1%} [{sure.low:.1%}, {sure.high:.1%}]"


if __name__ == "__main__":
    sys.exit(main())
