"""How long do all tables of a run take, and how much memory: this build, another one, pandas, polars.

    python benchmarks/tables.py [--rounds 33] [--requests 1000] [--plan rq2] [--repeats 3] [--against REVISION]
                                [--without pandas] [--raw FILE]

Each way is a process of its own, start of Python included, in turn, in an order that is drawn anew for each repeat;
what is printed are medians, and ratios to this build within a repeat. ``--against``: a revision of this repository,
which is checked out into a temporary folder; it must read runs of this schema version. pandas and polars make fewer
numbers (`same_numbers.py`), and of those the same: that is checked first.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from made_run import made_apart
from raw import write_raw

HERE = Path(__file__).parent
OVERHEAD = """
SELECT configuration, reference_strategy, ratio, low, high FROM overhead
WHERE clock = 'wall' AND measure = 'end_to_end' AND via IS NULL ORDER BY ALL
"""


def timed(command: list[str], source: Path) -> tuple[float, int]:
    """Wall seconds of a process and its peak of resident bytes."""
    environment = os.environ | {"PYTHONPATH": str(source)}
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def asked_of(root: str, query: str) -> list[dict[str, str]]:
    """By processes of their own, as all that is large: the peak of a process begins with that of what started it."""
    command = [sys.executable, "-m", "raybench", "sql", root, query, "--format", "csv"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return list(csv.DictReader(found.stdout.splitlines()))


def check_same_numbers(root: str, libraries: list[str]) -> None:
    """Ratios and intervals by the libraries against those of the table."""
    rows = asked_of(root, OVERHEAD)
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
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--without", nargs="*", default=[], choices=["pandas", "polars"])
    asked = parser.parse_args()
    libraries = [name for name in ("pandas", "polars") if name not in asked.without]
    with tempfile.TemporaryDirectory(prefix="raybench-bench-") as folder:
        size = ["--rounds", str(asked.rounds), "--requests", str(asked.requests), "--plan", asked.plan]
        root = made_apart(Path(folder, "runs"), *size)
        ((samples,),) = (row.values() for row in asked_of(root, "SELECT count(*) FROM samples"))
        check_same_numbers(root, libraries)
        tables = [sys.executable, "-m", "raybench", "tables", root]
        ways = {"this build": (tables, HERE.parent / "src")}
        if asked.against is not None:
            other = Path(folder, "other")
            subprocess.run(["git", "-C", HERE.parent, "worktree", "add", "--detach", other, asked.against], check=True)
            ways[asked.against] = (tables, other / "src")
        for name in libraries:
            ways[name] = ([sys.executable, str(HERE / "same_numbers.py"), name, root], HERE)
        found: dict[str, list[tuple[float, int]]] = {name: [] for name in ways}
        try:
            for repeat in range(asked.repeats):
                for name in random.Random(repeat).sample(list(ways), len(ways)):
                    found[name].append(timed(*ways[name]))
        finally:
            if asked.against is not None:
                subprocess.run(["git", "-C", HERE.parent, "worktree", "remove", "--force", other], check=True)
    write_raw(asked.raw, {"size": [Path(word).name for word in size], "seconds_and_peak_bytes": found})
    print(f"{int(samples):,} samples, {asked.repeats} repeats, {os.cpu_count()} cores")
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
