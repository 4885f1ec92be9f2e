"""How fast is the driver: visits that it schedules a second, samples that it receives and commits a second.

    python benchmarks/driver.py                              many small visits: the rate of scheduling
    python benchmarks/driver.py --rows 20000 --blocks 20     few large ones: the rate of samples
    python benchmarks/driver.py --rows 200 --blocks 20 --rounds 500    10,000 visits: whether its memory stays flat

Real Ray, scheduling, streaming, checks and Parquet; only what a visit measures is made up in advance, since the
question is what the driver adds. One process a worker, on logical GPUs; the first visits, which are slower, count.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import ray
from raw import write_raw

from raybench.cluster import cluster
from raybench.cluster.agenda import Agenda, Job
from raybench.deploy import strategies
from raybench.machine import environment
from raybench.model.prepare import Recipe
from raybench.model.weights import resolve_model
from raybench.model.workload import GlueLengths, glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.schemas import SAMPLES
from raybench.store.store import RunStore
from raybench.sweep.describe import describe
from raybench.sweep.recorder import Recorder
from raybench.visit.messages import Finished, Message, Samples
from raybench.visit.process import in_parcels
from raybench.visit.spec import VisitSpec

_ROLES = 4


class Prepared:
    """Stands for a worker: the messages of its visits are there already."""

    def __init__(self, device_kind: str) -> None:
        self._numbers = pa.array(range(1_000_000), pa.int64())
        self._jitter = pa.array(np.random.default_rng(0).integers(0, 100_000, 10_000))

    def start(self, model: object, recipe: object) -> dict[str, Any]:
        device = f"GPU-{os.getpid()}"
        return {
            "machine": environment.describe_machine(),
            "versions": environment.package_versions(),
            "device": device,
            "device_name": "made up",
        }

    def visit(self, spec: VisitSpec) -> Iterator[list[Message]]:
        yield from in_parcels(self._messages(spec))

    def _messages(self, spec: VisitSpec) -> Iterator[Message]:
        rows = sum(map(len, spec.requests))
        n = len(spec.requests[0])
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            yield Samples(batch(spec, n, self._numbers.slice(start, count), self._jitter.slice(0, count)))
        yield Finished(
            {
                "visit": spec.visit,
                "block": spec.block,
                "round": spec.round,
                "attempt": spec.attempt,
                "host": "here",
                "device": f"GPU-{os.getpid()}",
                "device_name": "made up",
                "pid": os.getpid(),
                "started_at": datetime.now(UTC),
                **dict.fromkeys(("fork_ns", "load_ns", "warmup_ns", "timing_ns"), 0),
                "total_ns": 1,
                "process_peak_bytes": 0,
                "environment": "{}",
            }
        )


def batch(spec: VisitSpec, n: int, index: pa.Array, jitter: pa.Array) -> pa.RecordBatch:
    """The visit's timed samples of these numbers; ``n`` of each configuration."""
    count = len(index)
    names = pa.array([c.name for c in spec.configurations])
    columns: dict[str, Any] = {
        "visit": pa.repeat(spec.visit, count),
        "block": pa.repeat(spec.block, count),
        "configuration": names.take(pc.divide(index, n)),
        "round": pa.repeat(spec.round, count),
        "task": pa.repeat(spec.configurations[0].tasks[0], count),
        "request": pc.add(pc.subtract(index, pc.multiply(pc.divide(index, n), n)), spec.round * n),
        "phase": pa.repeat("timed", count),
        "turn": index,
        "sequence": index,
        "tokens": pa.repeat(64, count),
        "started_ns": pc.multiply(index, 4_300_000),
        "host_ns": pc.add(jitter, 4_000_000),
        "wall_ns": pc.add(jitter, 4_100_000),
    }
    arrays = [columns[f.name].cast(f.type) if f.name in columns else pa.nulls(count, f.type) for f in SAMPLES]
    return pa.RecordBatch.from_arrays(arrays, schema=SAMPLES)


