from __future__ import annotations

import errno
import hashlib
import json
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench import manifest
from raybench.records import SCHEMAS, InputError, visit_name
from raybench.store import RunStore, StoreError, VisitKey, validate_run_id

REQUESTS = 20
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
SPAWN = multiprocessing.get_context("spawn")


def key(block: str, round_index: int, attempt: int = 0) -> VisitKey:
    name = visit_name(block, round_index, attempt)
    return VisitKey(visit=name, block=block, round=round_index, attempt=attempt)


def rows_of(visit: VisitKey, changes: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, pa.Table]:
    """What one visit of two configurations leaves; ``changes`` replaces values in the last row of a table."""
    draw = random.Random(visit.visit)
    place = {"visit": visit.visit, "block": visit.block, "round": visit.round}
    samples = [
        place
        | {"configuration": configuration, "task": "mrpc", "adapter": None, "request": request, "phase": "timed"}
        | {"turn": request, "sequence": 2 * request + offset, "tokens": 64, "started_ns": 1000 * request}
        | {"host_ns": draw.randint(1, 10**7), "wall_ns": draw.randint(10**7, 10**8)}
        | {"device_ns": None, "switch_ns": None}
        for request in range(REQUESTS // 2)
        for offset, configuration in enumerate(("full_ft", "lora_merged"))
    ]
    visits = [
        place
        | {"attempt": visit.attempt, "host": "node", "device": "cpu", "device_name": "CPU", "pid": 7}
        | {"started_at": NOW, "fork_ns": 1, "load_ns": 2, "warmup_ns": 0, "timing_ns": 4, "total_ns": 9}
        | {"process_peak_bytes": 1 << 20, "environment": "{}"}
    ]
    loads = [
        place
        | {"configuration": configuration, "load_ns": 5, "adapter_load_ns": None, "merge_ns": None}
        | {"weight_bytes": 10, "adapter_bytes": 0, "resident_bytes": 10, "load_peak_bytes": 12}
        | {"forward_peak_bytes": 3, "gate_error": 1e-7, "gate_tolerance": 1e-4}
        for configuration in ("full_ft", "lora_merged")
    ]
    rows: dict[str, list[dict[str, Any]]] = {"samples": samples, "visits": visits, "loads": loads}
    for table, values in (changes or {}).items():
        rows[table][-1].update(values)
    return {table: pa.Table.from_pylist(found, schema=SCHEMAS[table]) for table, found in rows.items()}


def failure_of(visit: VisitKey, kind: str = "worker_lost") -> dict[str, pa.Table]:
    row = visit.model_dump() | {"configuration": "full_ft", "kind": kind, "message": "gone", "failed_at": NOW}
    return {"failures": pa.Table.from_pylist([row], schema=SCHEMAS["failures"])}


def commit(store: RunStore, *visits: VisitKey) -> None:
    parts = [rows_of(visit) for visit in visits]
    store.commit({table: pa.concat_tables([part[table] for part in parts]) for table in parts[0]}, visits)


def problem_of(action: Callable[..., object], *args: Any) -> str | None:
    try:
        action(*args)
    except StoreError as error:
        return str(error)
    return None


def digests(root: Path) -> dict[Path, str]:
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "driver.lock"]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore.create(tmp_path / "results", "first", {"plan": "rq2"}) as store:
        yield store


@pytest.fixture(scope="module")
def three_commits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with RunStore.create(tmp_path_factory.mktemp("template"), "first", {"plan": "rq2"}) as store:
        commit(store, key("a", 0))
        commit(store, key("b", 0), key("a", 1))
        commit(store, key("b", 1))
        store.verify()
    return store.root


@pytest.fixture
def three(three_commits: Path, tmp_path: Path) -> Iterator[RunStore]:
    """A run of three commits, the second of two visits."""
    with RunStore.resume(shutil.copytree(three_commits, tmp_path / "results/first")) as store:
        yield store


# ---- names and description


