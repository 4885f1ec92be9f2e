"""How quickly do the commands answer, and what of that are imports.

    python benchmarks/start.py [--repeats 7] [--commits 10000] [--against REVISION] [--raw FILE]

Each command is a process of its own, start of Python included, in turn, in an order that is drawn anew for each repeat;
the files are in the cache. What is printed are medians of wall time, and of the CPU time of all its threads. Imports
are Python's own account (``-X importtime``) of one further run each, by the package that is imported. The run that is
looked at is the plan smoke of 10 rounds (`made_run.py`), and for its page rq2, too, of 10 rounds of 50 requests.
``--commits``: also the status of one with so many commits, compacted as a sweep's are. ``--against``: beside another
revision of this repository, in a temporary folder, with the ratio within a repeat; it must read runs of this schema
version.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from builds import builds, environment, raybench, timed
from made_run import made_apart
from raw import write_raw

_BLOCKS_OF_SMOKE = 3
_IMPORT = re.compile(r"import time: +(\d+) \| +\d+ \| +(\w+)")


def imports_ms(words: list[str], source: Path) -> Counter[str]:
    """Milliseconds of imports by top-level package, those of its dependencies not counted in."""
    python, *command = raybench(*words)
    command = [python, "-X", "importtime", *command]
    done = subprocess.run(command, env=environment(source), capture_output=True, text=True, check=True)
    found: Counter[str] = Counter()
    for line in done.stderr.splitlines():
        if (match := _IMPORT.match(line)) is not None:
            found[match[2]] += int(match[1])
    return Counter({name: microseconds // 1000 for name, microseconds in found.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--commits", type=int)
    parser.add_argument("--against", metavar="REVISION")
    parser.add_argument("--raw", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raybench-bench-") as folder:
        run = made_apart(Path(folder, "small"), "--plan", "smoke", "--rounds", "10", "--requests", "50")
        commands = {
            "--help": ["--help"],
            "plan --help": ["plan", "--help"],
            "plan rq2": ["plan", "rq2"],
            "status": ["status", run],
            "tables": ["tables", run],
        }
        study = made_apart(Path(folder, "study"), "--plan", "rq2", "--rounds", "10", "--requests", "50")
        for name, of in (("report", run), ("report, rq2", study)):
            commands[name] = ["report", of, "--out", str(Path(folder, "page.html")), "--force"]
        if asked.commits is not None:
            rounds = -(-asked.commits // _BLOCKS_OF_SMOKE)
            many = made_apart(Path(folder, "large"), "--plan", "smoke", "--rounds", str(rounds), "--requests", "1")
            commands[f"status, {rounds * _BLOCKS_OF_SMOKE:,} commits"] = ["status", many]
        with builds(asked.against, Path(folder)) as sources:
            report(commands, sources, asked.repeats, asked.raw)


def report(commands: dict[str, list[str]], sources: dict[str, Path], repeats: int, raw: Path | None) -> None:
    """Time all of them and print a line each."""
    ways = [(name, build) for name in commands for build in sources]
    found: dict[tuple[str, str], list[tuple[float, float]]] = {way: [] for way in ways}
    imports = {way: imports_ms(commands[way[0]], sources[way[1]]) for way in ways}  # which also warms the cache
    for repeat in range(repeats):
        for name, build in random.Random(repeat).sample(ways, len(ways)):
            spent = timed(raybench(*commands[name]), sources[build])
            found[name, build].append((spent.wall_s, spent.cpu_s))
    write_raw(raw, [(*way, runs) for way, runs in found.items()])
    print(f"{repeats} repeats, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    print(f"{'':24} {'':12} {'wall s':>7} {'CPU s':>7} {'of this':>8}  imports, ms")
    for (name, build), runs in found.items():
        wall_s, cpu_s = (statistics.median(values) for values in zip(*runs, strict=True))
        own = found[name, "this build"]
        ratio = statistics.median(run[0] / mine[0] for run, mine in zip(runs, own, strict=True))
        largest = ", ".join(f"{package} {ms}" for package, ms in imports[name, build].most_common(6) if ms)
        print(f"{name:24} {build[:12]:12} {wall_s:7.2f} {cpu_s:7.2f} {ratio:8.2f}  {largest}")


if __name__ == "__main__":
    main()
