"""Two deployments that do the same: how far from 1 do ten sweeps say that they are?

    python benchmarks/known_equal.py [--sweeps 10] [--results FOLDER] [--judge] [--raw FILE]

A merged adapter against a full fine-tune, whose weights are others and whose operations are the same, and a full
fine-tune against itself under another name; preset micro, 3 blocks, ten rounds of 40 requests a sweep. All sweeps are
taken one after the other by one `raybench sweep` and judged apart, as in `equal_things.py`. Printed for each clock:
the least and the largest of the sweeps' ratios, and their mean with its 95 % interval. Leave the machine alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from equal_things import ROUNDS, each_ten_rounds, measure
from raw import write_raw
from scipy import stats

from raybench.analysis.claims import judged
from raybench.analysis.tables import Tables

WITHIN = 0.002
CLOCKS = ["wall", "wall paired", "wall median"]
MATRIX = """
[[matrix]]
name = "{name}_{{task}}_seed{{seed}}"
role = "{name}"
strategy = "{strategy}"
tasks = ["mrpc"]
seeds = [1, 2, 3]
adapters = [{adapters}]
"""
PLAN = """
name = "known-equal"
description = "A full fine-tune, the same again, and a merged adapter: what computes the same"
rounds = {rounds}
requests = 40
warmups = 3
references = ["full"]

[[adapters]]
name = "{{task}}_seed{{seed}}"
tasks = ["mrpc"]
seeds = [1, 2, 3]
alpha = 8
"""
SIDES = {"full": "full_ft", "again": "full_ft", "merged": "lora_merged"}


def plan_text(sweeps: int) -> str:
    tables = [
        MATRIX.format(name=name, strategy=strategy, adapters='"{task}_seed{seed}"' if name == "merged" else "")
        for name, strategy in SIDES.items()
    ]
    return PLAN.format(rounds=sweeps * ROUNDS) + "".join(tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--results", type=Path, default=Path("data/runs/known-equal"))
    parser.add_argument("--judge", action="store_true", help="measure nothing")
    parser.add_argument("--raw", type=Path)
    asked = parser.parse_args()
    asked.results.mkdir(parents=True, exist_ok=True)
    run = asked.results / "run"
    if not asked.judge:
        measure(run, plan_text(asked.sweeps), "micro")
    found: dict[str, dict[str, list[float]]] = {name: {clock: [] for clock in CLOCKS} for name in ("again", "merged")}
    tables = Tables(run)
    for _, compared in each_ten_rounds(tables):
        for row in judged(compared.of_deployments(CLOCKS), tables.margin):
            if row["strategy"] in found:
                found[row["strategy"]][row["clock"]].append(float(row["ratio"]))
    for name, clocks in found.items():
        for clock, ratios in clocks.items():
            logs = np.log(ratios)
            half = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs)
            low, mean, high = np.expm1([logs.min(), logs.mean(), logs.max()])
            inside = "within" if abs(mean) + half < WITHIN else "not shown to be within"
            print(
                f"{name} against full, {clock}: {len(logs)} sweeps, {low:+.2%} to {high:+.2%}, mean {mean:+.2%} "
                f"+- {half:.2%}, {inside} {WITHIN:.1%}"
            )
    write_raw(asked.raw, found)


if __name__ == "__main__":
    main()
