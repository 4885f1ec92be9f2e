"""Decoding steps as a list in their request's row, or as rows of a table of their own: which does DuckDB read faster?

python benchmarks/decode_steps.py [REQUESTS] [STEPS] [ROUNDS]

The same times in both forms, in files as a run has them. Each round asks each question of both, in turn, the one that
goes first drawn anew; answers must be equal. What is printed are medians over rounds, and of the ratio within a round.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FILES = 40
QUESTIONS = {
    "mean TPOT of each request": (
        "SELECT visit, sequence, list_avg(decode_wall_ns) AS tpot FROM samples ORDER BY ALL",
        "SELECT visit, sequence, avg(wall_ns) AS tpot FROM steps GROUP BY ALL ORDER BY ALL",
    ),
    "mean TPOT of each configuration": (
        "SELECT configuration, avg(list_avg(decode_wall_ns)) AS tpot FROM samples GROUP BY ALL ORDER BY ALL",
        """
        SELECT configuration, avg(tpot) AS tpot
        FROM samples
        JOIN (SELECT visit, sequence, avg(wall_ns) AS tpot FROM steps GROUP BY ALL) USING (visit, sequence)
        GROUP BY ALL ORDER BY ALL
        """,
    ),
    "mean of each step": (
        """
        SELECT step, avg(wall_ns) AS mean
        FROM (SELECT unnest(range(len(decode_wall_ns))) AS step, unnest(decode_wall_ns) AS wall_ns FROM samples)
        GROUP BY ALL ORDER BY ALL
        """,
        "SELECT step::BIGINT AS step, avg(wall_ns) AS mean FROM steps GROUP BY ALL ORDER BY ALL",
    ),
    "mean wall time of each configuration": (
        "SELECT configuration, avg(wall_ns) AS mean FROM samples GROUP BY ALL ORDER BY ALL",
        "SELECT configuration, avg(wall_ns) AS mean FROM plain GROUP BY ALL ORDER BY ALL",
    ),
}
"""Each of the list and of the table; the last needs no step: what the list costs who does not ask for it."""


def write(folder: Path, requests: int, steps: int) -> dict[str, int]:
    """Both forms, and the samples without steps; bytes of each."""
    rng = np.random.default_rng(0)
    each = requests // FILES
    sizes = dict.fromkeys(("samples", "steps", "plain"), 0)
    for file in range(FILES):
        times = rng.lognormal(np.log(5e6), 0.05, (2, each, steps)).astype(np.int64)
        offsets = pa.array(np.arange(0, each * steps + 1, steps, dtype=np.int32))
        lists = [pa.ListArray.from_arrays(offsets, pa.array(clock.ravel())) for clock in times]
        visit = [f"mrpc_seed42/r{file:02d}"] * each
        plain = {
            "visit": visit,
            "configuration": [f"configuration_{i % 4}" for i in range(each)],
            "sequence": pa.array(np.arange(each, dtype=np.int32)),
            "wall_ns": times[1].sum(axis=1),
        }
        tables = {
            "plain": pa.table(plain),
            "samples": pa.table(plain | {"decode_host_ns": lists[0], "decode_wall_ns": lists[1]}),
            "steps": pa.table(
                {
                    "visit": pa.array(visit * steps),
                    "sequence": pa.array(np.repeat(np.arange(each, dtype=np.int32), steps)),
                    "step": pa.array(np.tile(np.arange(steps, dtype=np.int32), each)),
                    "host_ns": times[0].ravel(),
                    "wall_ns": times[1].ravel(),
                }
            ),
        }
        for name, table in tables.items():
            path = folder / f"{name}_{file:02d}.parquet"
            pq.write_table(table, path, compression="zstd")
            sizes[name] += path.stat().st_size
    return sizes


def seconds(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[float, pa.Table]:
    began = time.perf_counter()
    answer = connection.sql(sql).to_arrow_table()
    return time.perf_counter() - began, answer


def main(requests: int, steps: int, rounds: int) -> None:
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name, duckdb.connect() as connection:
        sizes = write(Path(name), requests, steps)
        for view in sizes:
            connection.execute(f"CREATE VIEW {view} AS FROM read_parquet('{name}/{view}_*.parquet')")
        print(
            f"DuckDB {duckdb.__version__}: {requests:,} requests of {steps} decoding steps, {FILES} files, two clocks"
        )
        print(f"bytes: in lists {sizes['samples'] - sizes['plain']:,}, in a table {sizes['steps']:,}")
        print(f"{'':40s}  in lists  in a table  table / lists")
        for question, forms in QUESTIONS.items():
            found: list[list[float]] = []
            for _ in range(rounds):
                taken, answers = [0.0, 0.0], [pa.table({}), pa.table({})]
                for form in rng.permutation(2):
                    taken[form], answers[form] = seconds(connection, forms[form])
                for column in answers[0].column_names:
                    a, b = (answer[column].to_numpy() for answer in answers)
                    # Sums of doubles depend on how threads share them.
                    same = np.allclose(a, b, rtol=1e-12, atol=0) if a.dtype == float else (a == b).all()
                    if not same:
                        raise SystemExit(f"{question}: the two forms answer differently")
                found.append(taken)
            lists, table = np.median(found, axis=0)
            ratios = [b / a for a, b in found]
            spread = f"[{min(ratios):.2f}, {max(ratios):.2f}]"
            print(f"{question:40s}  {lists:7.3f}s  {table:9.3f}s  {np.median(ratios):6.2f} {spread}")


if __name__ == "__main__":
    given = [int(value) for value in sys.argv[1:]]
    main(*given, *(200_000, 128, 7)[len(given) :])
