"""How long do the commands take that read a run, beside its tables, and how much memory?

    python benchmarks/reading.py [--rounds 100] [--requests 3300] [--repeats 3] [--raw FILE]

Runs of rq2 whose times are drawn (`made_run.py`), ten million samples each: `tables`, `status`, `decide` and `sql` of
one, `compare` with another, and with one of nine tenths of the rounds, of which only those in both count. Each is a
process of its own, in turn, in an order that is drawn anew for each repeat; what is printed are medians, and ratios to
the tables within a repeat.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
from pathlib import Path

from builds import THIS, raybench, timed
from made_run import made_apart
from raw import write_raw

NEEDS = ["--tasks", "40", "--gpu-memory", "24GB", "--slo-p95", "40ms", "--requests-per-second", "12"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--requests", type=int, default=3300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--raw", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raybench-bench-") as folder:
        size = ["--rounds", str(asked.rounds), "--requests", str(asked.requests)]
        first, second = (made_apart(Path(folder, name), *size, "--seed", str(i)) for i, name in enumerate("ab"))
        fewer = ["--rounds", str(asked.rounds * 9 // 10), "--requests", str(asked.requests), "--seed", "2"]
        third = made_apart(Path(folder, "c"), *fewer)
        words = {
            "tables": ["tables", first],
            "status": ["status", first],
            "decide": ["decide", first, *NEEDS],
            "sql": ["sql", first, "SELECT avg(wall_ns) FROM samples"],
            "compare": ["compare", first, second],
            "compare of fewer rounds": ["compare", first, third],
        }
        found: dict[str, list[tuple[float, int]]] = {name: [] for name in words}
        for repeat in range(asked.repeats):
            for name in random.Random(repeat).sample(list(words), len(words)):
                spent = timed(raybench(*words[name]), THIS)
                found[name].append((spent.wall_s, spent.peak_bytes))
    write_raw(asked.raw, {"size": size, "seconds_and_peak_bytes": found})
    print(f"{asked.rounds} rounds of {asked.requests:,} requests, {asked.repeats} repeats, {os.cpu_count()} cores")
    print(f"{'':24} {'seconds':>9} {'of tables':>10} {'GB':>7}")
    for name, runs in found.items():
        seconds, peak = (statistics.median(values) for values in zip(*runs, strict=True))
        of_tables = statistics.median(run[0] / tables[0] for run, tables in zip(runs, found["tables"], strict=True))
        print(f"{name:24} {seconds:9.2f} {of_tables:10.2f} {peak / 1e9:7.2f}")


if __name__ == "__main__":
    main()
