"""Is anything lost when processes die? Sweeps whose processes are killed at random moments, resumed to the end.

    python benchmarks/kills.py                  200 kills in ten sweeps, about 40 minutes
    python benchmarks/kills.py --kills 40 --seed 7

Each kill is a SIGKILL to the driver, a worker, its fork server, a visit's process, Ray's raylet or its GCS. Every
sweep is then held to what must be there: each request once, committed files unchanged, every configuration complete.
Exits 1 if anything is not. `tests/sweep/kills.py` says how; the tests run a small one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]  # ahead of this folder, where this script has the same name

from small_plans import small_plan  # noqa: E402
from sweep.kills import Siege  # noqa: E402


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kills", type=int, default=200)
    p.add_argument("--each", type=int, default=20, help="kills of one sweep")
    p.add_argument("--rounds", type=int, default=8, help="of each sweep: three visits each")
    p.add_argument("--requests", type=int, default=100, help="of a round: visits so long that kills fall in them")
    p.add_argument("--seed", type=int, default=1)
    options = p.parse_args()
    killed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    started, seed, drivers = time.monotonic(), options.seed, 0
    while sum(killed.values()) < options.kills:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plan = folder / "small.toml"
            plan.write_text(small_plan(options.rounds, options.requests))
            with Siege(plan, folder, seed) as siege:
                try:
                    siege.run(min(options.each, options.kills - sum(killed.values())))
                    found = siege.check()
                except AssertionError as error:
                    print(f"seed {seed}, after {dict(siege.kills)}: {error}")
                    return 1
                killed += siege.kills
                total += Counter(found)
                drivers += siege.drivers
        print(f"seed {seed}: {dict(siege.kills)}, {siege.drivers} drivers; {found}; none lost, none twice", flush=True)
        seed += 1
    by_kind = ", ".join(f"{n} {kind}" for kind, n in killed.most_common())
    print(
        f"{sum(killed.values())} kills ({by_kind}), {drivers} drivers, "
        f"{seed - options.seed} sweeps, {total['rows']:,} rows, {total['lost attempts']} attempts lost and repeated: "
        f"0 rows lost, 0 twice; {(time.monotonic() - started) / 60:.1f} minutes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
