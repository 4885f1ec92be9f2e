"""How fast are raw samples taken in, in what memory: raybench's driver, and PyArrow alone writing the same columns.

    python benchmarks/ingest.py [--samples 1e7] [--commit 200000] [--repeats 3] [--output-tokens 0] [--folder DIR]

``raybench``: batches of 100 to 10,000 samples, as visits stream them, go through `sweep.recorder.Recorder`: copied,
checked, written as Parquet, hashed, made durable, entered in the manifest; a commit each ``--commit`` samples (a sweep
commits every five seconds). ``pyarrow``: the same batches to one `pyarrow.parquet.ParquetWriter`, nothing checked and
nothing synced, in row groups of the same rows with the same encodings, which are held to be the same. ``pyarrow as it
is``: with the writer's own options. Each is a process of its own (`ingest_ways.py`), in turn. Samples a second are of
the time in which samples are taken in, not of that in which they are made up (`made_visits.py`); beside it stands the
same by CPU time, of all threads, which other work on the machine moves less. Memory is the resident set after imports,
at 10, 50 and 100 % of the samples, and its peak. ``--samples 1e8`` is a long run, for ``--repeats 1``: 2 GB of disk,
given back.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from builds import THIS, environment
from raw import write_raw

HERE = Path(__file__).parent
WAYS = ("raybench", "pyarrow", "pyarrow as it is")


def taken_in(way: str, folder: str, asked: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "ingest_ways.py"), way, folder, "--samples", str(asked.samples)]
    command += ["--commit", str(asked.commit), "--output-tokens", str(asked.output_tokens)]
    done = subprocess.run(command, env=environment(THIS), stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def median_of(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=float, default=1e7)
    parser.add_argument("--commit", type=int, default=200_000, help="samples of a commit, and of a row group")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output-tokens", type=int, default=0, help="of a language model's samples; 0: a classifier's")
    parser.add_argument("--folder", type=Path, help="on the disk to write to; what is written is removed")
    parser.add_argument("--raw", type=Path)
    asked = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for repeat in range(asked.repeats):
        for way in random.Random(repeat).sample(WAYS, len(WAYS)):
            with tempfile.TemporaryDirectory(prefix="raybench-ingest-", dir=asked.folder) as folder:
                found[way].append(taken_in(way, folder, asked))
        if found["raybench"][-1]["layout"] != found["pyarrow"][-1]["layout"]:
            raise SystemExit("raybench and pyarrow wrote other row groups or encodings: as_raybench in ingest_ways.py")
    print(f"{asked.samples:,.0f} samples, {asked.commit:,} a commit, {asked.repeats} repeats, {os.cpu_count()} cores")
    heads = f"{'samples/s':>10} {'of pyarrow':>10} {'a CPU s':>10} {'of pyarrow':>10} {'bytes':>6}"
    print(f"{'':16} {heads}   MB at 0, 10, 50, 100 %, peak")
    for way, runs in found.items():
        memory = [statistics.median(sizes) / 1e6 for sizes in zip(*(run["memory_bytes"] for run in runs), strict=True)]
        figures = ""
        for rate in ("samples_per_s", "samples_per_cpu_s"):
            both = zip(runs, found["pyarrow"], strict=True)
            figures += f"{median_of(runs, rate):10,.0f} {statistics.median(a[rate] / b[rate] for a, b in both):10.2f} "
        size = median_of(runs, "bytes_per_sample")
        print(f"{way:16} {figures}{size:6.2f}  ", ", ".join(f"{mb:.0f}" for mb in memory))
    write_raw(asked.raw, found)


if __name__ == "__main__":
    main()
