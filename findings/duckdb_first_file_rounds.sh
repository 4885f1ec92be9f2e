#!/usr/bin/env bash
# DuckDB 2.0.0: of a list of Parquet files the first one's types hold for all: a later file's 2.7 is read as 3.
#
# Neither an error nor a warning: INTEGER in the first file rounds the DOUBLEs of the next. The other way round, and with
# union_by_name, nothing is lost.
#
# Seen, with duckdb==2.0.0 and pyarrow==26.0.1:
#     integer file first: [1, 3]; double file first: [2.7, 1.0]; union_by_name: [1.0, 2.7]
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet duckdb==2.0.0 pyarrow==26.0.1
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

pq.write_table(pa.table({"v": pa.array([1], pa.int32())}), "integer.parquet")
pq.write_table(pa.table({"v": pa.array([2.7], pa.float64())}), "double.parquet")


def read(files: str, options: str = "") -> list[float]:
    return [row[0] for row in duckdb.sql(f"FROM read_parquet({files}{options})").fetchall()]


first = read("['integer.parquet', 'double.parquet']")
second = read("['double.parquet', 'integer.parquet']")
by_name = read("['integer.parquet', 'double.parquet']", ", union_by_name = true")
print(f"integer file first: {first}; double file first: {second}; union_by_name: {by_name}")
sys.exit(0 if (first, second, by_name) == ([1, 3], [2.7, 1.0], [1.0, 2.7]) else 1)
PYTHON
