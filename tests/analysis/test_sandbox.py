"""Views that answer from what is in them alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from raybench.analysis.sandbox import shut_off
from raybench.analysis.tables import Tables
from raybench.plan.plan import Plan
from raybench.schemas import SCHEMAS
from runs import measure


@pytest.fixture
def tables(load_plan: Callable[..., Plan], known_latencies: Callable[..., None], tmp_path: Path) -> Tables:
    costs = {"full_ft": 4, "lora_separate": 5, "lora_merged": 4, "multi_lora": 6}
    known_latencies({name: lambda tokens, calls, ms=ms: (ms * 10**6, ms * 10**6, None) for name, ms in costs.items()})
    return Tables(measure(load_plan(rounds=2), tmp_path / "results"))


@pytest.fixture(params=["at once", "in parts"])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How samples are taken in where a run is shut off."""
    if request.param == "in parts":
        monkeypatch.setattr("raybench.analysis.batches.ROWS_AT_ONCE", 1)
    return str(request.param)


def test_every_view_answers_as_before_and_has_its_types(held: str, tables: Tables) -> None:
    names = [row["name"] for row in tables.rows("SELECT name FROM (SHOW TABLES) ORDER BY name")]
    assert set(SCHEMAS) <= set(names)
    types = {name: tables.query(f"DESCRIBE {name}") for name in names}
    rows = {name: tables.query(f"SELECT * FROM {name} ORDER BY ALL") for name in names}
    shut_off(tables.connection)
    for name in names:
        assert tables.query(f"DESCRIBE {name}").equals(types[name]), name
        assert tables.query(f"FROM {name}").num_rows == rows[name].num_rows, name
    for name in SCHEMAS:
        assert tables.query(f"SELECT * FROM {name} ORDER BY ALL").equals(rows[name]), name
    compressed = tables.rows(
        "SELECT DISTINCT compression FROM pragma_storage_info('raybench_held.samples') "
        "WHERE column_name = 'started_ns' AND segment_type = 'BIGINT'"
    )
    assert (compressed == [{"compression": "Uncompressed"}]) == (held == "at once")


def test_no_file_is_needed_any_more_and_none_is_allowed(held: str, tables: Tables) -> None:
    shut_off(tables.connection)
    run = tables.root
    assert isinstance(run, Path)
    run.rename(run.parent / "away")
    assert tables.rows("SELECT count(*) > 0 AS found FROM samples") == [{"found": True}]
    (allowed,) = tables.rows(
        "SELECT current_setting('allowed_paths') AS paths, current_setting('allowed_directories') AS directories, "
        "current_setting('lock_configuration') AS locked"
    )
    assert (allowed["paths"], allowed["locked"]) == ([], True)
    (spilled,) = allowed["directories"]  # DuckDB's own, for what does not fit into memory
    assert spilled.startswith(f"{tempfile.gettempdir()}/raybench-")
    assert not Path(spilled).exists()
    with pytest.raises(duckdb.PermissionException):
        tables.connection.execute("COPY (SELECT 1) TO 'x.csv' (USE_TMP_FILE false)")


def test_what_does_not_fit_into_memory_goes_to_the_temporary_folder(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, here = tmp_path / "temporary", tmp_path / "here"
    for folder in (away, here):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(away))
    monkeypatch.chdir(here)
    connection = tables.connect()
    connection.execute("SET memory_limit = '40MB'")
    connection.execute("SET threads = 1")
    shut_off(connection)
    connection.execute("CREATE TABLE much AS SELECT range AS n, repeat('y', 60) || range AS text FROM range(1000000)")
    assert len(list(away.iterdir())) == 1
    assert connection.execute("SELECT count(*) FROM much").fetchall() == [(1_000_000,)]
    assert list(here.iterdir()) == []
    connection.close()
    assert list(away.iterdir()) == []
