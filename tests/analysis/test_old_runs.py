"""Runs of schema version 2: `version2` holds a small one, and its tables as the raybench that wrote it showed them."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from raybench.analysis.tables import Tables, views_sql
from raybench.schemas import SCHEMAS
from raybench.store.store import RunStore, StoreError
from raybench.sweep import status
from store.stored_runs import failure_of, key

HERE = Path(__file__).parent / "version2"
RUN = HERE / "run"
TABLES: dict[str, list[dict[str, Any]]] = json.loads((HERE / "tables.json").read_text())


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables(RUN)


@pytest.mark.parametrize("name", TABLES)
def test_its_tables_come_out_equal(tables: Tables, name: str) -> None:
    by_clock = " WHERE clock = 'wall'" if TABLES[name] and "clock" in TABLES[name][0] else ""
    found = tables.rows(f"FROM {name}{by_clock}")
    assert len(found) == len(TABLES[name])
    for row, before in zip(found, TABLES[name], strict=True):
        for column, value in before.items():
            if isinstance(value, float) and math.isfinite(value):  # NumPy's log is another by a digit on other CPUs
                assert row[column] == pytest.approx(value, rel=1e-13), (column, before)
                continue
            assert row[column] == value or (value != value and math.isnan(row[column])), (column, before)


def test_a_column_that_it_lacks_is_null(tables: Tables) -> None:
    assert set(RunStore.open(RUN).read("loads")["adapter_effect"].to_pylist()) == {None}
    rows = tables.rows("SELECT load_ns, gate_error, adapter_effect FROM loads")
    assert len(rows) == 15
    assert {row["adapter_effect"] for row in rows} == {None}
    assert all(row["load_ns"] > 0 for row in rows)


def test_it_is_a_classifiers_one_prompt_at_a_time(tables: Tables) -> None:
    described = tables.description
    assert described.model.task_type == "SEQ_CLS"
    assert {(c.batch, c.kv_cache, c.quantization) for c in described.configurations} == {(1, "dynamic", None)}
    assert tables.rows("SELECT task_type FROM run") == [{"task_type": "SEQ_CLS"}]
    assert tables.rows("SELECT DISTINCT batch, kv_cache, quantization FROM configurations") == [
        {"batch": 1, "kv_cache": "dynamic", "quantization": None}
    ]
    assert tables.rows("SELECT DISTINCT batch, output_tokens, decode_wall_ns FROM timed") == [
        {"batch": 1, "output_tokens": None, "decode_wall_ns": None}
    ]
    for table in ("by_measure", "by_strategy", "overhead", "significance", "percentiles", "by_axis"):
        assert tables.rows(f"SELECT DISTINCT measure FROM {table}") == [{"measure": "end_to_end"}]
    assert tables.rows("SELECT DISTINCT argmax_agreement, kl_divergence, untied_bytes FROM loads") == [
        {"argmax_agreement": None, "kl_divergence": None, "untied_bytes": None}
    ]


def test_nothing_was_counted_in_it(tables: Tables) -> None:
    for name in ("counts", "calibrations", "predictions", "attribution"):
        assert tables.rows(f"FROM {name}") == []


def test_any_duckdb_reads_it_by_the_views_of_today(tables: Tables) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET VARIABLE raybench_run = ?", [str(RUN)])
        connection.execute(views_sql())
        for name in (*SCHEMAS, "timed", "by_configuration", "memory_and_load"):
            query = f"FROM {name} ORDER BY ALL"  # those of a join come as its threads are done
            assert connection.sql(query).to_arrow_table().equals(tables.query(query))


def test_its_status_is_told() -> None:
    found = status.read(RUN)
    assert (found.visits_done, found.visits_planned, found.samples, found.lost_attempts) == (5, 6, 52, 1)
    assert (found.configurations_complete, found.configurations) == (4, 7)


def test_nothing_is_added_to_it(tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(RUN, root)
    before = {path: path.read_bytes() for path in root.rglob("*.parquet")}
    with (
        RunStore.resume(root) as store,
        pytest.raises(StoreError, match="begun with schema version 2, and this raybench writes 10"),
    ):
        store.commit(failure_of(key("mrpc_seed42", 1)), [])
    assert {path: path.read_bytes() for path in root.rglob("*.parquet")} == before
