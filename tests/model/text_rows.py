"""Rows of texts, in each kind of file that texts may be in."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = [
    {"text": "a film that someone wanted to make", "kind": "films"},
    {"text": 'he said "no", and left', "kind": "news"},
    {"text": "two\nlines, or\r\nthree", "kind": "news"},
    {"text": "Ünïcode \u2028 and \u0085 are no line ends", "kind": "news"},
    {"text": "rain in the north \U0001f327", "kind": "news"},
]
SUFFIXES = ["parquet", "jsonl", "csv"]


def write(path: Path, rows: Sequence[Any]) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return str(path)
