"""Where the time goes of what missed its target: samples of the stack by py-spy, and a sweep's own account of itself.

    python benchmarks/profiles.py tables [--rounds 33] [--requests 1000] | ingest [--samples 2e7] | sweep [--plan rq2]

``tables``: `raybench tables` of a run that is made first; ``ingest``: the driver's way to disk (`ingest_ways.py
raybench`). Shares of the samples in which a function was on the stack (its own, and with what it called), the functions
that have most; frames of C are part of what called them. ``sweep``: one sweep of the plan, and what its visits' seconds
went into by what they say of themselves. py-spy, of the extra ``bench``, watches a child of its own, for which a
machine may ask for root.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from builds import THIS, asked_of, environment, raybench
from made_run import made_apart

HERE = Path(__file__).parent
SHOWN = 18
_SWEEP = """
SELECT count(*) AS visits, sum(total_ns) / 1e9 AS visit_s, sum(fork_ns) / 1e9 AS fork_s,
    sum(load_ns) / 1e9 AS load_and_gate_s, sum(warmup_ns) / 1e9 AS warmup_s, sum(timing_ns) / 1e9 AS turns_s,
    sum(total_ns - fork_ns - load_ns - warmup_ns - timing_ns) / 1e9 AS calibrating_and_counting_s,
    (SELECT sum(wall_ns) / 1e9 FROM samples WHERE phase = 'opener') AS openers_s,
    (SELECT sum(wall_ns) / 1e9 FROM timed) AS timed_s
FROM visits
"""


def sampled(command: list[str], folder: Path) -> tuple[Counter[str], Counter[str], int]:
    """Samples of ``command`` by function: its own, and with what it called; and how many there are."""
    found = folder / "stacks"
    spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw", "--rate", "200", "--output"]
    subprocess.run(
        [*spy, str(found), "--", *command],
        env=environment(THIS),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    own, whole, total = Counter[str](), Counter[str](), 0
    for line in found.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] or frame for frame in stack.split(";")]  # without the line in its file
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    return own, whole, total


def tell(command: list[str], folder: Path) -> None:
    own, whole, total = sampled(command, folder)
    print(f"{total:,} samples, 200 a second")
    for title, found in (("with what it called", whole), ("its own", own)):
        print(f"\n{title}:")
        for name, count in found.most_common(SHOWN):
            print(f"  {count / total:6.1%}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tables", "ingest", "sweep"))
    parser.add_argument("--rounds", type=int, default=33)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--samples", type=float, default=2e7)
    parser.add_argument("--plan", default="rq2")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raybench-bench-") as name:
        folder = Path(name)
        if asked.what == "tables":
            size = ["--rounds", str(asked.rounds), "--requests", str(asked.requests)]
            tell(raybench("tables", made_apart(folder / "runs", *size)), folder)
        elif asked.what == "ingest":
            words = ["raybench", str(folder), "--samples", str(asked.samples)]
            tell([sys.executable, str(HERE / "ingest_ways.py"), *words], folder)
        else:
            command = [sys.executable, "-m", "raybench.sweep", "--plan", asked.plan, "--model", "micro"]
            command += ["--results", str(folder), "--run-id", "run"]
            subprocess.run(command, env=environment(THIS), check=True, stdout=subprocess.DEVNULL)
            (row,) = asked_of(folder / "run", _SWEEP)
            for what, value in row.items():
                print(f"  {what:28} {float(value):10.2f}")


if __name__ == "__main__":
    main()
