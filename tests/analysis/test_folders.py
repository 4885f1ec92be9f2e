"""Folders above a run that are named like a Hive partition, ``column=value``: the run is read as anywhere else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from raybench.analysis.tables import Tables, views_sql, write_derived
from raybench.schemas import SCHEMAS
from raybench.store.location import ObjectUri
from store.stored_runs import copy_run

RUN = Path(__file__).parent / "version2" / "run"
FOLDERS = ("round=1", "wall_ns=1000", "device=L4", "plan=x/files=2/sequence=1/json=1", "configuration=1", "phase=timed")


def rows_of(table: pa.Table) -> list[str]:
    """By their text, where nan equals nan; in no order, since a view need not have one."""
    return sorted(map(repr, table.to_pylist()))


def contents(tables: Tables) -> dict[str, list[str]]:
    """Everything there is, raw and derived."""
    names = [row["name"] for row in tables.rows("SELECT table_name AS name FROM information_schema.tables")]
    return {name: rows_of(tables.query(f"FROM {name}")) for name in names if not name.startswith("raybench_")}


@pytest.fixture(scope="module")
def expected() -> dict[str, list[str]]:
    return contents(Tables(RUN))


@pytest.mark.parametrize("folders", [*FOLDERS, "content=1/filename=2/size=3"])
def test_a_run_below_them_has_the_same_tables(folders: str, tmp_path: Path, expected: dict[str, list[str]]) -> None:
    root = tmp_path / folders / "run"
    shutil.copytree(RUN, root)
    assert contents(Tables(root)) == expected


def test_a_run_below_such_a_prefix_has_the_same_tables(bucket: ObjectUri, expected: dict[str, list[str]]) -> None:
    root = copy_run(RUN, bucket / "round=1" / "wall_ns=1000" / "device=L4")
    assert contents(Tables(root)) == expected


def test_any_duckdb_reads_it_as_well(tmp_path: Path) -> None:
    root = tmp_path / "/".join(FOLDERS) / "run"
    shutil.copytree(RUN, root)
    tables = Tables(root)
    write_derived(tables)
    code = (
        "import duckdb; c = duckdb.connect(); c.execute(open('views.sql').read());"
        "print(c.sql('FROM overhead').fetchall(), c.sql('FROM by_configuration').fetchall())"
    )
    inside = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    with duckdb.connect() as connection:
        connection.execute("SET VARIABLE raybench_run = ?", [str(root)])
        connection.execute((root / "views.sql").read_text())
        for name in (*SCHEMAS, "overhead", "cautions", "by_configuration"):
            assert rows_of(connection.sql(f"FROM {name}").to_arrow_table()) == rows_of(tables.query(f"FROM {name}"))
        afar = f"{connection.sql('FROM overhead').fetchall()} {connection.sql('FROM by_configuration').fetchall()}"
    assert inside.strip() == afar


def test_a_path_that_duckdb_cannot_but_misread_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "content=1" / "run"
    shutil.copytree(RUN, root)
    with duckdb.connect() as connection:
        connection.execute("SET VARIABLE raybench_run = ?", [str(root)])
        with pytest.raises(duckdb.Error, match="read it from inside, not by this path"):
            connection.execute(views_sql())
