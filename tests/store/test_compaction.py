"""Many small files become a few: the same rows are read before, meanwhile and afterwards, whenever it is broken off."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.schemas import SCHEMA_VERSION, SCHEMAS, schema_of
from raybench.store import compaction
from raybench.store.documents import encode_json
from raybench.store.location import Location
from raybench.store.manifest import Compacted, Entry, FileEntry, VisitKey, read_manifest
from raybench.store.results import open_storage
from raybench.store.storage import AlreadyThereError, Storage, StoreError
from raybench.store.store import RunStore
from store.stored_runs import NOW, REQUESTS, Hands, commit, copy_run, failure_of, key, rows_of

FIRST = "compacted/00000001.json"
KEYS = [("block", "ascending"), ("round", "ascending")]


def rows(root: Location) -> dict[str, pa.Table]:
    """All rows of a run, in an order that compaction does not change."""
    store = RunStore.open(root)
    store.verify()
    return {table: store.read(table).sort_by(KEYS) for table in SCHEMAS}


def committed(root: Location) -> set[tuple[str, int]]:
    return RunStore.open(root).committed()


@pytest.fixture(scope="session")
def many_commits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five commits, rounds and blocks mixed; two of them with failures."""
    with RunStore.create(tmp_path_factory.mktemp("many"), "first", {"plan": "rq2"}) as store:
        commit(store, key("b", 1))
        store.commit(rows_of(key("a", 0)) | failure_of(key("c", 0)), [key("a", 0)])
        commit(store, key("b", 0), key("a", 1))
        store.commit(failure_of(key("c", 1)), [])
        commit(store, key("a", 2))
    return Path(str(store.root))


@pytest.fixture
def many(many_commits: Path, results: Location) -> Iterator[RunStore]:
    with RunStore.resume(copy_run(many_commits, results / "first")) as store:
        yield store


@pytest.fixture
def before(many_commits: Path) -> dict[str, pa.Table]:
    return rows(many_commits)


# ---- what is compacted


