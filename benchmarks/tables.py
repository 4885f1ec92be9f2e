"""How long do all tables of a run take, and how much memory: this build, another one, pandas, polars.

    python benchmarks/tables.py [--rounds 33] [--requests 1000] [--plan rq2] [--repeats 3] [--against REVISION]
                                [--libraries pandas polars] [--together 1] [--run FOLDER] [--raw FILE]

Each way is a process of its own, start of Python included, in turn, in an order that is drawn anew for each repeat;
what is printed are medians, and ratios to this build within a repeat. ``--against``: a revision of this repository,
which is checked out into a temporary folder; it must read runs of this schema version. ``--run``: a run to read in
place of one that is made. pandas and polars make fewer numbers (`same_numbers.py`), and of those the same: that is
checked first.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from builds import THIS, asked_of, builds, raybench, timed
from made_run import made_apart
from raw import write_raw

from raybench.store import RunStore

HERE = Path(__file__).parent
WAYS = ("pandas", "polars", "polars-streaming")
"""Of `same_numbers.py`."""
OVERHEAD = """
SELECT configuration, reference_strategy, ratio, low, high FROM overhead
WHERE clock = 'wall' AND measure = 'end_to_end' AND via IS NULL ORDER BY ALL
"""


def check_same_numbers(root: str, libraries: list[str]) -> None:
    """Ratios and intervals by the libraries against those of the table."""
    rows = asked_of(root, OVERHEAD) if libraries else []
    for library in libraries:
        found = subprocess.run(
            [sys.executable, HERE / "same_numbers.py", library, root], capture_output=True, text=True, check=True
        )
        theirs = {(name, reference): numbers for name, reference, *numbers in json.loads(found.stdout)["ratios"]}
        for row in rows:
            own = [float(row[column]) for column in ("ratio", "low", "high")]
            other = theirs[row["configuration"], row["reference_strategy"]]
            if any(abs(a / b - 1) > 1e-9 for a, b in zip(own, other, strict=True)):
                raise SystemExit(
                    f"{library}: {row['configuration']} against {row['reference_strategy']}: {other}, {own}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=33)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plan", default="rq2")
    parser.add_argument("--against", metavar="REVISION")
    parser.add_argument("--together", type=int, default=1, help="visits in a commit of the run that is made")
    parser.add_argument("--run", metavar="FOLDER", help="a run to read in place of one that is made")
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--libraries", nargs="*", default=["pandas", "polars"], choices=[*WAYS])
    asked = parser.parse_args()
    libraries = asked.libraries
    with (
        tempfile.TemporaryDirectory(prefix="raybench-bench-") as folder,
        builds(asked.against, Path(folder)) as sources,
    ):
        size = ["--rounds", str(asked.rounds), "--requests", str(asked.requests), "--plan", asked.plan]
        size += ["--together", str(asked.together)]
        root = asked.run or made_apart(Path(folder, "runs"), *size)
        listed = [file for entry in RunStore.open(Path(root)).entries() for file in entry.files]
        samples = sum(file.rows for file in listed if file.table == "samples")
        check_same_numbers(root, libraries)
        ways = {name: (raybench("tables", root), source) for name, source in sources.items()}
        for name in libraries:
            ways[name] = ([sys.executable, str(HERE / "same_numbers.py"), name, root], THIS)
        found: dict[str, list[tuple[float, int]]] = {name: [] for name in ways}
        for repeat in range(asked.repeats):
            for name in random.Random(repeat).sample(list(ways), len(ways)):
                spent = timed(*ways[name])
                found[name].append((spent.wall_s, spent.peak_bytes))
    what = [Path(asked.run).name] if asked.run else [Path(word).name for word in size]
    write_raw(asked.raw, {"size": what, "samples": samples, "seconds_and_peak_bytes": found})
    print(f"{samples:,} samples, {asked.repeats} repeats, {os.cpu_count()} cores")
    print(f"{'':16} {'seconds':>9} {'of this':>8} {'GB':>7} {'of this':>8}")
    for name, runs in found.items():
        seconds, peak = (statistics.median(values) for values in zip(*runs, strict=True))
        of_time, of_peak = (
            statistics.median(run[i] / own[i] for run, own in zip(runs, found["this build"], strict=True))
            for i in (0, 1)
        )
        print(f"{name:16} {seconds:9.2f} {of_time:8.2f} {peak / 1e9:7.2f} {of_peak:8.2f}")


if __name__ == "__main__":
    main()
