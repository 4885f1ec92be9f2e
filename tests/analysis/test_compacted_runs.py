"""Tables of a run whose commits were compacted: the same to the last digit, by raybench and by any DuckDB."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.compute as pc
import pytest

from generated_runs import EVEN_MS, MS, Took, generated, load_generated
from raybench.analysis import batches
from raybench.analysis.sandbox import shut_off
from raybench.analysis.tables import Tables, views_sql, write_views
from raybench.plan.plan import Configuration
from raybench.schemas import SCHEMAS
from raybench.store.store import RunStore, StoreError
from store.stored_runs import failure_of, key


def drawn_cost(configuration: Configuration, task: str, request: int, round_index: int) -> Took:
    """What `EVEN_MS` says, times something: sums whose last digits would tell another order."""
    draw = random.Random(f"{configuration.name} {task} {request} {round_index}")
    prefill_ms, step_ms = EVEN_MS[configuration.strategy]
    steps = [round(step_ms * MS * draw.lognormvariate(0, 0.1)) for _ in range(3)]
    return Took(round(prefill_ms * MS * draw.lognormvariate(0, 0.1)), steps, host=0.9, device=0.8)


@pytest.fixture(scope="module")
def many_commits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each visit a commit of its own, in an order that is drawn; the last three after a first compaction."""
    folder = tmp_path_factory.mktemp("compacted")
    at_once = RunStore.open(generated(load_generated(folder, rounds=4, requests=10), folder, drawn_cost, "at-once"))
    visits = random.Random(0).sample(at_once.entries()[0].visits, len(at_once.committed()))
    document = {k: v for k, v in at_once.document.items() if k != "schema_version"}
    tables = {name: at_once.read(name) for name in SCHEMAS}
    with RunStore.create(folder, "run", document) as store:
        for visit in visits:
            store.commit({n: t.filter(pc.equal(t["visit"], visit.visit)) for n, t in tables.items()}, [visit])
        store.commit(failure_of(key("mrpc_seed42", 0)), [])
        write_views(store.root)
        assert len(store.entries()) > 8
    return Path(str(store.root))


@pytest.fixture
def run(many_commits: Path, tmp_path: Path) -> Path:
    shutil.copytree(many_commits, tmp_path / "run")
    return tmp_path / "run"


def compact(root: Path) -> None:
    with RunStore.resume(root) as store:
        store._began_after = 3  # two documents
        store.compact()


def every_table(root: Path) -> dict[str, str]:
    tables = Tables(root)
    names = [row["name"] for row in tables.rows("SELECT name FROM (SHOW TABLES) WHERE name NOT LIKE 'raybench_%'")]
    assert len(names) == 39
    return {name: repr(tables.rows(f"FROM {name} ORDER BY ALL")) for name in names}


@pytest.mark.parametrize("at_once", [1, 100, 10**9])
def test_every_table_is_the_same_to_the_last_digit(run: Path, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raybench.store.row_files._MERGED_ROWS", 77)  # files whose bounds are in the midst of visits
    before = every_table(run)
    compact(run)
    assert len(RunStore.open(run).entries()) == 2
    monkeypatch.setattr(batches, "ROWS_AT_ONCE", at_once)
    assert every_table(run) == before


def by_duckdb(root: Path) -> list[Any]:
    """What the shipped views of a run are to a DuckDB that knows nothing of raybench."""
    with duckdb.connect() as connection:
        connection.execute("SET VARIABLE raybench_run = ?", [str(root)])
        connection.execute((root / "views.sql").read_text())
        return [
            connection.sql(f"FROM {name} ORDER BY ALL").to_arrow_table().to_pylist()
            for name in (*SCHEMAS, "by_configuration", "visit_ratios")
        ]


def test_any_duckdb_reads_it_as_before(run: Path, many_commits: Path) -> None:
    before = by_duckdb(run)
    compact(run)
    assert by_duckdb(run) == before
    for name in ("manifest", "samples"):  # what a driver that died had not yet removed
        shutil.copytree(many_commits / name, run / name, dirs_exist_ok=True)
    (run / "manifest/00000002.json").write_text("{")  # whatever is in it
    assert by_duckdb(run) == before
    shutil.rmtree(run / "manifest")  # as in a copy
    assert by_duckdb(run) == before
    assert views_sql() == (run / "views.sql").read_text()


def edit(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = root / "compacted/00000002.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "gap": (
        lambda run: edit(run, lambda d: d.update(first=5)),
        "compacted/00000002.json: does not follow the document",
    ),
    "overlap": (lambda run: edit(run, lambda d: d.update(first=3)), "compacted/00000002.json: does not follow"),
    "backwards": (lambda run: edit(run, lambda d: d.update(sequence=1)), "compacted/00000002.json: does not follow"),
    "version": (
        lambda run: edit(run, lambda d: d.update(schema_version=99)),
        "compacted/00000002.json: does not follow",
    ),
    "missing": (lambda run: (run / "compacted/00000001.json").unlink(), "compacted/00000002.json: does not follow"),
    "stray": (lambda run: (run / "compacted/x.json").write_text("{}"), "compacted/x.json: does not follow"),
    "damaged": (lambda run: (run / "compacted/00000002.json").write_text("{"), "00000002.json"),
    "foreign file": (
        lambda run: edit(run, lambda d: d["files"][0].update(path="samples/00000001-00000000.parquet")),
        "compacted/00000002.json: lists samples/00000001-00000000.parquet, which cannot be",
    ),
    "path upwards": (
        lambda run: edit(run, lambda d: d["files"][0].update(path="../run/" + d["files"][0]["path"])),
        r"\.\./run/samples/.*(which cannot be|no such file)",
    ),
    "another table's": (
        lambda run: edit(run, lambda d: d["files"][0].update(table="loads")),
        "compacted/00000002.json: lists samples/.*, which cannot be",
    ),
    "another's bytes": (
        lambda run: edit(run, lambda d: d["files"][0].update(sha256="0" * 64)),
        "not the bytes that were committed",
    ),
    "a missing file": (
        lambda run: next((run / "visits").iterdir()).unlink(),
        "listed by the manifest, and no such file",
    ),
}


@pytest.mark.parametrize(("damage", "message"), WRONG.values(), ids=WRONG)
def test_a_document_that_cannot_be_ends_the_views_of_any_duckdb(
    run: Path, damage: Callable[[Path], object], message: str
) -> None:
    compact(run)
    damage(run)
    with pytest.raises(duckdb.Error, match=message):
        by_duckdb(run)
    with pytest.raises(StoreError):
        Tables(run)


def test_tables_whose_files_are_compacted_meanwhile_say_so(run: Path) -> None:
    tables = Tables(run)
    compact(run)
    message = rf"^{run}: its driver compacted the run while it was read; run the command again$"
    with pytest.raises(StoreError, match=message):
        tables.rows("SELECT sum(wall_ns) FROM samples")
    with pytest.raises(StoreError, match=message), tables.reading():
        shut_off(tables.connection)
    assert tables.rows("SELECT count(*) AS n FROM visits")[0]["n"] == len(RunStore.open(run).committed())
    assert Tables(run).rows("SELECT count(*) AS n FROM samples")[0]["n"] > 0