@pytest.mark.parametrize("run_id", ["a", "2025-06-01T12.00_x", "0", "x" * 100, "a..b"])
def test_a_run_id_names_a_directory(run_id: str) -> None:
    assert validate_run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../x", "/tmp/x", "a/b", "a\\b", "a\0b", "a\n", "\na", "-rf", ".hidden", "é", "x" * 101]
)
def test_a_run_id_that_could_lead_elsewhere_is_refused_in_one_line(run_id: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--run-id") as caught:
        RunStore.create(tmp_path, run_id, {})
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_description_is_kept_as_given_with_the_schema_version(run: RunStore) -> None:
    text = (run.root / "run.json").read_text()
    assert text == '{\n "plan": "rq2",\n "schema_version": 2\n}\n'
    assert RunStore.open(run.root).description == {"plan": "rq2", "schema_version": 2}


def test_an_existing_run_is_not_begun_again(run: RunStore) -> None:
    run.close()
    before = digests(run.root)
    with pytest.raises(InputError, match=r"--resume.*another --run-id"):
        RunStore.create(run.root.parent, "first", {})
    (run.root.parent / "other").mkdir()
    (run.root.parent / "other/thesis.tex").touch()
    (run.root.parent / "file").touch()
    for name in ("other", "file"):
        with pytest.raises(InputError, match="exists"):
            RunStore.create(run.root.parent, name, {})
    assert digests(run.root) == before


def test_a_description_that_json_cannot_hold_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        RunStore.create(tmp_path, "a", {"margin": math.nan})
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_driver_died_while_creating_it_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "a/samples").mkdir(parents=True)
    (tmp_path / "a/driver.lock").touch()
    (tmp_path / "a/.run.json.0.tmp").write_text("{")
    with pytest.raises(InputError, match="no run here"):
        RunStore.resume(tmp_path / "a")
    RunStore.create(tmp_path, "a", {}).close()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(
        ["run.json", "driver.lock", "manifest", *SCHEMAS]
    )


