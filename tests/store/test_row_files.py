"""Samples as bytes: the same rows come back, in a third of the bytes that PyArrow would take by itself."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.schemas import SCHEMAS, schema_of
from raybench.store.manifest import Entry, FileEntry
from raybench.store.row_files import Found, decode_files, encode_rows
from raybench.store.storage import StoreError
from store.stored_runs import key, rows_of

_COUNT = 4000


@pytest.fixture(scope="module", params=["classifier", "language model"])
def samples(request: pytest.FixtureRequest) -> pa.Table:
    """Of one visit, one configuration after the other, as a run has them."""
    rng = np.random.default_rng(0)
    order, wall_ns = np.arange(_COUNT), rng.lognormal(np.log(2e6), 0.05, _COUNT).astype(np.int64)
    columns: dict[str, Any] = {"visit": ["a/r00"] * _COUNT, "block": ["a"] * _COUNT, "round": [0] * _COUNT}
    columns |= {"configuration": ["one"] * _COUNT, "task": ["mrpc"] * _COUNT, "phase": ["timed"] * _COUNT}
    columns |= {"request": order, "turn": order, "sequence": order, "tokens": rng.integers(10, 99, _COUNT)}
    columns |= {"started_ns": np.cumsum(wall_ns + 20_000), "host_ns": wall_ns, "wall_ns": wall_ns}
    if request.param == "language model":
        steps = [rng.integers(10**6, 2 * 10**6, 3).tolist() for _ in range(_COUNT)]
        columns |= {"output_tokens": [4] * _COUNT, "prefill_host_ns": wall_ns, "prefill_wall_ns": wall_ns}
        columns |= {"decode_host_ns": steps, "decode_wall_ns": steps}
    schema = SCHEMAS["samples"]
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(_COUNT, f.type) for f in schema]
    return pa.table(arrays, schema=schema)


def test_the_same_rows_are_read_by_pyarrow_and_by_duckdb(samples: pa.Table, tmp_path: Any) -> None:
    entry, data = encode_rows("samples", samples, 1)
    assert pq.read_table(pa.BufferReader(data)).replace_schema_metadata(None).equals(samples)
    path = tmp_path / "samples.parquet"
    path.write_bytes(data)
    with duckdb.connect() as connection:  # its own: the one that all share may hold another test's unread result
        found = connection.sql(f"FROM '{path}'").fetchall()
    assert found == [tuple(row.values()) for row in samples.to_pylist()]
    assert (entry.rows, entry.bytes) == (_COUNT, len(data))


def test_they_take_less_than_half_of_what_they_would(samples: pa.Table) -> None:
    _, data = encode_rows("samples", samples, 1)
    plain = pa.BufferOutputStream()
    pq.write_table(samples, plain, compression="zstd")
    assert len(data) < plain.getvalue().size / 2
    encodings = {
        column.path_in_schema: set(column.encodings)
        for column in (pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0).column(i) for i in range(24))
    }
    assert {name for name, used in encodings.items() if "DELTA_BINARY_PACKED" in used} == {
        "request",
        "turn",
        "sequence",
        "started_ns",
        "switch_ns",
        *(f"{part}{clock}_ns" for clock in ("host", "wall", "device") for part in ("", "prefill_")),
        *(f"decode_{clock}_ns.list.element" for clock in ("host", "wall", "device")),
    }


def test_a_dictionary_that_says_something_twice_is_no_way_out_of_it() -> None:
    """PyArrow takes what is there twice for one, and numbers for what they are: the last is of nothing then."""
    visit = key("a", 0)
    rows = rows_of(visit)["samples"].select(schema_of("samples", 4).names)
    tasks = pa.array([["one", "two", "six"][number % 3] for number in range(rows.num_rows)])
    rows = rows.set_column(rows.schema.get_field_index("task"), rows.schema.field("task"), tasks)
    sink = pa.BufferOutputStream()
    labelled = rows.replace_schema_metadata({"raybench.schema_version": "4"})
    pq.write_table(labelled, sink, compression="none", write_statistics=False)
    sound = sink.getvalue().to_pybytes()
    assert sound.count(b"two") == 1
    for data, found in ((sound, ["one", "two", "six"]), (sound.replace(b"two", b"one"), None)):
        file = FileEntry(
            table="samples",
            path="samples/00000001-00000000.parquet",
            sha256=hashlib.sha256(data).hexdigest(),
            rows=rows.num_rows,
            bytes=len(data),
        )
        entry = Entry(sequence=1, schema_version=4, committed_at=datetime.now(UTC), files=(file,), visits=(visit,))
        decoded = decode_files([Found(entry, file, data, "here")])
        if found is None:
            with pytest.raises(StoreError, match=r"^here: not readable as Parquet \(.*out of bounds"):
                next(decoded)
        else:
            assert next(decoded)[2]["task"].to_pylist()[:3] == found
