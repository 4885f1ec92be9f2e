"""One way to take samples in, in this process; what it took as JSON. `ingest.py` says what the ways are.

python benchmarks/ingest_ways.py WAY FOLDER [--samples 1e7] [--commit 200000] [--output-tokens 0]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from made_visits import MadeVisit, made_visits

from raybench.schemas import SAMPLES

WAYS = ("raybench", "pyarrow", "pyarrow as it is")
_AT = (0, 0.1, 0.5, 1)
_FEW = ("round", "tokens", "batch", "output_tokens")


class Spent:
    """Seconds in the parts that it was entered around."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> None:
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        self.wall_s += time.perf_counter() - self._began
        self.cpu_s += time.process_time() - self._cpu


def portions(samples: float, commit: int, output_tokens: int) -> Iterator[tuple[MadeVisit, int]]:
    """Each visit, and where a commit ends with it how many samples there are by then, else 0.

    The first visit is a commit of its own, as a sweep's is.
    """
    rows = of_commit = 0
    for visit in made_visits(output_tokens):
        rows, of_commit = rows + visit.rows, of_commit + visit.rows
        ends = of_commit >= commit or rows >= samples or rows == visit.rows
        yield visit, rows if ends else 0
        if rows >= samples:
            return
        of_commit = 0 if ends else of_commit


def by_raybench(asked: argparse.Namespace, spent: Spent) -> Iterator[int]:
    """Yields how many samples are committed."""
    from raybench.cluster.agenda import Agenda, Job  # imports ray, which would be in the memory of the other ways too
    from raybench.deploy import all_traits
    from raybench.model.prepare import Recipe
    from raybench.model.weights import ModelSpec
    from raybench.model.workload import GlueLengths, glue_tasks
    from raybench.plan.file import load_plan
    from raybench.store import RunStore
    from raybench.sweep.describe import describe
    from raybench.sweep.recorder import Recorder
    from raybench.visit import Finished, Samples

    plan, _ = load_plan("rq2", all_traits(), glue_tasks())
    model = ModelSpec("micro", "preset_device")
    first = Agenda(Job(plan, GlueLengths(0), model, Recipe("", (), ()), "cpu")).next()
    assert first is not None
    description = describe("run", plan, GlueLengths(0), model, [], all_traits())
    with RunStore.create(asked.folder, "run", description) as store:
        recorder = Recorder(store, interval_s=math.inf)
        yield 0
        for visit, rows in portions(asked.samples, asked.commit, asked.output_tokens):
            spec = dataclasses.replace(first, visit=visit.name, block=visit.block, round=visit.round)
            with spent:
                for batch in visit.batches:
                    recorder.add(spec, Samples(batch))
                recorder.add(spec, Finished(visit.row))
                if rows:
                    recorder.commit()
            if rows:
                yield rows


def by_pyarrow(asked: argparse.Namespace, spent: Spent) -> Iterator[int]:
    """Yields how many samples are written."""
    folder = asked.folder / "samples"
    folder.mkdir()
    options = {} if asked.way == "pyarrow as it is" else as_raybench()
    with pq.ParquetWriter(folder / "all.parquet", SAMPLES, **options) as writer:
        yield 0
        waiting: list[pa.RecordBatch] = []
        for visit, rows in portions(asked.samples, asked.commit, asked.output_tokens):
            waiting += visit.batches
            if rows:
                with spent:
                    writer.write_table(pa.Table.from_batches(waiting), row_group_size=2 * asked.commit)
                waiting.clear()
                yield rows
        with spent:
            writer.close()


def as_raybench() -> dict[str, Any]:
    """How raybench has samples written; `ingest.py` holds what was written to be the same."""
    kinds = {f.name: f.type.value_type if pa.types.is_list(f.type) else f.type for f in SAMPLES}
    numbers = [name for name, kind in kinds.items() if pa.types.is_integer(kind) and name not in _FEW]
    paths = [f"{name}.list.element" if pa.types.is_list(SAMPLES.field(name).type) else name for name in numbers]
    return {
        "compression": "zstd",
        "store_schema": False,
        "write_batch_size": 1 << 14,
        "max_rows_per_page": 1 << 20,
        "column_encoding": dict.fromkeys(paths, "DELTA_BINARY_PACKED"),
        "use_dictionary": [name for name in kinds if name not in numbers],
    }


def layout(files: list[Path], rows: int) -> dict[str, Any]:
    """Rows of each row group, and of the first one how each column is written. Raises `SystemExit` for rows missing."""
    metadata = [pq.read_metadata(file) for file in files]
    groups = [found.row_group(i) for found in metadata for i in range(found.num_row_groups)]
    if (found := sum(group.num_rows for group in groups)) != rows:
        raise SystemExit(f"{files[0].parent}: {found} rows, {rows} were taken in")
    columns = [groups[0].column(i) for i in range(groups[0].num_columns)]
    written = {c.path_in_schema: [c.compression, *sorted(c.encodings)] for c in columns}
    return {"rows": [group.num_rows for group in groups], "written": written}


def peak_bytes() -> int:
    """Of this process's resident set; unlike getrusage's it does not begin with that of what started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=float, default=1e7)
    parser.add_argument("--commit", type=int, default=200_000)
    parser.add_argument("--output-tokens", type=int, default=0)
    asked = parser.parse_args()
    spent, memory, rows = Spent(), list[int](), 0
    for rows in (by_raybench if asked.way == "raybench" else by_pyarrow)(asked, spent):
        while len(memory) < len(_AT) and rows >= _AT[len(memory)] * asked.samples:
            memory.append(psutil.Process().memory_info().rss)
    memory.append(peak_bytes())
    files = sorted(asked.folder.rglob("samples/*.parquet"))
    told = {
        "samples_per_s": rows / spent.wall_s,
        "samples_per_cpu_s": rows / spent.cpu_s,
        "bytes_per_sample": sum(file.stat().st_size for file in files) / rows,
        "memory_bytes": memory,
        "layout": layout(files, rows),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
