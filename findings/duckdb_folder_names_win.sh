#!/usr/bin/env bash
# DuckDB 2.0.0: folders called key=value above one named Parquet file become columns, and win over the file's own.
#
# A file written with wall_ns = 5, 6, 7 is read by its full name. Because a folder above it is called wall_ns=1000, every
# row says 1000, and the file's own values can not be reached. hive_partitioning is on by itself where folders look so.
#
# Seen, with duckdb==2.0.0 and pyarrow==26.0.1:
#     wall_ns by default: [1000, 1000, 1000]; hive_partitioning=false: [5, 6, 7]
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet duckdb==2.0.0 pyarrow==26.0.1
cd "$folder"
venv/bin/python - <<'PYTHON'
import os
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

os.makedirs("wall_ns=1000")
path = "wall_ns=1000/samples.parquet"
pq.write_table(pa.table({"wall_ns": pa.array([5, 6, 7], pa.int64())}), path)


def read(options: str = "") -> list[int]:
    return [row[0] for row in duckdb.sql(f"SELECT wall_ns FROM read_parquet('{path}'{options})").fetchall()]


default, off = read(), read(", hive_partitioning = false")
print(f"wall_ns by default: {default}; hive_partitioning=false: {off}")
sys.exit(0 if (default, off) == ([1000, 1000, 1000], [5, 6, 7]) else 1)
PYTHON