def test_a_run_reads_as_before_from_one_file_of_each_table(many: RunStore, before: dict[str, pa.Table]) -> None:
    last = many.entries()[-1]
    many.compact()
    names = Hands(many.root).names()
    assert {name.partition("/")[0] for name in names} == {
        "run.json",
        "compacted",
        "samples",
        "visits",
        "loads",
        "failures",
    }
    assert len(names) == 6
    assert rows(many.root) == before
    assert many.committed() == committed(many.root) == {("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)}
    (document,) = RunStore.open(many.root).entries()
    assert document == many.entries()[0]
    assert isinstance(document, Compacted)
    assert (document.first, document.sequence, document.committed_at) == (1, 5, last.committed_at)
    assert [visit.visit for visit in document.visits] == ["b/r01", "a/r00", "b/r00", "a/r01", "a/r02"]
    assert all(file.path.startswith(f"{file.table}/00000005-") for file in document.files)
    assert [file.rows for file in document.files] == [5 * REQUESTS, 5, 10, 2]
    read = RunStore.open(many.root).read("samples")
    assert read.select(["block", "round"]).equals(read.select(["block", "round"]).sort_by(KEYS))
    assert RunStore.open(many.root).read("visits")["visit"].to_pylist() == [visit.visit for visit in document.visits]
    text = Hands(many.root).read(FIRST)
    assert text == encode_json(document.model_dump(mode="json"))


def test_a_compacted_run_is_committed_to_and_compacted_again(many: RunStore, before: dict[str, pa.Table]) -> None:
    many.compact()
    many.compact()  # nothing is left
    commit(many, key("a", 0, 1), key("d", 0))  # the first has been committed
    many.compact()  # one entry by itself is left as it is
    assert [(type(e).__name__, e.sequence) for e in many.entries()] == [("Compacted", 5), ("Entry", 6)]
    commit(many, key("d", 1))
    many.compact()
    assert [(e.first, e.sequence) for e in many.entries() if isinstance(e, Compacted)] == [(1, 5), (6, 7)]
    many.close()
    with RunStore.resume(many.root) as store:
        assert [entry.sequence for entry in store.entries()] == [5, 7]
        commit(store, key("d", 2))
    assert [entry.sequence for entry in RunStore.open(many.root).entries()] == [5, 7, 8]
    expected = pa.concat_tables([before["samples"], *(rows_of(key("d", r))["samples"] for r in range(3))])
    assert rows(many.root)["samples"].equals(expected.sort_by(KEYS))


def test_files_are_written_anew_only_where_they_are_small(many: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    large = {file.path for entry in many.entries() for file in entry.files if file.rows > REQUESTS}
    before = rows(many.root)
    monkeypatch.setattr(compaction, "_LARGE_ROWS", REQUESTS + 1)
    many.compact()
    (document,) = many.entries()
    samples = [file for file in document.files if file.table == "samples"]
    assert len(large) == 1
    assert [file.path in large for file in samples] == [True, False]
    assert [file.rows for file in samples] == [2 * REQUESTS, 3 * REQUESTS]
    assert rows(many.root) == before


def test_samples_that_are_many_are_cut_into_files(many: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(many.root)
    monkeypatch.setattr("raybench.store.row_files._MERGED_ROWS", 2 * REQUESTS)
    many.compact()
    (document,) = many.entries()
    assert [f.rows for f in document.files if f.table == "samples"] == [2 * REQUESTS, 2 * REQUESTS, REQUESTS]
    assert rows(many.root) == before
    column = (
        pq.ParquetFile(pa.BufferReader(Hands(many.root).read(document.files[0].path))).metadata.row_group(0).column(1)
    )
    assert (column.path_in_schema, column.statistics.min, column.statistics.max) == ("block", "a", "a")


def test_it_is_due_once_there_are_many_entries_or_rows_or_bytes(
    many: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = many.entries()
    assert not many.is_compaction_due()
    total = sum(file.bytes for entry in entries for file in entry.files)
    for name, value in (("MOST_ENTRIES", 5), ("MOST_ROWS", 5 * REQUESTS + 17), ("MOST_BYTES", total)):
        for more, due in ((0, True), (1, False)):
            monkeypatch.setattr(compaction, name, value + more)
            assert many.is_compaction_due() is due
        monkeypatch.undo()
    monkeypatch.setattr(compaction, "MOST_ENTRIES", 2)
    many.compact()
    assert not many.is_compaction_due()


def entry_of(sequence: int, count: int = 1) -> Entry:
    file = FileEntry(table="loads", path=f"loads/{sequence:08d}-00000000.parquet", sha256="0" * 64, rows=count, bytes=9)
    return Entry(sequence=sequence, schema_version=SCHEMA_VERSION, committed_at=NOW, files=(file,), visits=())


@pytest.mark.parametrize(
    ("counts", "apart", "expected"),
    [
        ([], 0, []),
        ([1], 0, []),
        ([1], 1, [[1]]),  # the one that another driver left: what follows it is to follow a document
        ([1, 1, 1], 0, [[1, 2, 3]]),
        ([1, 1, 1], 2, [[1, 2]]),
        ([1, 1, 1, 1], 2, [[1, 2], [3, 4]]),
        ([4, 3, 5, 5, 1, 1, 1], 0, [[1, 2, 3], [4, 5, 6, 7]]),
        ([10, 9, 1], 0, [[1], [2, 3]]),
        ([99, 99, 1], 0, [[1, 2, 3]]),  # files that are large
    ],
)
def test_so_much_is_compacted_at_a_time_as_memory_is_to_hold(
    counts: list[int], apart: int, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "MOST_ROWS", 10)
    monkeypatch.setattr(compaction, "_LARGE_ROWS", 50)
    entries = [entry_of(sequence, count) for sequence, count in enumerate(counts, 1)]
    assert [[entry.sequence for entry in span] for span in compaction.spans(entries, apart)] == expected


def test_the_commits_of_two_drivers_are_not_mixed(many: RunStore) -> None:
    """So that how many there are since a driver began is still known."""
    many.close()
    with RunStore.resume(many.root) as store:
        commit(store, key("d", 0))
        commit(store, key("d", 1))
        store.compact()
        assert [(e.first, e.sequence) for e in store.entries() if isinstance(e, Compacted)] == [(1, 5), (6, 7)]


def test_a_damaged_file_is_not_compacted(many: RunStore) -> None:
    hands = Hands(many.root)
    name = next(file.path for file in many.entries()[2].files if file.table == "loads")
    hands.write(name, b"x" + hands.read(name)[1:])
    names = hands.names()
    with pytest.raises(StoreError, match=rf"{name}: not the bytes that were committed"):
        many.compact()
    assert hands.names() == names
    assert len(many.entries()) == 5


def test_only_who_drives_a_run_compacts_it(many: RunStore, many_commits: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not open for writing"):
        RunStore.open(many.root).compact()
    old = tmp_path / "old"
    shutil.copytree(Path(__file__).parent.parent / "analysis" / "version2" / "run", old)
    with RunStore.resume(old) as store:
        digests = Hands(old).digests()
        with pytest.raises(
            StoreError, match=f"was begun with schema version 2, and this raybench writes {SCHEMA_VERSION}"
        ):
            store.compact()
    assert Hands(old).digests() == digests


@pytest.mark.parametrize("results", ["folder"], indirect=True)
def test_a_run_of_the_version_before_is_read_and_stays_as_it_is(
    results: Path, many_commits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("store", "row_files"):
        monkeypatch.setattr(f"raybench.store.{module}.SCHEMA_VERSION", 4)
    monkeypatch.setattr("raybench.store.rows.check_columns.__defaults__", (4,))
    monkeypatch.setattr("raybench.store.rows._LEAST", {})  # which asks columns that it lacks
    had = {table: schema_of(table, 4).names for table in ("samples", "visits")}
    with RunStore.create(results, "old", {}) as store:
        for visit in (key("a", 0), key("a", 1)):
            store.commit({table: rows_of(visit)[table].select(names) for table, names in had.items()}, [visit])
    monkeypatch.undo()
    shutil.rmtree(results / "old" / "compacted")  # which an older raybench does not make
    read = RunStore.open(results / "old")
    read.verify()
    assert (read.schema_version, len(read.entries())) == (4, 2)
    assert read.read("samples").equals(pa.concat_tables([rows_of(key("a", r))["samples"] for r in (0, 1)]))
    with (
        RunStore.resume(results / "old") as store,
        pytest.raises(StoreError, match=f"was begun with schema version 4, and this raybench writes {SCHEMA_VERSION}"),
    ):
        store.compact()


def test_failures_that_were_compacted_are_not_committed_again(many: RunStore) -> None:
    many.compact()
    assert many.commit(failure_of(key("c", 0)), []) is None


def test_a_copy_that_verify_hands_over_is_a_whole_run(
    many: RunStore, before: dict[str, pa.Table], tmp_path: Path
) -> None:
    many.compact()
    (tmp_path / "copy").mkdir()
    RunStore.open(many.root).verify(open_storage(tmp_path / "copy").replace)
    assert not (tmp_path / "copy" / "manifest").exists()
    assert rows(tmp_path / "copy") == before
    with RunStore.resume(tmp_path / "copy") as store:
        commit(store, key("z", 0))
    assert committed(tmp_path / "copy") == committed(many.root) | {("z", 0)}


# ---- broken off


class Steps:
    """A storage that does something at its ``at``-th change, before it or after it."""

    def __init__(self, inner: Storage, at: int, after: bool, act: Callable[[], object]) -> None:
        self._inner, self._left, self._after, self._act = inner, at, after, act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _step(self, change: Callable[[], object]) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            self._act()
        change()
        if self._left == 0 and self._after:
            self._act()

    @property
    def met(self) -> bool:
        return self._left <= 0

    def create(self, name: str, data: bytes) -> None:
        self._step(lambda: self._inner.create(name, data))

    def remove(self, names: list[str]) -> None:
        for name in names:
            self._step(lambda name=name: self._inner.remove([name]))


def fail() -> None:
    raise StoreError("as told")


STEPS = 5 + 14 + 5
"""Four files and a document, the files of five commits, their entries."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 4, 5, 6, 12, 19, 20, 24])
def test_a_compaction_that_fails_at_any_step_loses_nothing_and_is_finished_by_the_next(
    many: RunStore, before: dict[str, pa.Table], at: int, after: bool
) -> None:
    inner = many._storage
    many._storage = steps = Steps(inner, at, after, fail)  # type: ignore[assignment]
    if at > 5:
        assert str(many.compact()) == "as told"  # it is compacted, and something is left of what it replaced
    else:
        with pytest.raises(StoreError, match="as told"):
            many.compact()
    assert steps.met
    many._storage = inner
    assert rows(many.root) == before
    commit(many, key("d", 0))
    commit(many, key("d", 1))
    many.compact()
    names = {name.partition("/")[0] for name in Hands(many.root).names()}
    assert "manifest" not in names
    assert (
        committed(many.root)
        == many.committed()
        == {("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("d", 0), ("d", 1)}
    )
    listed = {file.path for entry in many.entries() for file in entry.files}
    assert {name for name in Hands(many.root).names() if name.endswith(".parquet")} == listed


def test_a_store_that_lets_nothing_be_removed_is_compacted_all_the_same(
    many: RunStore, before: dict[str, pa.Table]
) -> None:
    names = Hands(many.root).names()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(many._storage), "remove", lambda self, names: fail())
        assert str(many.compact()) == "as told"
        assert len(Hands(many.root).names() - names) == 5
        assert names <= Hands(many.root).names()
        many.close()
        store = RunStore.resume(many.root)
        assert rows(many.root) == before
        commit(store, key("d", 0))
        commit(store, key("d", 1))
        assert str(store.compact()) == "as told"
    with store:
        assert store.compact() is None
    listed = {file.path for entry in store.entries() for file in entry.files}
    assert Hands(many.root).names() == listed | {FIRST, "compacted/00000002.json", "run.json"}


def test_there_are_no_further_steps(many: RunStore) -> None:
    many._storage = steps = Steps(many._storage, STEPS + 1, False, fail)  # type: ignore[assignment]
    many.compact()
    assert steps._left == 1


def kill_at(root: Path, at: int) -> None:
    store = RunStore.resume(root)
    store._storage = Steps(store._storage, at, False, lambda: os.kill(os.getpid(), signal.SIGKILL))  # type: ignore[assignment]
    store.compact()


@pytest.mark.parametrize("at", [2, 5, 6, 14, 22])
def test_a_driver_that_is_killed_while_it_compacts_leaves_the_same_rows(
    many_commits: Path, before: dict[str, pa.Table], tmp_path: Path, at: int
) -> None:
    copy_run(many_commits, root := tmp_path / "first")
    driver = multiprocessing.get_context("fork").Process(target=kill_at, args=(root, at))
    driver.start()
    driver.join(60)
    assert driver.exitcode == -signal.SIGKILL
    assert rows(root) == before
    with RunStore.resume(root) as store:  # which removes what was replaced
        done = at > 5
        assert [type(entry) for entry in store.entries()] == ([Compacted] if done else [Entry] * 5)
        assert any((root / "manifest").iterdir()) is not done
        assert rows(root) == before
        store.compact()
        assert rows(root) == before
        listed = {file.path for entry in store.entries() for file in entry.files}
    assert {name for name in Hands(root).names() if name.endswith(".parquet")} == listed
    assert not any((root / "manifest").iterdir())


def test_what_another_than_a_whole_copy_lacks_is_named_and_nothing_is_removed(
    many: RunStore, many_commits: Path
) -> None:
    many.compact()
    hands = Hands(many.root)
    copy_run(many_commits, many.root)  # what was replaced is there again
    hands.remove(gone := many.entries()[0].files[0].path)
    names = hands.names()
    many.close()
    with RunStore.resume(many.root) as store, pytest.raises(StoreError, match=f"{gone}.*(No such file|404 Not Found)"):
        store.verify()
    assert hands.names() == names


# ---- readers meanwhile


def test_a_reader_whose_files_are_gone_is_told_to_read_again(many: RunStore, before: dict[str, pa.Table]) -> None:
    reader = RunStore.open(many.root)
    many.compact()
    with pytest.raises(
        StoreError, match=rf"^{many.root}: its driver compacted the run while it was read; run the command"
    ):
        reader.read("samples")
    reader.verify()  # which reads again which files there are
    assert reader.read("samples").sort_by(KEYS) == before["samples"]


class Meddled:
    """A storage that lets something happen before its ``at``-th request, and before each name that it reads."""

    def __init__(self, inner: Storage, at: int, act: Callable[[], object]) -> None:
        self._inner, self.left, self._act = inner, at, act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            self._act()

    def names(self, folder: str, *, may_be_missing: bool = False) -> list[str]:
        self._tick()
        return self._inner.names(folder, may_be_missing=may_be_missing)

    def read_many(self, files: Iterator[tuple[str, int]]) -> Iterator[bytes]:
        for name, most_bytes in files:
            self._tick()
            yield self._inner.read(name, most_bytes)


def test_a_reader_that_a_compaction_comes_in_between_reads_all_of_it(many: RunStore, many_commits: Path) -> None:
    expected = many.committed()
    many.close()
    for at in range(1, 99):
        for name in Hands(many.root).names():
            Hands(many.root).remove(name)
        with RunStore.resume(copy_run(many_commits, many.root)) as store:
            meddled = Meddled(open_storage(many.root), at, store.compact)
            entries = read_manifest(meddled, many.schema_version)  # type: ignore[arg-type]
            assert set().union(*(entry.keys for entry in entries)) == expected
        if meddled.left > 0:
            break
    assert 6 < at < 99


# ---- two drivers


def stale(many: RunStore) -> RunStore:
    """Another driver that knows of the first two commits, and of no other driver."""
    other = RunStore.open(many.root)
    other._lock = many._lock
    other._take(other.entries()[:2])
    return other


def test_a_number_that_was_compacted_is_not_given_again(many: RunStore, before: dict[str, pa.Table]) -> None:
    other = stale(many)
    many.compact()
    for _ in range(2):
        with pytest.raises(AlreadyThereError, match="already there; another driver wrote to this run, --resume it"):
            commit(other, key("z", 0))
    assert rows(many.root) == before
    many.close()
    with RunStore.resume(many.root) as store:  # what it wrote is removed
        assert not any(name.startswith("manifest/") for name in Hands(store.root).names())
        assert len(Hands(store.root).names()) == 6


def test_of_two_that_compact_one_gives_up(many: RunStore, before: dict[str, pa.Table]) -> None:
    other = stale(many)
    many.compact()
    with pytest.raises(StoreError, match="its driver compacted the run while it was read"):
        other.compact()
    assert rows(many.root) == before


def test_who_compacts_what_another_compacted_is_refused(many: RunStore, before: dict[str, pa.Table]) -> None:
    inner, other = many._storage, stale(many)
    other._began_after = 0
    # The other has read all that it merges, and is about to write.
    other._storage = Steps(inner, 1, False, many.compact)  # type: ignore[assignment]
    with pytest.raises(AlreadyThereError, match=rf"{FIRST}: already there; another driver wrote to this run"):
        other.compact()
    with pytest.raises(AlreadyThereError):
        commit(other, key("z", 0))
    assert rows(many.root) == before


# ---- documents that anyone may have written


def edited(store: RunStore, number: int, change: Callable[[dict[str, Any]], object]) -> None:
    hands, name = Hands(store.root), f"compacted/{number:08d}.json"
    document = json.loads(hands.read(name))
    change(document)
    hands.write(name, json.dumps(document).encode())


DAMAGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown version": (lambda d: d.update(schema_version=99), "schema version 99, and this raybench reads"),
    "older version": (lambda d: d.update(schema_version=4), f"schema version 4 in a run of version {SCHEMA_VERSION}"),
    "gap": (lambda d: d.update(first=7, files=[]), "begins with entry 7, and 6 comes next"),
    "overlap": (lambda d: d.update(first=5), "begins with entry 5, and 6 comes next"),
    "backwards": (lambda d: d.update(first=9), "entries 9 to 7 are none"),
    "no first": (lambda d: d.pop("first"), "first: Field required"),
    "too far": (lambda d: d.update(sequence=10**8), "sequence: .*less than 100000000"),
    "first as text": (lambda d: d.update(first="6"), "first: .*integer"),
    "unknown field": (lambda d: d.update(extra=1), "extra"),
    "another's file": (
        lambda d: d["files"][0].update(path="samples/00000005-00000000.parquet"),
        "samples/00000005-00000000.parquet is not a file of table samples in entries 6 to 7",
    ),
    "a later file": (
        lambda d: d["files"][0].update(path="samples/00000008-00000000.parquet"),
        "is not a file of table samples in entries 6 to 7",
    ),
    "another table's": (
        lambda d: d["files"][0].update(table="loads"),
        "is not a file of table loads in entries 6 to 7",
    ),
    "path upwards": (lambda d: d["files"][0].update(path="samples/../../x/00000006-00000000.parquet"), "files.0.path"),
    "absolute path": (lambda d: d["files"][0].update(path="/etc/passwd"), "files.0.path.*/etc/passwd"),
    "doubled file": (lambda d: d["files"].append(d["files"][0]), "parquet is a copy of one in compacted/00000002.json"),
    "doubled visit": (
        lambda d: d["visits"].append(d["visits"][0]),
        "d/r00 is a copy of one in compacted/00000002.json",
    ),
    "stolen visit": (
        lambda d: d["visits"].append({"visit": "a/r00", "block": "a", "round": 0, "attempt": 0}),
        "a/r00 is a copy of one in compacted/00000001.json",
    ),
}


@pytest.fixture
def twice(many: RunStore) -> RunStore:
    """Two documents and an entry."""
    many.compact()
    commit(many, key("d", 0))
    commit(many, key("d", 1))
    many.compact()
    commit(many, key("d", 2))
    many.close()
    return many


@pytest.mark.parametrize("results", ["folder"], indirect=True)
@pytest.mark.parametrize(("change", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_document_is_named(twice: RunStore, change: Callable[[dict[str, Any]], object], message: str) -> None:
    edited(twice, 2, change)
    digests = Hands(twice.root).digests()
    for look in (twice.verify, lambda: RunStore.open(twice.root), lambda: RunStore.resume(twice.root)):
        with pytest.raises(StoreError, match=rf"^{twice.root}/compacted/00000002\.json: .*{message}") as caught:
            look()
        assert "\n" not in str(caught.value)
    assert Hands(twice.root).digests() == digests


def test_holes_copies_and_strangers_are_refused(twice: RunStore) -> None:
    hands, second = Hands(twice.root), "compacted/00000002.json"
    first, data = hands.read(FIRST), hands.read(second)
    hands.write(second, data[:-9])
    with pytest.raises(StoreError, match=rf"{second}: damaged JSON .*restore"):
        RunStore.open(twice.root)
    hands.write(second, data)
    hands.remove(FIRST)
    with pytest.raises(StoreError, match=rf"{FIRST}.*(No such file|404 Not Found).*restore"):
        RunStore.open(twice.root)
    hands.write(FIRST, first)
    hands.write("compacted/00000003.json", data)
    with pytest.raises(StoreError, match=r"00000003.json: begins with entry 6, and 8 comes next; restore"):
        RunStore.open(twice.root)
    hands.remove("compacted/00000003.json")
    hands.remove(second)
    with pytest.raises(StoreError, match=r"manifest/00000006.json.*(No such file|404 Not Found).*restore"):
        RunStore.open(twice.root)
    hands.write("compacted/00000002-copy.json", data)
    with pytest.raises(StoreError, match=r"00000002-copy.json: not a document of compacted commits; move it out"):
        RunStore.open(twice.root)


@pytest.mark.parametrize(("missing", "begun", "last"), [([FIRST], 5, "none"), (["compacted/00000002.json"], 7, "5")])
def test_a_run_whose_last_documents_are_missing_is_refused_and_nothing_of_it_removed(
    twice: RunStore, missing: list[str], begun: int, last: str
) -> None:
    """As `cp -r` copies it whose driver compacts between the looks at ``compacted`` and at ``manifest``."""
    hands = Hands(twice.root)
    for name in ("manifest/00000008.json", "compacted/00000002.json", *missing):
        if name in hands.names():
            hands.remove(name)
    if begun == 5:
        for name in [name for name in hands.names() if "/00000007-" in name or "/00000008-" in name]:
            hands.remove(name)
    else:
        for name in [name for name in hands.names() if "/00000008-" in name]:
            hands.remove(name)
    digests = hands.digests()
    for look in (twice.verify, lambda: RunStore.open(twice.root), lambda: RunStore.resume(twice.root)):
        with pytest.raises(
            StoreError, match=rf"/0000000{begun}-.*: of commit {begun}, and the manifest ends with {last}: .*restore"
        ):
            look()
    assert hands.digests() == digests


def test_what_is_no_entry_is_left_where_it_is(many: RunStore, before: dict[str, pa.Table]) -> None:
    Hands(many.root).write("manifest/notes.txt", b"mine")
    Hands(many.root).write("manifest/00000001.json~", b"mine")
    assert many.compact() is None
    assert {name for name in Hands(many.root).names() if name.startswith("manifest/")} == {
        "manifest/notes.txt",
        "manifest/00000001.json~",
    }
    for name in ("manifest/notes.txt", "manifest/00000001.json~"):
        Hands(many.root).remove(name)
    assert rows(many.root) == before


def test_rows_of_a_visit_that_its_document_does_not_list_are_refused(twice: RunStore) -> None:
    edited(twice, 2, lambda d: d["visits"].pop())
    with pytest.raises(StoreError, match=r"samples/00000007-.*visit d/r01 .* is not in its commit"):
        twice.verify()


def test_entries_that_were_replaced_and_are_still_there_do_not_count(
    many: RunStore, many_commits: Path, before: dict[str, pa.Table]
) -> None:
    many.compact()
    copy_run(many_commits, many.root)
    Hands(many.root).write("manifest/00000002.json", b"{")  # whatever is in it
    assert rows(many.root) == before
    assert VisitKey(visit="b/r01", block="b", round=1) in RunStore.open(many.root).entries()[0].visits