def test_a_link_out_of_the_results_directory_is_refused(run: RunStore, tmp_path: Path) -> None:
    run.close()
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere/first"
    link.symlink_to(run.root)
    (tmp_path / "elsewhere/dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "elsewhere/to-empty").symlink_to(tmp_path / "empty")
    for enter in (RunStore.open, RunStore.resume):
        with pytest.raises(InputError, match="leads outside"):
            enter(link)
    for name in ("first", "dangling", "to-empty"):
        with pytest.raises(InputError, match="exists"):
            RunStore.create(tmp_path / "elsewhere", name, {})
    (run.root.parent / "alias").symlink_to("first")
    assert RunStore.open(run.root.parent / "alias").root == run.root


# ---- what a commit makes visible


def test_what_was_committed_is_read_back_exactly(run: RunStore) -> None:
    first, second = key("a", 0), key("b", 3)
    entry = run.commit(rows_of(first) | failure_of(key("b", 3)), [first])
    run.commit(rows_of(second), [second])
    assert entry is not None
    assert [file.table for file in entry.files] == ["samples", "visits", "loads", "failures"]
    for store in (run, RunStore.open(run.root)):
        assert store.committed() == {("a", 0), ("b", 3)}
        assert [entry.sequence for entry in store.entries()] == [1, 2]
        for table, schema in SCHEMAS.items():
            parts = [(rows_of(first) | failure_of(key("b", 3))).get(table), rows_of(second).get(table)]
            read = store.read(table)
            kept = [part for part in parts if part is not None]
            assert read.equals(pa.concat_tables([schema.empty_table(), *kept]))
            assert read.schema.equals(schema, check_metadata=True)


def test_a_run_without_commits_reads_as_empty_tables(run: RunStore) -> None:
    assert RunStore.open(run.root).read("samples").equals(SCHEMAS["samples"].empty_table())
    assert run.commit({"samples": SCHEMAS["samples"].empty_table()}, []) is None
    assert run.commit({}, []) is None
    assert run.entries() == []


def test_a_manifest_entry_is_plain_json_and_its_files_are_as_it_says(run: RunStore) -> None:
    visit = key("blöck", 2, 1)
    commit(run, visit)
    text = (run.root / "manifest/00000001.json").read_text()
    entry = json.loads(text)
    assert text == json.dumps(entry, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    assert entry["visits"] == [{"attempt": 1, "block": "blöck", "round": 2, "visit": "blöck/r02/a1"}]
    assert datetime.fromisoformat(entry["committed_at"]).tzinfo is not None
    for file in entry["files"]:
        data = (run.root / file["path"]).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file["sha256"], file["bytes"])
        column = pq.ParquetFile(run.root / file["path"]).metadata.row_group(0).column(0)
        assert column.compression == "ZSTD"


def test_duckdb_reads_the_listed_files(three: RunStore) -> None:
    paths = [str(path) for path in three.files("samples")]
    counted = duckdb.execute(
        "select count(*), count(distinct visit), sum(wall_ns), count(device_ns) from read_parquet(?)", [paths]
    ).fetchone()
    assert counted == (4 * REQUESTS, 4, sum(three.read("samples")["wall_ns"].to_pylist()), 0)


def test_a_late_duplicate_of_a_visit_loses(run: RunStore) -> None:
    first, late, fresh = key("a", 0), key("a", 0, 1), key("a", 1)
    commit(run, first)
    before = digests(run.root)
    assert run.commit(rows_of(late) | failure_of(late), [late]) is None
    assert digests(run.root) == before
    commit(run, late, fresh)
    assert RunStore.open(run.root).read("visits")["visit"].to_pylist() == [first.visit, fresh.visit]
    assert [visit.visit for visit in run.entries()[-1].visits] == [fresh.visit]


def test_two_attempts_of_a_visit_in_one_commit_are_a_mistake(run: RunStore) -> None:
    with pytest.raises(ValueError, match="at most one attempt"):
        commit(run, key("a", 0), key("a", 0, 1))
    with pytest.raises(ValueError, match="no such table: sample"):
        run.commit({"sample": rows_of(key("a", 0))["samples"]}, [])


def test_failures_need_no_finished_visit(run: RunStore) -> None:
    lost, retried = key("a", 0), key("a", 0, 1)
    run.commit(failure_of(lost), [])
    assert run.committed() == set()
    assert run.commit(failure_of(lost), []) is None  # offered again
    run.commit(rows_of(retried), [retried])
    hopeless = key("b", 0)
    run.commit(failure_of(hopeless, "out_of_memory"), [hopeless])
    store = RunStore.open(run.root)
    store.verify()
    assert store.committed() == {("a", 0), ("b", 0)}
    assert store.read("failures")["visit"].to_pylist() == [lost.visit, hopeless.visit]


def test_a_reader_sees_the_commits_before_it_opened_and_cannot_commit(three: RunStore) -> None:
    reader = RunStore.open(three.root)
    commit(three, key("c", 0))
    assert len(reader.entries()) == 3
    assert len(RunStore.open(three.root).entries()) == 4
    three.close()
    for store in (reader, three):
        with pytest.raises(ValueError, match="not open for writing"):
            commit(store, key("c", 1))


def test_files_without_an_entry_do_not_exist(three: RunStore) -> None:
    orphan = three.root / "samples/00000004-0badf00d.parquet"
    pq.write_table(rows_of(key("z", 9))["samples"], orphan)
    (three.root / "samples/.00000004-0badf00d.parquet.00.tmp").write_bytes(b"PAR1")
    (three.root / "manifest/.00000004.json.00.tmp").write_bytes(b"{")
    three.close()
    with RunStore.resume(three.root) as store:
        store.verify()
        assert orphan not in store.files("samples")
        assert ("z", 9) not in store.committed()
        commit(store, key("c", 0))
        store.verify()
    assert list(three.root.rglob("*.tmp")) == []


# ---- rows that cannot be true


BAD_ROWS = [
    ({"samples": {"host_ns": 0}}, "host_ns is 0"),
    ({"samples": {"host_ns": -5}}, "host_ns is -5"),
    ({"samples": {"wall_ns": 0}}, "wall_ns is 0"),
    ({"samples": {"device_ns": 0}}, "device_ns is 0"),
    ({"samples": {"switch_ns": -1}}, "switch_ns is -1"),
    ({"samples": {"wall_ns": None}}, "wall_ns is null"),
    ({"samples": {"phase": "time"}}, "phase is time"),
    ({"samples": {"request": 0}}, "2 rows for block a, configuration lora_merged, round 0, task mrpc, request 0"),
    ({"samples": {"visit": "a/r00/a1"}}, "visit a/r00/a1"),
    ({"samples": {"round": 1}}, "round 1"),
    ({"visits": {"timing_ns": -1}}, "timing_ns is -1"),
    ({"loads": {"gate_error": math.nan}}, "gate_error is nan"),
    ({"loads": {"gate_error": -math.inf}}, "gate_error is -inf"),
    ({"loads": {"configuration": "full_ft"}}, "2 rows for block a, configuration full_ft, round 0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_ROWS, ids=[message for _, message in BAD_ROWS])
def test_a_row_that_cannot_be_true_is_refused_when_written_and_when_read(
    run: RunStore, monkeypatch: pytest.MonkeyPatch, changes: dict[str, dict[str, Any]], message: str
) -> None:
    visit = key("a", 0)
    before = digests(run.root)
    with pytest.raises(StoreError, match=f"^{next(iter(changes))}: .*{message}"):
        run.commit(rows_of(visit, changes), [visit])
    assert digests(run.root) == before
    if "null" in message:
        return  # Parquet itself refuses it
    monkeypatch.setattr("raybench.store.check_rows", lambda *_: None)  # a writer that does not look
    run.commit(rows_of(visit, changes), [visit])
    monkeypatch.undo()
    reader, (table,) = RunStore.open(run.root), changes
    for check in (reader.verify, lambda: reader.read(table)):
        with pytest.raises(StoreError, match=rf"{reader.files(table)[0]}: .*{message}"):
            check()


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e6])
def test_a_float_is_never_taken_for_nanoseconds(run: RunStore, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    visit = key("a", 0)
    tables = rows_of(visit)
    index = SCHEMAS["samples"].get_field_index("host_ns")
    floats = pa.array([value] * REQUESTS, pa.float64())
    field = pa.field("host_ns", pa.float64(), nullable=False)
    tables["samples"] = tables["samples"].set_column(index, field, floats)
    message = "column host_ns should be int64 not null, found double not null"
    with pytest.raises(StoreError, match=f"^samples: {message}"):
        run.commit(tables, [visit])
    for check in ("check_columns", "check_rows"):  # a writer that does not look
        monkeypatch.setattr(f"raybench.store.{check}", lambda *_: None)
    run.commit(tables, [visit])
    monkeypatch.undo()
    with pytest.raises(StoreError, match=rf"samples/00000001-.*\.parquet: {message}"):
        RunStore.open(run.root).verify()


def test_missing_extra_and_doubled_columns_are_refused(run: RunStore) -> None:
    visit = key("a", 0)
    samples = rows_of(visit)["samples"]
    extra = samples.append_column("note", samples["visit"])
    doubled = samples.append_column(SCHEMAS["samples"].field("visit"), samples["visit"])
    for table, message in [
        (samples.drop_columns("turn"), "column turn should be int32 not null, found nothing"),
        (extra, "found .*note"),
        (doubled, "found .*switch_ns, visit"),
        (samples.select(samples.schema.names[::-1]), "columns should be visit, block"),
    ]:
        with pytest.raises(StoreError, match=message):
            run.commit({"samples": table}, [visit])
    assert run.entries() == []


def test_warmups_and_openers_may_repeat_a_request(run: RunStore) -> None:
    visit = key("a", 0)
    samples = rows_of(visit)["samples"].to_pylist()
    repeats = [row | {"phase": phase} for row in samples for phase in ("warmup", "warmup", "opener")]
    tables = {"samples": pa.Table.from_pylist(samples + repeats, schema=SCHEMAS["samples"])}
    run.commit(tables, [visit])
    assert run.read("samples").num_rows == 4 * REQUESTS
    assert run.timed_samples() == REQUESTS


# ---- damage


def edit_entry(store: RunStore, sequence: int, change: Callable[[dict[str, Any]], object]) -> None:
    path = store.root / f"manifest/{sequence:08d}.json"
    entry = json.loads(path.read_text())
    change(entry)
    path.write_text(json.dumps(entry))


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[random.Random(7).randrange(len(data))] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_bit, "SHA-256 differs"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "bytes were committed|were committed"),
        (lambda path: os.truncate(path, 0), "0 bytes"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "were committed"),
        (Path.unlink, "No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
    ],
    ids=["bit flip", "torn", "empty", "longer", "missing", "directory"],
)
@pytest.mark.parametrize("table", ["samples", "visits", "loads"])
def test_a_damaged_file_is_named_with_the_remedy(
    three: RunStore, table: str, damage: Callable[[Path], object], message: str
) -> None:
    path = three.files(table)[1]
    damage(path)
    with pytest.raises(StoreError, match=rf"^{path}: .*({message}).*(restore it from a copy|--run-id)") as caught:
        RunStore.open(three.root).verify()
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match=str(path)):
        three.read(table)


