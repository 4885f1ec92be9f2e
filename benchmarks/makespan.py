"""How soon is everything done? Visits of a large plan on many GPUs, in the order that the agenda gives, by simulation.

    python benchmarks/makespan.py RUN                     1,000 GPUs, 10,000 configurations
    python benchmarks/makespan.py RUN --gpus 16 --seeds 10

The plan, its blocks and the agenda are real; only time is simulated. How long a visit takes is drawn from the visits
of RUN, a run of the plan rq2, that measured the same strategies. Says how far the end lies above the least that any
order could take: all work divided by the GPUs, or the longest visit. Exits 1 where that is more than 5 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from large_plan import plan_text

from raybench.analysis.tables import Views
from raybench.cluster.agenda import Agenda, Job
from raybench.deploy import strategies
from raybench.model.prepare import Recipe
from raybench.model.weights import resolve_model
from raybench.model.workload import GlueLengths, glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.plan.plan import Block

# The simulation is that of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cluster.schedules import makespan

TARGET = 1.05


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", type=Path, metavar="RUN")
    p.add_argument("--gpus", type=int, default=1000)
    p.add_argument("--seeds", type=int, default=1106, help="of the fine-tunes of each task; 9 configurations")
    p.add_argument("--multi", type=int, default=46, help="configurations of several adapters beside them")
    p.add_argument("--rounds", type=int, default=10)
    options = p.parse_args()
    views = Views(options.run)
    seconds = durations(views)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.toml")
        path.write_text(plan_text(options.seeds, options.multi, options.rounds))
        plan, _ = plan_file.load_plan(str(path), strategies.all_traits(), glue_tasks(), Overrides())
    loaded = time.perf_counter() - started
    job = Job(plan, GlueLengths(0), resolve_model("micro"), Recipe("", (), ()), "cuda")
    started = time.perf_counter()
    of_block = {b.name: seconds[kind(b)] for b in plan.blocks}
    rng = np.random.default_rng(0)
    took, least, visits = makespan(Agenda(job), options.gpus, lambda spec: float(rng.choice(of_block[spec.block])))
    planned = visits / (time.perf_counter() - started)
    seconds_seen = [s for of_kind in seconds.values() for s in of_kind]
    print(
        f"{len(plan.configurations):,} configurations in {len(plan.blocks):,} blocks, {visits:,} visits of "
        f"{min(seconds_seen):.1f} to {max(seconds_seen):.1f} s on {options.gpus:,} GPUs: "
        f"{took:,.1f} s, {took / least:.4f} times the least possible "
        f"(the plan was read in {loaded:.1f} s, {planned:,.0f} visits planned a second)"
    )
    return 0 if took <= TARGET * least else 1


def kind(block: Block) -> tuple[str, int]:
    """A block's strategy, and how many adapters it deploys at most."""
    return block.members[0].strategy, max(len(c.adapters) for c in block.members)


def durations(views: Views) -> dict[tuple[str, int], list[float]]:
    """How long the run's visits took, in seconds, by `kind`."""
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    first = {}
    for c in views.description.configurations:
        strategy, adapters = first.get(c.block, (c.strategy, 0))
        first[c.block] = strategy, max(adapters, len(c.adapters))
    for row in views.rows("FROM visits"):
        found[first[row["block"]]].append(row["total_ns"] / 1e9)
    return dict(found)


if __name__ == "__main__":
    sys.exit(main())
