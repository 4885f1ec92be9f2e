"""What do adapters cost on an engine's servers, and do several runs of the same plan say the same?

The plan (``served`` of vLLM, ``served-llama`` of llama.cpp) is run several times by ``raybench sweep``, one run after
the other, or runs that are there are read. Told are times to the first token and per token after it, as ratios to the
merged model's server with 95 % intervals over launches, of each run; whether the runs' intervals have values in common;
and how long a run's visits took.

    python benchmarks/engines.py --plan served --engine-python VENV/bin/python [--runs 3] [--results DIR] [--raw FILE]
    python benchmarks/engines.py --read RUN [RUN ...] [--raw FILE]
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raw import write_raw

from raybench.analysis import Tables

_RATIOS = """
SELECT deployment, measure, ratio, low, high, verdict
FROM by_strategy
WHERE clock = 'wall' AND reference_strategy = 'lora_merged' AND ratio IS NOT NULL AND measure IN ('ttft', 'tpot')
"""
_MEANS = "SELECT deployment, measure, mean_ms FROM by_measure WHERE measure IN ('ttft', 'tpot')"
_TIMES = "SELECT count(*) AS visits, sum(total_ns) / 60e9 AS minutes FROM visits"

Run = dict[str, Any]


def sweep(plan: str, python: str, results: Path, run_id: str) -> Path:
    """One run, in a process of its own. Raises CalledProcessError where something failed in it."""
    words = ["--plan", plan, "--engine-python", python, "--results", str(results), "--run-id", run_id]
    subprocess.run([sys.executable, "-m", "raybench.sweep", *words], check=True)
    return results / run_id


def read(root: Path) -> Run:
    tables = Tables(root)
    ratios = {(row["measure"], row["deployment"]): row for row in tables.rows(_RATIOS)}
    means = {(row["measure"], row["deployment"]): row["mean_ms"] for row in tables.rows(_MEANS)}
    (times,) = tables.rows(_TIMES)
    return {"run": root.name, "ratios": ratios, "means": means, **times}


def tell(runs: Sequence[Run]) -> None:
    for run in runs:
        print(f"{run['run']}: {run['visits']} visits, {run['minutes']:.1f} minutes of visits")
    for measure in ("ttft", "tpot"):
        print(f"{measure.upper()}, times the merged model's (95 % interval over launches)")
        for key in runs[0]["ratios"]:
            if key[0] != measure:
                continue
            rows = [run["ratios"][key] for run in runs]
            print(f"  {key[1]:22} {', '.join(map(_shown, rows))}; {_agreement(rows)}")
        merged = ", ".join(f"{run['means'][measure, 'LoRA Merged']:.3f}" for run in runs)
        print(f"  merged, mean: {merged} ms")


def _shown(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['ratio']:.3f} [no interval]"
    return f"{row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _agreement(rows: Sequence[dict[str, Any]]) -> str:
    """Intervals of two runs of one truth have values in common in about 99 of 100 pairs."""
    known = [row for row in rows if row["low"] is not None]
    pairs = list(itertools.combinations(known, 2))
    apart = sum(a["high"] < b["low"] or b["high"] < a["low"] for a, b in pairs)
    verdicts = {row["verdict"] for row in rows}
    said = "one verdict" if len(verdicts) == 1 else f"verdicts {', '.join(sorted(verdicts))}"
    return f"{said}, {apart or 'none'} of {len(pairs)} pairs of intervals apart"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", default="served")
    parser.add_argument("--engine-python")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--read", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--raw", type=Path)
    options = parser.parse_args()
    if options.read is None and options.engine_python is None:
        parser.error("--engine-python: the Python of an environment that has the engine; or --read runs that are there")
    with tempfile.TemporaryDirectory() as temporary:
        results = options.results or Path(temporary)
        roots = options.read or [
            sweep(options.plan, options.engine_python, results, f"{options.plan}-{number}")
            for number in range(1, options.runs + 1)
        ]
        runs = [read(root) for root in roots]
    tell(runs)
    figures = [
        run
        | {
            "ratios": list(run["ratios"].values()),
            "means": [{"measure": m, "deployment": d, "mean_ms": ms} for (m, d), ms in run["means"].items()],
        }
        for run in runs
    ]
    write_raw(options.raw, figures)


if __name__ == "__main__":
    main()
