"""Measures how often the statistics find what is true, at full size: ``python benchmarks/truth.py``.

Prints one line a property (target, measured, pass or MISS) and exits 1 if one misses. Takes some minutes; with
``--share 0.1`` a tenth of the trials are taken, and a property may miss by what their number leaves to chance.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
# The simulations live beside the tests that run them at a tenth of the size; ahead of this file's own folder,
# where this script has the same name.
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from analysis.truth import OPEN, PROPERTIES, measure  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=_share, default=1.0, help="of the trials")
    share: float = parser.parse_args().share
    width = max(len(wanted.name) for wanted in PROPERTIES)
    print(f"{'property':{width}}  {'target':>15}  measured  trials")
    missed = 0
    for wanted in PROPERTIES:
        trials, measured = measure(wanted, share)
        word = "pass" if wanted.holds(measured, wanted.slack(trials) if share < 1 else 0.0) else "MISS"
        missed += word == "MISS"
        target = f"{wanted.low:.1%} to {wanted.high:.1%}"
        print(f"{wanted.name:{width}}  {target:>15}  {measured:8.2%}  {trials:6,}  {word}", flush=True)
    print("\nupper ends of percentile intervals that are open (10 visits for p95, 14 for p99; 10 GPUs):")
    trials = max(1, round(2_000 * share))
    for name, open_share in OPEN.items():
        found = open_share(trials, np.random.default_rng(zlib.crc32(name.encode())))
        print(f"{name:{width}}  {found:8.2%}", flush=True)
    print(f"{len(PROPERTIES) - missed} of {len(PROPERTIES)} properties hold")
    return 1 if missed else 0


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0, 1 at most, got {text!r}")
    return share


if __name__ == "__main__":
    sys.exit(main())