def plan_text(blocks: int, rounds: int, rows: int) -> str:
    """Blocks of `_ROLES` configurations that serve the same requests, as those of one task and seed do."""
    parts = [f'name = "driver"\nrounds = {rounds}\nrequests = {max(1, rows // _ROLES)}\nwarmups = 0\n']
    seeds = ", ".join(map(str, range(blocks)))
    for i in range(_ROLES):
        role = f'role = "role_{i}"\n' if i else ""
        parts.append(f'[[matrix]]\nname = "role{i}_{{seed}}"\nstrategy = "full_ft"\n{role}')
        parts.append(f'tasks = ["mrpc"]\nseeds = [{seeds}]\n')
    return "\n".join(parts)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--workers", type=int, default=4)
    p.add_argument("--blocks", type=int, default=300)
    p.add_argument("--rounds", type=int, default=20)
    p.add_argument("--rows", type=int, default=_ROLES, help="samples of a visit")
    p.add_argument("--raw", type=Path)
    options = p.parse_args()
    cluster._Worker = ray.remote(max_restarts=0, max_task_retries=0)(Prepared)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "driver.toml")
        path.write_text(plan_text(options.blocks, options.rounds, options.rows))
        plan, _ = plan_file.load_plan(str(path), strategies.all_traits(), glue_tasks(), Overrides())
        write_raw(options.raw, run(plan, Path(folder), options.workers))
    return 0


def run(plan: Any, folder: Path, workers: int) -> dict[str, Any]:
    from ray.cluster_utils import Cluster as Nodes

    model = resolve_model("micro")
    job = Job(plan, GlueLengths(plan.workload_seed), model, Recipe("", (), ()), "cuda")
    description = describe("run", plan, job.workload, model, [], strategies.all_traits())
    head = {"num_cpus": workers, "num_gpus": workers, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args=head)
    with cluster.Cluster(nodes.address, workers=workers) as held, RunStore.create(folder, "run", description) as store:
        while len(held.start(model, job.recipe, workers)) < workers:
            time.sleep(0.2)
        agenda, recorder = Agenda(job), Recorder(store)
        visits = len(agenda)
        started, cpu = time.perf_counter(), time.process_time()
        resident: list[int] = []
        finished = 0
        for spec, message in held.run(agenda):
            recorder.add(spec, message)
            if isinstance(message, Finished):
                finished += 1
                if finished % 1000 == 0:
                    resident.append(psutil.Process().memory_info().rss)
        received = time.perf_counter() - started
        recorder.commit()
        committed, cpu = time.perf_counter() - started, time.process_time() - cpu
        rows = sum(file.rows for entry in store.entries() for file in entry.files if file.table == "samples")
        size = sum(file.bytes for entry in store.entries() for file in entry.files)
        done = len(store.committed())
    nodes.shutdown()
    assert (done, rows) == (visits, plan.expected_samples()), (done, visits, rows)
    print(
        f"{workers} workers: {visits:,} visits in {received:.2f} s, {visits / received:,.0f} a second; "
        f"{rows:,} samples committed in {committed:.2f} s, {rows / committed:,.0f} a second, "
        f"{size / rows:.1f} bytes each; {cpu:.2f} s of CPU time in the driver, its threads included"
    )
    if len(resident) > 1:
        growth = (resident[-1] - resident[0]) / (len(resident) - 1)
        print(
            f"resident at each 1,000 visits: {', '.join(f'{size / 1e6:,.0f}' for size in resident)} MB; "
            f"{growth / resident[0]:+.2%} of the first for 1,000 further visits"
        )
    return {
        "workers": workers,
        "visits": visits,
        "received_s": received,
        "committed_s": committed,
        "samples": rows,
        "bytes": size,
        "cpu_s": cpu,
        "resident_bytes_each_1000_visits": resident,
    }


if __name__ == "__main__":
    sys.exit(main())