def test_one_file_copied_over_another_is_refused(three: RunStore) -> None:
    first, _, third = three.files("samples")
    shutil.copy(first, third)
    with pytest.raises(StoreError, match=rf"^{third}"):
        three.verify()


def test_a_file_of_another_schema_version_is_refused(three: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raybench.store.SCHEMA_VERSION", 3)
    with pytest.raises(StoreError, match=r"samples/00000001-.*schema version 2, and this raybench reads 3"):
        three.verify()


DAMAGED_ENTRIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown version": (lambda entry: entry.update(schema_version=99), "schema version 99"),
    "no version": (lambda entry: entry.pop("schema_version"), "schema version None"),
    "absolute path": (lambda entry: entry["files"][0].update(path="/etc/passwd"), "files.0.path.*/etc/passwd"),
    "path upwards": (
        lambda entry: entry["files"][0].update(path="samples/../../x/00000002-00000000.parquet"),
        "files.0.path",
    ),
    "another table's": (lambda entry: entry["files"][0].update(table="loads"), "not a file of table loads"),
    "another entry's": (lambda entry: entry.update(sequence=1), "not a file of table samples in entry 1"),
    "another number": (lambda entry: entry.update(sequence=7, files=[]), "holds entry 7"),
    "no number": (lambda entry: entry.update(sequence="2"), "sequence"),
    "short digest": (lambda entry: entry["files"][0].update(sha256="abc"), "files.0.sha256"),
    "float rows": (lambda entry: entry["files"][0].update(rows=1.5), "files.0.rows"),
    "infinite": (lambda entry: entry["files"][0].update(rows=math.inf), "Infinity is not a finite number"),
    "not a number": (lambda entry: entry["files"][0].update(rows=math.nan), "NaN is not a finite number"),
    "unknown field": (lambda entry: entry.update(extra=1), "extra"),
    "no visits": (lambda entry: entry.pop("visits"), "visits"),
    "doubled visit": (lambda entry: entry["visits"].append(entry["visits"][0]), "b/r00 is a copy"),
    "stolen visit": (lambda entry: entry["visits"].append(key("a", 0).model_dump()), "a/r00 is a copy.*00000001"),
    "doubled file": (lambda entry: entry["files"].append(entry["files"][0]), "parquet is a copy"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGED_ENTRIES.values(), ids=DAMAGED_ENTRIES)
def test_a_damaged_manifest_entry_is_named(
    three: RunStore, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path, intact = three.root / "manifest/00000002.json", (three.root / "manifest/00000002.json").read_bytes()
    edit_entry(three, 2, change)
    three.close()
    for look in (three.verify, lambda: RunStore.open(three.root), lambda: RunStore.resume(three.root)):
        with pytest.raises(StoreError, match=rf"^{path}: .*{message}"):
            look()
    path.write_bytes(intact)
    RunStore.resume(three.root).close()  # the refusal kept no lock


def test_an_entry_that_says_other_rows_or_visits_than_its_files_is_refused(three: RunStore) -> None:
    edit_entry(three, 2, lambda entry: entry["files"][0].update(rows=1))
    with pytest.raises(StoreError, match=r"samples/00000002-.*rows, 1 were committed"):
        three.verify()
    edit_entry(three, 2, lambda entry: (entry["files"][0].update(rows=2 * REQUESTS), entry["visits"].pop()))
    with pytest.raises(StoreError, match=r"samples/00000002-.*visit a/r01"):
        three.verify()


def test_holes_copies_and_strangers_in_the_manifest_are_refused(three: RunStore) -> None:
    folder = three.root / "manifest"
    second, data = folder / "00000002.json", (folder / "00000002.json").read_bytes()
    for damaged, message in [(b"", "damaged JSON"), (data[:-9], "damaged JSON"), (b"[]", "not an object")]:
        second.write_bytes(damaged)
        with pytest.raises(StoreError, match=rf"^{second}: .*{message}.*restore"):
            three.verify()
    second.unlink()
    with pytest.raises(StoreError, match=rf"^{second}: .*No such file.*restore"):
        RunStore.open(three.root)
    second.write_bytes(data)
    (folder / "00000004.json").write_bytes(data)
    with pytest.raises(StoreError, match=r"00000004.json: holds entry 2: a copy"):
        RunStore.open(three.root)
    (folder / "00000004.json").rename(folder / "00000002 (copy).json")
    with pytest.raises(StoreError, match=r"\(copy\).json: not a manifest entry"):
        RunStore.open(three.root)
    shutil.rmtree(folder)
    three.close()
    for enter in (RunStore.open, RunStore.resume):
        with pytest.raises(StoreError, match=rf"^{folder}: .*restore"):
            enter(three.root)


def test_a_damaged_description_is_refused(three: RunStore) -> None:
    path = three.root / "run.json"
    for text, message in [
        ('{"schema_version": 3}', "schema version 3"),
        ('{"schema_version": 2, "margin": NaN}', "NaN is not a finite number"),
        ('{"schema_version": 2, "margin": 1e999}', "1e999 is not a finite number"),
        ("\udcff", "damaged JSON"),
    ]:
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(StoreError, match=rf"^{path}: .*{message}"):
            RunStore.open(three.root)


def test_a_listed_file_that_a_link_leads_out_of_the_run_is_refused(three: RunStore, tmp_path: Path) -> None:
    path = three.files("samples")[0]
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    for look in (three.verify, lambda: three.files("samples"), lambda: three.read("samples")):
        with pytest.raises(StoreError, match="a link leads out of the run"):
            look()


def test_empty_folders_that_a_copy_lost_are_made_again(three: RunStore) -> None:
    three.close()
    (three.root / "failures").rmdir()
    RunStore.open(three.root).verify()
    with RunStore.resume(three.root) as store:
        store.commit(failure_of(key("c", 0)), [])
        store.verify()


# ---- one driver


def hold(root: Path, pipe: Connection, child_outlives: bool) -> None:
    with RunStore.resume(root):
        child = os.fork() if child_outlives else 0
        if child_outlives and child == 0:
            pipe.close()
            time.sleep(60)
            os._exit(0)
        pipe.send(child)
        time.sleep(60)


@pytest.mark.parametrize("child_outlives", [False, True])
def test_a_live_driver_is_named_and_a_killed_one_replaced(three: RunStore, child_outlives: bool) -> None:
    three.close()
    ours, theirs = SPAWN.Pipe()
    holder = SPAWN.Process(target=hold, args=(three.root, theirs, child_outlives))
    holder.start()
    child = 0
    try:
        assert ours.poll(30)
        child = ours.recv()
        lock = json.loads((three.root / "driver.lock").read_text())
        assert set(lock) == {"host", "pid", "started_at"}
        assert lock["pid"] == holder.pid
        with pytest.raises(InputError, match=f"process {holder.pid} on {socket.gethostname()} .*--run-id"):
            RunStore.resume(three.root)
        RunStore.open(three.root).verify()  # reading asks no lock
        holder.kill()
        holder.join()
        with RunStore.resume(three.root) as store:
            assert json.loads((three.root / "driver.lock").read_text())["pid"] == os.getpid()
            commit(store, key("c", 0))
    finally:
        holder.kill()
        holder.join()
        if child:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_closes_the_store_releases_nothing(three: RunStore) -> None:
    if (pid := os.fork()) == 0:
        three.close()
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(InputError, match=f"process {os.getpid()} on "):
        RunStore.resume(three.root)
    commit(three, key("c", 0))


def test_two_stores_in_one_process_exclude_each_other(three: RunStore) -> None:
    with pytest.raises(InputError, match=f"process {os.getpid()} on "):
        RunStore.resume(three.root)
    three.close()
    three.close()
    assert (three.root / "driver.lock").read_bytes() == b""
    RunStore.resume(three.root).close()


def test_a_program_that_the_driver_starts_does_not_inherit_the_lock(three: RunStore) -> None:
    look = "import os; print([os.readlink(entry.path) for entry in os.scandir('/proc/self/fd')])"
    listed = subprocess.run([sys.executable, "-c", look], close_fds=False, capture_output=True, text=True, check=True)
    assert "driver.lock" not in listed.stdout
    assert "pipe" in listed.stdout


# ---- SIGKILL at any moment


def keep_committing(root: Path, acknowledge: int, before: Callable[[], None]) -> None:
    before()
    with RunStore.resume(root) as store:
        while True:
            done = store.committed()
            fresh = [key(f"b{number}", 0) for number in range(len(done), len(done) + 2)]
            commit(store, *fresh)
            os.write(acknowledge, b"".join(f"{visit.block} ".encode() for visit in fresh))


def in_a_killed_child(
    root: Path, before: Callable[[], None], live_s: float | None = None, from_first_commit: bool = False
) -> set[tuple[str, int]]:
    """Commit in a forked child until it kills itself or ``live_s`` is over; returns the visits it was told are safe.

    ``live_s`` counts from the fork, or from the child's first commit.
    """
    readable, writable = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.close(readable)
            keep_committing(root, writable, before)
        finally:
            os._exit(1)
    os.close(writable)
    first = os.read(readable, 1) if from_first_commit else b""
    if live_s is not None:
        time.sleep(live_s)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the child failed instead of being killed"
    with os.fdopen(readable, "rb") as told:
        return {(block, 0) for block in (first + told.read()).decode().split()}


def check_after_kill(root: Path, safe: set[tuple[str, int]], before: dict[Path, str]) -> dict[Path, str]:
    store = RunStore.open(root)
    store.verify()
    committed = store.committed()
    assert safe <= committed, f"lost {safe - committed}"
    assert len(committed) % 2 == 0, "half a commit is visible"
    visits = [row for path in store.files("visits") for row in pq.read_table(path).to_pylist()]
    assert len(visits) == len(committed), "a visit is doubled or without its row"
    assert sum(file.rows for entry in store.entries() for file in entry.files if file.table == "samples") == (
        REQUESTS * len(committed)
    )
    after = digests(root)
    changed = [path for path in before if after.get(path) != before[path] and path.suffix != ".tmp"]
    assert not changed, f"committed bytes changed: {changed}"
    return after


def kill_at_every_step(root: Path) -> int:
    """Kill before the nth durable operation of a driver's life, for every n of its first commit and a half."""
    rows_of(key("warm", 0))  # imports what pyarrow loads late, once for all children
    safe: set[tuple[str, int]] = set()
    files = digests(root)
    for step in range(24):
        left = step

        def armed() -> None:
            def wrapped(operation: Callable[..., Any]) -> Callable[..., Any]:
                def call(*args: Any, **options: Any) -> Any:
                    nonlocal left
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left -= 1
                    return operation(*args, **options)

                return call

            for name in ("fsync", "link", "unlink"):
                setattr(manifest.os, name, wrapped(getattr(os, name)))

        safe |= in_a_killed_child(root, armed)
        files = check_after_kill(root, safe, files)
    return len(safe)


def kill_at_random(root: Path, kills: int, seed: int) -> int:
    draw = random.Random(seed)
    rows_of(key("warm", 0))  # imports what pyarrow loads late, once for all children
    safe: set[tuple[str, int]] = set()
    files = digests(root)
    for kill in range(kills):
        safe |= in_a_killed_child(root, lambda: None, draw.uniform(0.0, 0.03), from_first_commit=kill % 2 == 0)
        files = check_after_kill(root, safe, files)
    return len(safe)


@pytest.mark.parametrize(("kill", "options"), [(kill_at_every_step, ()), (kill_at_random, (30, 20250601))])
def test_no_kill_loses_doubles_or_tears_a_commit(
    run: RunStore, kill: Callable[..., int], options: tuple[int, ...]
) -> None:
    run.close()
    # In a process of its own, which has no threads: only such a one is safe to fork.
    with ProcessPoolExecutor(1, mp_context=SPAWN) as clean:
        assert clean.submit(kill, run.root, *options).result(timeout=60) > 0
    with RunStore.resume(run.root) as store:
        commit(store, key("last", 0))
        store.verify()
    assert list(run.root.rglob("*.tmp")) == []


def test_what_an_entry_lists_is_durable_before_the_entry_is_visible(
    run: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    fsync, link = os.fsync, os.link

    def traced_fsync(fd: int) -> None:
        fsync(fd)
        done.append(("fsync", str(Path(f"/proc/self/fd/{fd}").readlink())))

    def traced_link(source: Path, target: Path) -> None:
        link(source, target)
        assert ("fsync", str(source)) in done, f"{target} is visible before its bytes are durable"
        done.append(("link", str(target)))

    monkeypatch.setattr(manifest.os, "fsync", traced_fsync)
    monkeypatch.setattr(manifest.os, "link", traced_link)
    commit(run, key("a", 0))
    entry = ("link", str(run.root / "manifest/00000001.json"))
    for table in ("samples", "visits", "loads"):
        (path,) = run.files(table)
        named = done.index(("fsync", str(path.parent)))
        assert done.index(("link", str(path))) < named < done.index(entry)
    assert done[-2:] == [entry, ("fsync", str(run.root / "manifest"))]


# ---- disks that refuse


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_leaves_what_is_committed(small_disk: Path) -> None:
    with RunStore.create(small_disk, "first", {}) as store:
        commit(store, key("a", 0))
        refused = 0
        for pages in range(16):  # so that each of the files in turn is the one that does not fit
            visit = key("a", 1 + pages)
            disk = os.statvfs(small_disk)
            ballast = small_disk / "ballast"
            ballast.write_bytes(bytes((disk.f_bavail - pages) * disk.f_bsize))
            before = digests(store.root)
            if (problem := problem_of(commit, store, visit)) is not None:
                refused += 1
                assert "No space left on device; free some space" in problem
                assert str(store.root) in problem
                assert digests(store.root) == before
                RunStore.open(store.root).verify()
                ballast.unlink()
                commit(store, visit)
            ballast.unlink(missing_ok=True)
            assert (visit.block, visit.round) in RunStore.open(store.root).committed()
        assert 3 <= refused < 16
        RunStore.open(store.root).verify()


def test_a_disk_that_turns_read_only_is_named_and_can_be_read(small_disk: Path) -> None:
    with RunStore.create(small_disk, "first", {}) as store:
        commit(store, key("a", 0))
        store.close()  # no file is open for writing, or the kernel refuses to remount
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        reader = RunStore.open(store.root)
        reader.verify()
        assert reader.read("samples").num_rows == REQUESTS
        for enter in (lambda: RunStore.resume(store.root), lambda: RunStore.create(small_disk, "b", {})):
            with pytest.raises(StoreError, match="Read-only file system; choose a results directory that is writable"):
                enter()


def test_a_write_that_the_kernel_cuts_short_leaves_what_is_committed(three: RunStore) -> None:
    before = digests(three.root)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            StoreError, match=rf"samples/00000004-.*parquet: cannot be written: {os.strerror(errno.EFBIG)}"
        ):
            commit(three, key("c", 0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert digests(three.root) == before
    three.verify()
    commit(three, key("c", 0))
    three.verify()


@pytest.mark.parametrize("call", range(1, 21))
def test_an_error_of_any_durable_operation_hides_the_commit_or_keeps_all_of_it(
    three: RunStore, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    before, left = digests(three.root), call

    def failing(operation: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return operation(*args, **options)

        return wrapped

    monkeypatch.setattr(manifest.os, "fsync", failing(os.fsync))
    monkeypatch.setattr(manifest.os, "link", failing(os.link))
    visit = key("c", 0)
    assert "Input/output error" in (problem_of(commit, three, visit) or "Input/output error")
    monkeypatch.undo()
    if ("c", 0) not in three.committed():
        assert digests(three.root) == before
    commit(three, visit)  # again: a duplicate that loses, or the first
    reader = RunStore.open(three.root)
    reader.verify()
    assert reader.entries() == three.entries()
    assert reader.read("visits")["visit"].to_pylist().count(visit.visit) == 1
