"""Raw samples, kept: a run that is committed to in whole visits, and read by following its manifest.

The layout of a run:

    run.json                                  what the run is, written once
    samples/ visits/ loads/ failures/ attempts/ counts/ calibrations/   Parquet: <sequence>-<random>.parquet
    manifest/<sequence>.json                  one entry a commit; a file that no entry lists does not exist
    compacted/<number>.json                   one document in the place of many entries, which count no more
    driver.lock                               who commits
    live.json                                 what its driver was doing last
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc

from raybench.records import INFRASTRUCTURE, InputError
from raybench.schemas import SCHEMA_VERSION, SCHEMAS
from raybench.store.compaction import is_due, kept_and_merged, leftovers, spans
from raybench.store.description import Description
from raybench.store.documents import encode_json, parse_json, validated
from raybench.store.location import Location
from raybench.store.manifest import (
    COMPACTED,
    MANIFEST,
    Compacted,
    Entry,
    FileEntry,
    VisitKey,
    compacted_documents,
    compacted_name,
    entry_name,
    named,
    read_manifest,
)
from raybench.store.results import open_storage, validate_run_id
from raybench.store.row_files import Found, decode_files, encode_merged, encode_rows
from raybench.store.rows import UNFINISHED, check_columns, check_nulls, check_rows, without_keys
from raybench.store.storage import (
    DESCRIPTION,
    LONGEST_JSON,
    AlreadyThereError,
    Lock,
    Storage,
    StoreError,
    exists_already,
)
from raybench.store.texts import schema_with_texts

__all__ = ["Entry", "RunStore", "StoreError", "VisitKey"]

_LIVE: Final = "live.json"
_NAME_IT: Final = "name a run's own folder or URI, as data/runs/ID"
_FOLDERS: Final = (*SCHEMAS, MANIFEST, COMPACTED)


class RunStore:
    """One run, in a folder or on an object store.

    `create` and `resume` hold its lock until `close` and may commit; `open` reads what was committed by then.
    """

    def __init__(self, storage: Storage, lock: Lock | None) -> None:
        """Use `create`, `resume` or `open`. Raises `StoreError` if the description or the manifest is damaged."""
        self.root = storage.root
        self._storage, self._lock = storage, lock
        self.document: Mapping[str, Any] = _read_document(storage)
        self._known: set[str] = set()  # also of files that were compacted
        self._take(read_manifest(storage, self.schema_version))
        self._began_after = self._last
        self._unsure = False
        self._refused: StoreError | None = None

    @classmethod
    def create(cls, results: Location, run_id: str, description: Mapping[str, Any]) -> Self:
        """Begin the run ``results/run_id``. ``description`` is JSON, kept with the schema version added.

        Raises `InputError` if the run exists or another driver is creating it, `StoreError` if the storage refuses.
        """
        storage = open_storage(results / validate_run_id(run_id))
        data = encode_json({**description, "schema_version": SCHEMA_VERSION})
        storage.begin(_FOLDERS)
        lock = storage.lock()
        try:
            if storage.exists(DESCRIPTION):  # another driver was faster
                raise exists_already(storage.root)
            storage.prepare(_FOLDERS)
            storage.create(DESCRIPTION, data)  # last: what has a description is a run
            return cls(storage, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def resume(cls, path: Location) -> Self:
        """Go on with the run at ``path``; a dead driver's lock is taken over, and what it left to be removed is.

        Raises `InputError` if there is no run or a live driver has it, `StoreError` if it is damaged or read-only.
        """
        storage = _storage_of_run(path, "check --run-id, or start it without --resume")
        lock = storage.lock()
        try:
            store = cls(storage, lock)
            storage.prepare(_FOLDERS)
            store._remove_replaced()
            return store
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, path: Location) -> Self:
        """Read the run at ``path``, live or finished.

        Raises `InputError` if there is none, `StoreError` if it is damaged.
        """
        return cls(_storage_of_run(path, _NAME_IT), None)

    @property
    def notice(self) -> str | None:
        """Which dead driver the run was taken over from, for people, where that is known."""
        return None if self._lock is None else self._lock.notice

    @property
    def schema_version(self) -> int:
        """In which all of the run is written, one of `schemas.READABLE_VERSIONS`."""
        return int(self.document["schema_version"])

    @property
    def description(self) -> Description:
        """What `document` says, checked. Raises `StoreError` with what of it cannot be."""
        return validated(Description, self.document, self._storage.locate(DESCRIPTION))

    def close(self) -> None:
        """Release the lock. What is committed can still be read."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def committed(self) -> set[tuple[str, int]]:
        """The (block, round) of every committed visit."""
        return set(self._keys)

    def entries(self) -> list[Entry]:
        """Every commit, in order; of those that were compacted, what stands for several of them."""
        return list(self._entries)

    def files(self, table: str) -> list[Location]:
        """Where the committed files of ``table`` are, in order, unread: `verify` says whether they can be trusted.

        Raises `StoreError` for a path that a link leads out of the run.
        """
        return [self._storage.locate(file.path) for _, file in self._listed([table])]

    def commit(self, tables: Mapping[str, pa.Table], visits: Sequence[VisitKey]) -> Entry | None:
        """Make the rows of finished ``visits`` durable and visible, all of them at once.

        Rows and visits whose (block, round) is already committed are dropped: a late duplicate loses. Rows of
        ``failures`` and ``attempts`` may belong to other visits, those of the other tables must belong to ``visits``.
        Returns None when nothing is left to commit.

        Raises `StoreError` for rows that cannot be true, for a storage that refuses, and once another driver took
        the run over. Of the commit then nothing is visible or all of it, and it can be tried again: a commit whose
        answer was lost is found, and its visits are duplicates. Raises `ValueError` for two attempts of one visit in
        this call, an unknown table, and a store that is not open for writing.
        """
        self._begin_writing()
        if len({(visit.block, visit.round) for visit in visits}) < len(visits):
            raise ValueError("a commit holds at most one attempt of a block in a round")
        if unknown := set(tables) - set(SCHEMAS):
            raise ValueError(f"no such table: {', '.join(sorted(unknown))}")
        visits = [visit for visit in visits if (visit.block, visit.round) not in self._keys]
        sequence = self._last + 1
        contents: list[tuple[FileEntry, bytes]] = []
        for name in SCHEMAS:
            if name not in tables:
                continue
            check_columns(name, schema_with_texts(tables[name].schema), name)
            check_nulls(name, tables[name], name)
            rows = without_keys(tables[name], self._keys)
            check_rows(name, rows, visits, name)
            if rows.num_rows == 0:
                continue
            file, data = encode_rows(name, rows, sequence)
            if file.sha256 not in self._known:  # else the same failures, offered again after an error late in a commit
                contents.append((file, data))
        if not contents and not visits:
            return None
        entry = Entry(
            sequence=sequence,
            schema_version=SCHEMA_VERSION,
            committed_at=datetime.now(UTC),
            files=tuple(file for file, _ in contents),
            visits=tuple(visits),
        )
        self._publish(entry_name(sequence), entry, contents)
        self._add(entry)
        return entry

    def is_compaction_due(self) -> bool:
        """Whether so many small files have come together that `compact` is to be called now."""
        return is_due(self._entries)

    def compact(self, *, keep_replaced: bool = False) -> StoreError | None:
        """Put the rows of many small files into a few, which then stand in their place; nothing is read otherwise.

        What is replaced is removed when all else is durable; with ``keep_replaced`` by the next `compact` only, for
        readers that are at it. A storage that does not let that be done does no harm, for
        it does not count any more: that error is returned, and the next `compact` and `resume` try again. Some million
        rows at most are in memory.

        Raises `StoreError` for a file that is not what was committed, for a storage that refuses, and once another
        driver took the run over. The run then reads as before. Raises `ValueError` for a store that is not open for
        writing.
        """
        self._begin_writing()
        unremoved = self._remove_replaced() if keep_replaced else None
        for span in list(spans(self._entries, self._began_after)):
            self._replace(span)
        return unremoved if keep_replaced else self._remove_replaced()

    def read(self, table: str) -> pa.Table:
        """Every committed row of ``table``, checked as `verify` does. Raises `StoreError`."""
        parts = [rows.cast(SCHEMAS[table]) for _, _, rows in self._load(self._listed([table]))]
        return pa.concat_tables([SCHEMAS[table].empty_table(), *parts])

    def timed_samples(self) -> int:
        """How many timed samples are committed. Raises `StoreError` as `read` does."""
        found = 0
        for _, _, rows in self._load(self._listed(["samples"])):
            found += pc.sum(pc.equal(rows["phase"], pa.scalar("timed"))).as_py() or 0
        return found

    def given_up(self) -> set[str]:
        """The configurations that failed by a fault of their own, which are not tried again. Raises `StoreError`."""
        return {row["configuration"] for row in self.read("failures").to_pylist() if row["kind"] not in INFRASTRUCTURE}

    def replace_live(self, document: Mapping[str, Any]) -> None:
        """Say what the driver is doing, in place of what it said before. Raises `StoreError`."""
        data = encode_json({**document, "schema_version": SCHEMA_VERSION})
        self._storage.replace(_LIVE, data, courtesy=True)

    def live(self) -> dict[str, Any] | None:
        """What its driver said last; None where it has said nothing. Raises `StoreError` where that is damaged."""
        if not self._storage.exists(_LIVE):
            return None
        return parse_json(self._storage.read(_LIVE), self._storage.locate(_LIVE))

    def verify(
        self,
        keep: Callable[[str, bytes], object] | None = None,
        hold: Callable[[str, pa.Table], object] | None = None,
    ) -> None:
        """Read the manifest again and every file that it lists; raises `StoreError` naming the first bad one.

        Checked: numbering, sizes, SHA-256, row counts, schema versions, schemas, values, and that rows belong to
        the visits of their entry. Files that no entry lists are ignored. Few files at a time are in memory. ``keep``
        is called with the name and the bytes of each that was found good: description, files, entries and what stands
        for several; ``hold`` with the table and the rows of each file, in order.
        """
        self.document = _read_document(self._storage)
        self._take(read_manifest(self._storage, self.schema_version))
        for file, data, rows in self._load(self._listed(list(SCHEMAS))):
            if keep is not None:
                keep(file.path, data)
            if hold is not None:
                hold(file.table, rows)
        if keep is not None:
            keep(DESCRIPTION, encode_json(self.document))
            for name, entry in named(self._entries):
                keep(name, encode_json(entry.model_dump(mode="json")))

    @contextlib.contextmanager
    def reading(self, *errors: type[Exception]) -> Iterator[None]:
        """Raise `StoreError` where one of ``errors`` came because the driver compacted meanwhile what is read."""
        try:
            yield
        except errors as error:
            if self._was_compacted():
                raise StoreError(
                    f"{self.root}: its driver compacted the run while it was read; run the command again"
                ) from error
            raise

    def _was_compacted(self) -> bool:
        """Whether its driver has compacted it since this store read which files there are."""
        try:
            return compacted_documents(self._storage) > self._documents
        except StoreError:
            return False

    def _begin_writing(self) -> None:
        if self._lock is None or not self._lock.held:
            raise ValueError(f"{self.root} is not open for writing")
        if self._refused is not None:
            raise self._refused
        if self.schema_version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.root}: was begun with schema version {self.schema_version}, and this raybench writes "
                f"{SCHEMA_VERSION}: it can be read, and no more be measured; begin a new run"
            )
        self._lock.check()
        if self._unsure:
            self._take(read_manifest(self._storage, self.schema_version))
            self._unsure = False

    def _replace(self, span: Sequence[Entry]) -> None:
        """One document in the place of the entries ``span``, the first that are not compacted."""
        last, files = span[-1], list[FileEntry]()
        contents: list[tuple[FileEntry, bytes]] = []
        for table in SCHEMAS:
            kept, merged = kept_and_merged(span, table)
            files += kept
            if merged:
                parts = [rows for _, _, rows in self._load(merged)]
                contents += encode_merged(table, parts, last.sequence)
        document = Compacted(
            first=span[0].sequence,
            sequence=last.sequence,
            schema_version=SCHEMA_VERSION,
            committed_at=last.committed_at,
            files=(*files, *(file for file, _ in contents)),
            visits=tuple(visit for entry in span for visit in entry.visits),
        )
        at = self._documents
        self._publish(compacted_name(at + 1), document, contents)
        self._take([*self._entries[:at], document, *self._entries[at + len(span) :]])

    def _remove_replaced(self) -> StoreError | None:
        try:
            self._storage.remove(leftovers(self._storage, self._entries))
        except StoreError as error:
            return error
        return None

    def _publish(self, name: str, entry: Entry, contents: Sequence[tuple[FileEntry, bytes]]) -> None:
        document = encode_json(entry.model_dump(mode="json"))
        if len(document) > LONGEST_JSON:
            raise StoreError(f"{self.root / name}: {len(document):,} bytes, more than a reader takes; end this run")
        try:
            for file, data in contents:
                self._storage.create(file.path, data)
            self._storage.create(name, document)
            # The number of an entry that another driver compacted and removed is free again.
            if not isinstance(entry, Compacted) and self._storage.exists(after := compacted_name(self._documents + 1)):
                raise AlreadyThereError(
                    f"{self.root / after}: already there; another driver wrote to this run, --resume it"
                )
        except BaseException as error:
            if isinstance(error, AlreadyThereError):  # whoever it was: two that number entries must not go on
                self._refused = error
            self._find_out(name, [file.path for file, _ in contents])
            raise

    def _find_out(self, entry: str, files: Sequence[str]) -> None:
        # After an error the entry may be visible, though perhaps not yet durable: then it counts.
        try:
            if self._storage.exists(entry):
                self._take(read_manifest(self._storage, self.schema_version))
            else:
                self._storage.abandon(files)
        except StoreError:
            self._unsure = True

    def _take(self, entries: list[Entry]) -> None:
        """What is committed, as it was read: once, and kept up to date, for it is asked at each commit."""
        self._entries: list[Entry] = []
        self._keys: set[tuple[str, int]] = set()
        self._documents = self._last = 0
        for entry in entries:
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._keys |= entry.keys
        self._known |= {file.sha256 for file in entry.files if file.table in UNFINISHED}
        self._documents += isinstance(entry, Compacted)
        self._last = entry.sequence

    def _listed(self, tables: Sequence[str]) -> list[tuple[Entry, FileEntry]]:
        return [(entry, file) for entry in self._entries for file in entry.files if file.table in tables]

    def _load(self, listed: Sequence[tuple[Entry, FileEntry]]) -> Iterator[tuple[FileEntry, bytes, pa.Table]]:
        contents = self._storage.read_many((file.path, file.bytes) for _, file in listed)
        with self.reading(StoreError):
            yield from decode_files(
                Found(entry, file, data, str(self.root / file.path))
                for (entry, file), data in zip(listed, contents, strict=True)
            )


def read_description(path: Location) -> Description:
    """What the run at ``path`` is, nothing else of it read. Raises `InputError` and `StoreError` as `RunStore.open`."""
    storage = _storage_of_run(path, _NAME_IT)
    return validated(Description, _read_document(storage), storage.locate(DESCRIPTION))


def _storage_of_run(path: Location, remedy: str) -> Storage:
    storage = open_storage(path)
    storage.enter()
    if not storage.exists(DESCRIPTION):
        raise InputError(f"{path}: no run here (no {DESCRIPTION}); {remedy}")
    return storage


def _read_document(storage: Storage) -> dict[str, Any]:
    return parse_json(storage.read(DESCRIPTION), storage.locate(DESCRIPTION))
