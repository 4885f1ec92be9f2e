"""What views.sql says to a DuckDB that knows nothing of raybench, where a run is not as it was committed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.analysis.tables import Tables, write_derived
from raybench.analysis.verdicts import SCHEMAS
from raybench.store.store import StoreError

RUN = Path(__file__).parent / "version2" / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(RUN, root)
    write_derived(Tables(root))
    return root


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    return root


def read(run: Path) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        connection.execute("SET VARIABLE raybench_run = ?", [str(run)])
        connection.execute((run / "views.sql").read_text())
        return connection.sql("SELECT (SELECT count(*) FROM samples), (SELECT count(*) FROM loads)").fetchall()


def statistics(run: Path) -> list[str]:
    """What raybench makes of a run that it opens now."""
    tables = Tables(run)
    return [repr(tables.rows(f"FROM {name}")) for name in SCHEMAS]


def listed(run: Path, table: str) -> Path:
    return sorted((run / table).iterdir())[0]


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:900] + bytes([data[900] ^ 0x10]) + data[901:])


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit flip": (lambda run: flip(listed(run, "samples")), r"samples/00000001-.*not the bytes that were committed"),
    "longer": (
        lambda run: os.truncate(listed(run, "visits"), 2**40),
        r"visits/00000001-.*1099511627776 bytes, 4836 were",
    ),
    "missing": (lambda run: listed(run, "loads").unlink(), "loads/00000001-.*listed by the manifest, and no such file"),
    "pipe": (lambda run: pipe(listed(run, "loads")), "loads/00000001-.*listed by the manifest, and no such file"),
    "no run": (lambda run: pipe(run / "run.json"), r"run.json: no such file"),
    "hole": (
        lambda run: (run / "manifest/00000002.json").unlink(),
        "manifest/00000003.json: not the entry that its name",
    ),
    "pipe in the manifest": (
        lambda run: pipe(run / "manifest/00000002.json"),
        "00000003.json: not the entry",
    ),
    "copied entry": (
        lambda run: shutil.copy(run / "manifest/00000003.json", run / "manifest/00000004.json"),
        "manifest/00000004.json: (not the entry|lists attempts/)",
    ),
    "stray entry": (lambda run: (run / "manifest/x.json").write_text("{}"), "manifest/x.json: not the entry"),
    "unknown version": (
        lambda run: edit(run / "manifest/00000003.json", '"schema_version": 2', '"schema_version": 99'),
        "manifest/00000003.json: not the entry",
    ),
    "path upwards": (
        lambda run: edit(run / "manifest/00000003.json", '"attempts/', '"../run/attempts/'),
        r"lists ../run/attempts/00000003-.*which cannot be|no such file",
    ),
    "damaged entry": (lambda run: (run / "manifest/00000003.json").write_text("{"), "00000003.json"),
    "derived": (
        lambda run: flip(run / "tables/overhead.parquet"),
        "overhead.parquet: not the bytes that were written",
    ),
    "longer derived": (
        lambda run: os.truncate(run / "tables/cautions.parquet", 2**40),
        "tables/cautions.parquet: 1099511627776 bytes",
    ),
    "derived and not listed": (
        lambda run: shutil.copy(run / "tables/overhead.parquet", run / "tables/extra.parquet"),
        "tables/extra.parquet: not listed by tables/manifest.json",
    ),
    "missing derived": (
        lambda run: (run / "tables/overhead.parquet").unlink(),
        "overhead.parquet: listed by",
    ),
    "derived list is a pipe": (lambda run: pipe(run / "tables/manifest.json"), "tables/manifest.json: no such file"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damage_ends_it_with_an_error_that_names_the_file(
    run: Path, damage: Callable[[Path], object], message: str
) -> None:
    assert read(run) == [(119, 15)]
    damage(run)
    with pytest.raises(duckdb.Error, match=message) as raised:
        read(run)
    if message != "00000003.json":  # that JSON is none says DuckDB itself
        assert str(raised.value).startswith("Invalid Input Error: raybench: ")
        assert "\n" not in str(raised.value)


def test_what_no_entry_lists_is_not_read(run: Path) -> None:
    """An older raybench read ``schema/``, which anyone could fill."""
    before = statistics(run)
    (run / "schema").mkdir()
    samples = pq.read_table(listed(run, "samples"))
    pq.write_table(samples, run / "schema/samples.parquet")
    pq.write_table(samples, run / "samples/00000004-0badf00d.parquet")
    (run / "schema/manifest.json").write_text(
        json.dumps({"files": [{"table": "samples", "path": "samples/00000004-0badf00d.parquet"}]})
    )
    os.mkfifo(run / "schema/visits.parquet")
    assert read(run) == [(119, 15)]
    assert statistics(run) == before
    assert Tables(run).rows("SELECT count(*) AS n FROM samples") == [{"n": 119}]


def test_the_tables_of_statistics_are_not_read_by_raybench(run: Path) -> None:
    before = repr(Tables(run).rows("FROM overhead"))
    pq.write_table(pa.table({"ratio": [1.0]}), run / "tables/overhead.parquet")
    assert repr(Tables(run).rows("FROM overhead")) == before


def test_a_file_that_a_link_leads_out_of_the_run_is_refused(run: Path, tmp_path: Path) -> None:
    path = listed(run, "samples")
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(StoreError, match=rf"^{path}: a link leads out of the run"):
        Tables(run)
