"""Every question that benchmarks/README.md answers, one after the other, and what was measured, kept.

    python benchmarks/all.py [--only NAME ...] [--leave-out NAME ...] [--into benchmarks/results/DATE]
                             [--optimum-python PATH] [--list]

What each says goes to the terminal and to NAME.txt, below the command, what the machine did and the versions; raw
figures of those that give them to NAME.json. About an hour and a half without ``equal-things``, which is another, and
``tables-3e8``, which is half of one; the machine should have nothing else to do. Exits 1 where one of them failed,
after the others.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from builds import THIS, environment
from raw import machine

HERE = Path(__file__).parent
BEFORE = "4172e4d"
"""The revision that sweeps are set beside."""
PLANS = {"large": [], "thousand": ["--seeds", "110", "--multi", "10"]}
"""What large_plan.py is asked for: 10,000 configurations, and 1,000."""
QUESTIONS: dict[str, list[str]] = {
    "start": ["start.py", "--commits", "10000", "--raw", "{raw}"],
    "tables-1e6": ["tables.py", "--raw", "{raw}"],
    "tables-1e7": ["tables.py", "--rounds", "100", "--requests", "3300", "--raw", "{raw}"],
    "tables-3e7": [
        *("tables.py", "--rounds", "300", "--requests", "3300", "--repeats", "1"),
        *("--libraries", "--raw", "{raw}"),
    ],
    "tables-1e8": [
        *("tables.py", "--plan", "{thousand}", "--rounds", "100", "--requests", "1000", "--repeats", "1"),
        *("--together", "20", "--libraries", "polars-streaming", "--raw", "{raw}"),
    ],
    "tables-3e8": [
        *("tables.py", "--plan", "{thousand}", "--rounds", "300", "--requests", "1000", "--repeats", "1"),
        *("--together", "20", "--libraries", "--raw", "{raw}"),
    ],
    "tables-10000-configurations": [
        *("tables.py", "--plan", "{large}", "--rounds", "3", "--requests", "10"),
        *("--libraries", "--raw", "{raw}"),
    ],
    "reading": ["reading.py", "--raw", "{raw}"],
    "sweeps": ["sweeps.py", "--against", BEFORE, "--raw", "{raw}"],
    "designs": ["designs.py", "--busy", "--raw", "{raw}"],
    "timed-region": ["timed_region.py", "--blocks", "80", "--raw", "{raw}"],
    "serve-client": ["serve_client.py", "--raw", "{raw}"],
    "serve-client-real-time": ["serve_client.py", "--real-time", "--raw", "{raw}"],
    "beside-vllm-bench": ["beside_vllm_bench.py", "--real-time", "--raw", "{raw}"],
    "ingest": ["ingest.py", "--raw", "{raw}"],
    "ingest-1e8": ["ingest.py", "--samples", "1e8", "--repeats", "1", "--raw", "{raw}"],
    "driver": ["driver.py", "--raw", "{raw}"],
    "profile-tables": ["profiles.py", "tables"],
    "profile-tables-1e7": ["profiles.py", "tables", "--rounds", "100", "--requests", "3300"],
    "profile-ingest": ["profiles.py", "ingest"],
    "profile-sweep": ["profiles.py", "sweep"],
    "spoilers": ["spoilers.py", "--raw", "{raw}"],
    "live-table": ["live_table.py", "--raw", "{raw}"],
    "known-equal": ["known_equal.py", "--raw", "{raw}"],
    "equal-things": ["equal_things.py", "--raw", "{raw}"],
}


def asked_for(name: str, words: list[str], into: Path) -> int:
    """Run one of them; its exit code."""
    plans = {plan: into / f"{plan}.toml" for plan in PLANS if f"{{{plan}}}" in words}
    for plan, path in plans.items():
        command = [sys.executable, str(HERE / "large_plan.py"), *PLANS[plan]]
        path.write_bytes(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    given = [word.format(raw=into / f"{name}.json", **plans) for word in words]
    quiet = environment(THIS) | {"PYTHONWARNINGS": "ignore"}
    began = time.perf_counter()
    shown = [word if "/" not in word else Path(word).name for word in given]
    with (into / f"{name}.txt").open("w") as kept:
        kept.write(f"python benchmarks/{' '.join(shown)}\nbefore: {json.dumps(machine())}\n\n")
        command = [sys.executable, str(HERE / given[0]), *given[1:]]
        with subprocess.Popen(
            command, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                kept.write(line)
                print(line, end="", flush=True)
        seconds = time.perf_counter() - began
        kept.write(f"\nexit {process.returncode} after {seconds:.0f} s, load {os.getloadavg()}\n")
    for path in plans.values():
        path.unlink()
    return process.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(QUESTIONS), default=[], help="whatever is left out")
    parser.add_argument("--leave-out", nargs="+", choices=list(QUESTIONS), default=[])
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    parser.add_argument("--into", type=Path, default=HERE / "results" / today)
    parser.add_argument("--optimum-python", help="of an environment with optimum-benchmark: see designs.py")
    parser.add_argument("--list", action="store_true", help="only say what would be run")
    asked = parser.parse_args()
    names = asked.only or [name for name in QUESTIONS if name not in asked.leave_out]
    questions = {name: QUESTIONS[name] for name in names}
    if asked.optimum_python is not None and "designs" in questions:
        questions["designs"] = [*questions["designs"], "--optimum-python", asked.optimum_python]
    if asked.list:
        print("\n".join(f"{name:28} {' '.join(words)}" for name, words in questions.items()))
        return 0
    asked.into.mkdir(parents=True, exist_ok=True)
    failed = []
    for number, (name, words) in enumerate(questions.items(), 1):
        print(f"\n== {name} ({number} of {len(questions)})", flush=True)
        if asked_for(name, words, asked.into):
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}; what they said is in {asked.into}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
