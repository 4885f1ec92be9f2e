"""What a run keeps and what it refuses, the same in a folder and on an object store."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.records import InputError
from raybench.schemas import SCHEMAS
from raybench.store.location import Location
from raybench.store.store import RunStore, StoreError
from store.stored_runs import REQUESTS, Hands, commit, failure_of, key, rows_of


def at(store: RunStore, name: str) -> str:
    """A pattern of where ``name`` is, for the beginning of a message."""
    return f"^{re.escape(str(store.root / name))}: "


# ---- names and description


def test_the_description_is_kept_as_given_with_the_schema_version(run: RunStore) -> None:
    text = Hands(run.root).read("run.json").decode()
    assert text == '{\n "plan": "rq2",\n "schema_version": 10\n}\n'
    assert RunStore.open(run.root).document == {"plan": "rq2", "schema_version": 10}


def test_an_existing_run_is_not_begun_again(run: RunStore, results: Location) -> None:
    run.close()
    hands = Hands(results)
    hands.write("other/thesis.tex", b"")
    before = hands.digests()
    for name in ("first", "other"):
        with pytest.raises(InputError, match=r"exists.*--resume.*another --run-id"):
            RunStore.create(results, name, {})
    assert hands.digests() == before


def test_a_run_whose_name_begins_with_anothers_is_another(run: RunStore, results: Location) -> None:
    with RunStore.create(results, "fir", {}) as other:
        commit(other, key("a", 0))
        assert run.committed() == RunStore.open(run.root).committed() == set()


@pytest.mark.parametrize("run_id", ["", "..", "../x", "/tmp/x", "a/b", "a\0b", "a\n"])
def test_a_run_id_that_could_lead_elsewhere_creates_nothing(run_id: str, results: Location) -> None:
    with pytest.raises(InputError, match="--run-id"):
        RunStore.create(results, run_id, {})
    assert Hands(results).names() == set()


def test_a_description_that_json_cannot_hold_creates_nothing(results: Location) -> None:
    with pytest.raises(ValueError, match="JSON"):
        RunStore.create(results, "a", {"margin": math.nan})
    assert Hands(results).names() == set()


def test_a_run_whose_driver_died_while_creating_it_is_begun_again(results: Location) -> None:
    Hands(results).write("a/driver.lock", b"")
    with pytest.raises(InputError, match=r"no run here .*; check --run-id, or start it without --resume"):
        RunStore.resume(results / "a")
    with pytest.raises(InputError, match=r"no run here .*; name a run's own folder or URI, as data/runs/ID$"):
        RunStore.open(results / "a")
    if not isinstance(results, Path):  # until its lock, which nobody renews, is stale
        with pytest.raises(InputError, match="a driver that left no name drives this run, seen"):
            RunStore.create(results, "a", {})
        Hands(results).remove("a/driver.lock")
    RunStore.create(results, "a", {}).close()
    assert Hands(results).names() == {"a/run.json"}


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
    text = Hands(run.root).read("manifest/00000001.json").decode()
    entry = json.loads(text)
    assert text == json.dumps(entry, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    assert entry["visits"] == [{"attempt": 1, "block": "blöck", "round": 2, "visit": "blöck/r02/a1"}]
    assert datetime.fromisoformat(entry["committed_at"]).tzinfo is not None
    for file in entry["files"]:
        data = Hands(run.root).read(file["path"])
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file["sha256"], file["bytes"])
        column = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0).column(0)
        assert column.compression == "ZSTD"


@pytest.mark.parametrize("results", ["folder"], indirect=True)
def test_duckdb_reads_the_listed_files(three: RunStore) -> None:
    paths = [str(path) for path in three.files("samples")]
    with duckdb.connect() as connection:  # its own: what is left unread of the one that all share stops other tests
        counted = connection.execute(
            "select count(*), count(distinct visit), sum(wall_ns), count(device_ns) from read_parquet(?)", [paths]
        ).fetchone()
    assert counted == (4 * REQUESTS, 4, sum(three.read("samples")["wall_ns"].to_pylist()), 0)


def test_a_late_duplicate_of_a_visit_loses(run: RunStore) -> None:
    first, late, fresh = key("a", 0), key("a", 0, 1), key("a", 1)
    commit(run, first)
    before = Hands(run.root).digests()
    assert run.commit(rows_of(late) | failure_of(late), [late]) is None
    assert Hands(run.root).digests() == before
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
    sink = pa.BufferOutputStream()
    pq.write_table(rows_of(key("z", 9))["samples"], sink)
    hands = Hands(three.root)
    hands.write("samples/00000004-0badf00d.parquet", sink.getvalue().to_pybytes())
    if isinstance(three.root, Path):
        hands.write("samples/.00000004-0badf00d.parquet.00.tmp", b"PAR1")
        hands.write("manifest/.00000004.json.00.tmp", b"{")
    three.close()
    with RunStore.resume(three.root) as store:
        store.verify()
        assert three.root / "samples/00000004-0badf00d.parquet" not in store.files("samples")
        assert ("z", 9) not in store.committed()
        commit(store, key("c", 0))
        store.verify()
    assert [name for name in hands.names() if name.endswith(".tmp")] == []


# ---- rows that cannot be true


GENERATED = {"batch": 2, "output_tokens": 3, "prefill_host_ns": 5, "prefill_wall_ns": 6}
GENERATED |= {"decode_host_ns": [1, 2], "decode_wall_ns": [3, 4]}
BAD_GENERATED = [
    ({"batch": 0}, "batch is 0, should be at least 1"),
    ({"output_tokens": 0}, "output_tokens is 0, should be at least 1"),
    ({"prefill_host_ns": 0}, "prefill_host_ns is 0"),
    ({"prefill_wall_ns": -6}, "prefill_wall_ns is -6"),
    ({"decode_wall_ns": [3]}, "decode_wall_ns has 1 steps, should be 2, one fewer than output_tokens"),
    ({"decode_host_ns": [3, 4, 5]}, "decode_host_ns has 3 steps, should be 2"),
    ({"output_tokens": 1}, "decode_host_ns has 2 steps, should be 0"),
    ({"decode_wall_ns": [3, 0]}, "row 19: decode_wall_ns has a step of 0, should be at least 1"),
    ({"decode_wall_ns": [-3, 4]}, "decode_wall_ns has a step of -3"),
    ({"decode_host_ns": [None, 4]}, "decode_host_ns has a step of null"),
    ({"prefill_host_ns": None}, "prefill_host_ns is null and output_tokens is 3, should go together"),
    ({"decode_wall_ns": None}, "decode_wall_ns is null and output_tokens is 3"),
    ({"output_tokens": None}, "prefill_host_ns is there and output_tokens is null"),
    ({"prefill_device_ns": 1}, "prefill_device_ns is there and device_ns is null"),
    ({"device_ns": 9}, "prefill_device_ns is null and device_ns is 9"),
    ({"device_ns": 9, "prefill_device_ns": 1}, "decode_device_ns is null and device_ns is 9"),
    (dict.fromkeys(GENERATED) | {"decode_device_ns": []}, "decode_device_ns is there and device_ns is null"),
    (
        {"device_ns": 9, "prefill_device_ns": 1, "decode_device_ns": [0, 1]},
        "decode_device_ns has a step of 0",
    ),
]


@pytest.mark.parametrize("results", ["folder"], indirect=True)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"output_tokens": 1, "decode_host_ns": [], "decode_wall_ns": []},
        {"device_ns": 9, "prefill_device_ns": 4, "decode_device_ns": [2, 3]},
        dict.fromkeys(GENERATED) | {"batch": 8},
    ],
    ids=["by two clocks", "of one token", "by three clocks", "a classifier's batch"],
)
def test_prefill_and_decoding_steps_are_read_back(run: RunStore, changes: dict[str, Any]) -> None:
    visit = key("a", 0)
    rows = rows_of(visit, {"samples": GENERATED | changes})
    run.commit(rows, [visit])
    run.verify()
    assert RunStore.open(run.root).read("samples").equals(rows["samples"])


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
    ({"loads": {"adapter_effect": math.inf}}, "adapter_effect is inf"),
    ({"loads": {"adapter_effect": -0.5}}, "adapter_effect is -0.5"),
    ({"loads": {"argmax_agreement": -0.1}}, r"argmax_agreement is -0\.1, should be at least 0"),
    ({"loads": {"argmax_agreement": 1.1}}, r"argmax_agreement is 1\.1, should be at most 1"),
    ({"loads": {"argmax_agreement": math.nan}}, "argmax_agreement is nan"),
    ({"loads": {"kl_divergence": -1e-9}}, "kl_divergence is -1e-09"),
    ({"loads": {"kl_divergence": math.inf}}, "kl_divergence is inf"),
    ({"loads": {"untied_bytes": -1}}, "untied_bytes is -1"),
    ({"loads": {"configuration": "full_ft"}}, "2 rows for block a, configuration full_ft, round 0"),
    *(({"samples": GENERATED | changes}, message) for changes, message in BAD_GENERATED),
]


@pytest.mark.parametrize("results", ["folder"], indirect=True)
@pytest.mark.parametrize(("changes", "message"), BAD_ROWS, ids=[message for _, message in BAD_ROWS])
def test_a_row_that_cannot_be_true_is_refused_when_written_and_when_read(
    run: RunStore, monkeypatch: pytest.MonkeyPatch, changes: dict[str, dict[str, Any]], message: str
) -> None:
    visit = key("a", 0)
    before = Hands(run.root).digests()
    with pytest.raises(StoreError, match=f"^{next(iter(changes))}: .*{message}"):
        run.commit(rows_of(visit, changes), [visit])
    assert Hands(run.root).digests() == before
    if message == "wall_ns is null":
        return  # Parquet itself refuses it
    monkeypatch.setattr("raybench.store.store.check_rows", lambda *_: None)  # a writer that does not look
    run.commit(rows_of(visit, changes), [visit])
    monkeypatch.undo()
    reader, (table,) = RunStore.open(run.root), changes
    for check in (reader.verify, lambda: reader.read(table)):
        with pytest.raises(StoreError, match=rf"{reader.files(table)[0]}: .*{message}"):
            check()


@pytest.mark.parametrize("results", ["folder"], indirect=True)
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
        monkeypatch.setattr(f"raybench.store.store.{check}", lambda *_: None)
    run.commit(tables, [visit])
    monkeypatch.undo()
    with pytest.raises(StoreError, match=rf"samples/00000001-.*\.parquet: {message}"):
        RunStore.open(run.root).verify()


@pytest.mark.parametrize("results", ["folder"], indirect=True)
def test_missing_extra_and_doubled_columns_are_refused(run: RunStore) -> None:
    visit = key("a", 0)
    samples = rows_of(visit)["samples"]
    extra = samples.append_column("note", samples["visit"])
    doubled = samples.append_column(SCHEMAS["samples"].field("visit"), samples["visit"])
    for table, message in [
        (samples.drop_columns("turn"), "column turn should be int32 not null, found nothing"),
        (extra, "found .*note"),
        (doubled, f"found .*{SCHEMAS['samples'].names[-1]}, visit"),
        (samples.select(samples.schema.names[::-1]), "columns should be visit, block"),
    ]:
        with pytest.raises(StoreError, match=message):
            run.commit({"samples": table}, [visit])
    assert run.entries() == []


@pytest.mark.parametrize("results", ["folder"], indirect=True)
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
    name = f"manifest/{sequence:08d}.json"
    entry = json.loads(Hands(store.root).read(name))
    change(entry)
    Hands(store.root).write(name, json.dumps(entry).encode())


def with_a_bit_flipped(data: bytes) -> bytes:
    index = random.Random(7).randrange(len(data))
    return data[:index] + bytes([data[index] ^ 0x10]) + data[index + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (with_a_bit_flipped, "SHA-256 differs"),
        (lambda data: data[: len(data) // 2], "were committed"),
        (lambda data: b"", "0 bytes"),
        (lambda data: data + b"\0", "are the most it can have"),
        (None, "No such file|404 Not Found"),
    ],
    ids=["bit flip", "torn", "empty", "longer", "missing"],
)
@pytest.mark.parametrize("table", ["samples", "visits"])
def test_a_damaged_file_is_named_with_the_remedy(
    three: RunStore, table: str, damage: Callable[[bytes], bytes] | None, message: str
) -> None:
    name = str(three.files(table)[1]).removeprefix(f"{three.root}/")
    hands = Hands(three.root)
    if damage is None:
        hands.remove(name)
    else:
        hands.write(name, damage(hands.read(name)))
    remedy = "restore it from a copy, or measure again under another --run-id"
    with pytest.raises(StoreError, match=rf"{at(three, name)}.*({message}).*{remedy}") as caught:
        RunStore.open(three.root).verify()
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match=at(three, name)):
        three.read(table)


def test_one_file_copied_over_another_is_refused(three: RunStore) -> None:
    first, _, third = (str(file).removeprefix(f"{three.root}/") for file in three.files("samples"))
    Hands(three.root).write(third, Hands(three.root).read(first))
    with pytest.raises(StoreError, match=at(three, third)):
        three.verify()


def test_a_file_of_another_schema_version_is_refused(three: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raybench.store.row_files.SCHEMA_VERSION", 2)
    visit = key("c", 0)
    three.commit(rows_of(visit), [visit])
    with pytest.raises(StoreError, match=r"samples/00000004-.*schema version 2, its entry says 10"):
        three.verify()


DAMAGED_ENTRIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown version": (lambda entry: entry.update(schema_version=99), "schema version 99"),
    "older version": (lambda entry: entry.update(schema_version=2), "schema version 2 in a run of version 10"),
    "version as truth": (lambda entry: entry.update(schema_version=True), "schema version True"),
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
    "stolen visit": (
        lambda entry: entry["visits"].append(dataclasses.asdict(key("a", 0))),
        "a/r00 is a copy.*00000001",
    ),
    "doubled file": (lambda entry: entry["files"].append(entry["files"][0]), "parquet is a copy"),
}


@pytest.mark.parametrize("results", ["folder"], indirect=True)
@pytest.mark.parametrize(("change", "message"), DAMAGED_ENTRIES.values(), ids=DAMAGED_ENTRIES)
def test_a_damaged_manifest_entry_is_named(
    three: RunStore, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    name, hands = "manifest/00000002.json", Hands(three.root)
    intact = hands.read(name)
    edit_entry(three, 2, change)
    three.close()
    for look in (three.verify, lambda: RunStore.open(three.root), lambda: RunStore.resume(three.root)):
        with pytest.raises(StoreError, match=rf"{at(three, name)}.*{message}"):
            look()
    hands.write(name, intact)
    RunStore.resume(three.root).close()  # the refusal kept no lock


def test_of_several_bad_files_the_first_is_named_though_a_later_one_cannot_be_read(three: RunStore) -> None:
    hands = Hands(three.root)
    first, _, last = sorted(name for name in hands.names() if name.startswith("samples/"))
    hands.write(first, hands.read(first)[:-1] + b"?")
    hands.remove(last)
    with pytest.raises(StoreError, match=rf"{at(three, first)}not the bytes that were committed"):
        three.verify()


def test_an_entry_that_says_other_rows_or_visits_than_its_files_is_refused(three: RunStore) -> None:
    edit_entry(three, 2, lambda entry: entry["files"][0].update(rows=1))
    with pytest.raises(StoreError, match=r"samples/00000002-.*rows, 1 were committed"):
        three.verify()
    edit_entry(three, 2, lambda entry: (entry["files"][0].update(rows=2 * REQUESTS), entry["visits"].pop()))
    with pytest.raises(StoreError, match=r"samples/00000002-.*visit a/r01"):
        three.verify()


def test_holes_copies_and_strangers_in_the_manifest_are_refused(three: RunStore) -> None:
    hands, second = Hands(three.root), "manifest/00000002.json"
    data = hands.read(second)
    for damaged, message in [
        (b"", "damaged JSON"),
        (data[:-9], "damaged JSON"),
        (b"[]", "not an object"),
        (b"[" * 10**5, "damaged"),
    ]:
        hands.write(second, damaged)
        with pytest.raises(StoreError, match=rf"{at(three, second)}.*{message}.*restore"):
            three.verify()
    hands.remove(second)
    with pytest.raises(StoreError, match=rf"{at(three, second)}.*(No such file|404 Not Found).*restore"):
        RunStore.open(three.root)
    hands.write(second, data)
    hands.write("manifest/00000004.json", data)
    with pytest.raises(StoreError, match=r"00000004.json: holds entry 2: a copy"):
        RunStore.open(three.root)
    hands.remove("manifest/00000004.json")
    hands.write("manifest/00000002-copy.json", data)
    with pytest.raises(StoreError, match=r"00000002-copy.json: not a manifest entry"):
        RunStore.open(three.root)


def test_a_damaged_description_is_refused(three: RunStore) -> None:
    for text, message in [
        ('{"schema_version": 99}', "schema version 99, and this raybench reads 2, 3, 4, 5, 6, 7, 8, 9 and 10"),
        ('{"schema_version": 9, "margin": NaN}', "NaN is not a finite number"),
        ('{"schema_version": 9, "margin": 1e999}', "1e999 is not a finite number"),
        ("\udcff", "damaged JSON"),
    ]:
        Hands(three.root).write("run.json", text.encode(errors="surrogateescape"))
        with pytest.raises(StoreError, match=rf"{at(three, 'run.json')}.*{message}"):
            RunStore.open(three.root)


def test_what_a_driver_says_is_replaced(run: RunStore) -> None:
    assert run.live() is None
    for state in ("running", "complete"):
        run.replace_live({"state": state})
        assert RunStore.open(run.root).live() == {"state": state, "schema_version": 10}


# ---- one driver


def test_two_stores_in_one_process_exclude_each_other(three: RunStore) -> None:
    with pytest.raises(InputError, match=r"process \d+ on .* drives this run since .*--run-id"):
        RunStore.resume(three.root)
    RunStore.open(three.root).verify()  # reading asks no lock
    three.close()
    three.close()
    RunStore.resume(three.root).close()
