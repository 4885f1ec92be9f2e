"""Raw samples on disk: a run directory that is committed to in whole visits, and read by following its manifest.

The layout of a run:

    run.json                                  what the run is, written once
    samples/ visits/ loads/ failures/ attempts/   Parquet: <sequence>-<random>.parquet
    manifest/<sequence>.json                  one entry a commit; a file that no entry lists does not exist
    driver.lock                               who commits
    live.json                                 what its driver was doing last
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raybench.lock import DriverLock
from raybench.manifest import (
    MANIFEST,
    RESTORE,
    Entry,
    FileEntry,
    StoreError,
    VisitKey,
    encode_json,
    entry_path,
    explained,
    publish,
    read_json,
    read_manifest,
    replace,
    sync_directory,
)
from raybench.records import SCHEMA_VERSION, SCHEMAS, InputError
from raybench.rows import check_columns, check_rows, without_keys

__all__ = ["Entry", "FileEntry", "RunStore", "StoreError", "VisitKey", "exists_already", "validate_run_id"]

_DESCRIPTION: Final = "run.json"
_LOCK: Final = "driver.lock"
_LIVE: Final = "live.json"
_FOLDERS: Final = (*SCHEMAS, MANIFEST)
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION_KEY: Final = b"raybench.schema_version"


def validate_run_id(run_id: str) -> str:
    """``run_id`` if it can name a directory anywhere; raises `InputError` otherwise."""
    if not _RUN_ID.fullmatch(run_id):
        raise InputError(
            f"--run-id {run_id[:120]!r}: use 1 to 100 letters, digits, '.', '_', '-', the first a letter or a digit"
        )
    return run_id


class RunStore:
    """One run directory.

    `create` and `resume` hold its lock until `close` and may commit; `open` reads what was committed by then.
    """

    def __init__(self, root: Path, lock: DriverLock | None) -> None:
        """Use `create`, `resume` or `open`. Raises `StoreError` if the description or the manifest is damaged."""
        self.root = root
        self._lock = lock
        self.description: dict[str, Any] = read_json(root / _DESCRIPTION)
        self._entries = read_manifest(root)

    @classmethod
    def create(cls, results: Path, run_id: str, description: Mapping[str, Any]) -> Self:
        """Begin the run ``results/run_id``. ``description`` is JSON, kept with the schema version added.

        Raises `InputError` if the run exists or another driver is creating it, `StoreError` if the disk refuses.
        """
        root = results / validate_run_id(run_id)
        data = encode_json({**description, "schema_version": SCHEMA_VERSION})
        with explained(root, "created"):
            try:
                root.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise exists_already(root) from None
            if root.is_symlink() or not _is_unfinished(root):
                raise exists_already(root)
        root = root.resolve()
        lock = _take_lock(root)
        try:
            if (root / _DESCRIPTION).exists():  # another driver was faster
                raise exists_already(root)
            with explained(root, "created"):
                _prepare(root)
                sync_directory(root.parent)
            publish(root / _DESCRIPTION, data)  # last: a directory with a description is a run
            return cls(root, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def resume(cls, path: Path) -> Self:
        """Go on with the run at ``path``; a dead driver's lock is taken over.

        Raises `InputError` if there is no run or a live driver has it, `StoreError` if it is damaged or read-only.
        """
        root = _run_root(path)
        lock = _take_lock(root)
        try:
            store = cls(root, lock)
            with explained(root, "written"):
                _prepare(root)
            return store
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the run at ``path``, live or finished.

        Raises `InputError` if there is none, `StoreError` if it is damaged.
        """
        return cls(_run_root(path), None)

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
        return set[tuple[str, int]]().union(*(entry.keys for entry in self._entries))

    def entries(self) -> list[Entry]:
        """Every commit, in order."""
        return list(self._entries)

    def files(self, table: str) -> list[Path]:
        """The committed files of ``table``, in order, unread: `verify` says whether they can be trusted.

        Raises `StoreError` for a path that a link leads out of the run.
        """
        return [self._path(file) for entry in self._entries for file in entry.files if file.table == table]

    def commit(self, tables: Mapping[str, pa.Table], visits: Sequence[VisitKey]) -> Entry | None:
        """Make the rows of finished ``visits`` durable and visible, all of them at once.

        Rows and visits whose (block, round) is already committed are dropped: a late duplicate loses. Rows of
        ``failures`` and ``attempts`` may belong to other visits, those of the other tables must belong to ``visits``.
        Returns None when nothing is left to commit.

        Raises `StoreError` for rows that cannot be true and for a disk that refuses; nothing of the commit is then
        visible, and it can be tried again. Raises `ValueError` for two attempts of one visit in this call, an
        unknown table, and a store that is not open for writing.
        """
        if self._lock is None or not self._lock.held:
            raise ValueError(f"{self.root} is not open for writing")
        if len({(visit.block, visit.round) for visit in visits}) < len(visits):
            raise ValueError("a commit holds at most one attempt of a block in a round")
        if unknown := set(tables) - set(SCHEMAS):
            raise ValueError(f"no such table: {', '.join(sorted(unknown))}")
        committed = self.committed()
        visits = [visit for visit in visits if (visit.block, visit.round) not in committed]
        sequence = len(self._entries) + 1
        known = {file.sha256 for entry in self._entries for file in entry.files}
        contents: list[tuple[FileEntry, bytes]] = []
        for name in SCHEMAS:
            if name not in tables:
                continue
            check_columns(name, tables[name], name)
            rows = without_keys(tables[name], committed)
            check_rows(name, rows, visits, name)
            if rows.num_rows == 0:
                continue
            file, data = _encode(name, rows, sequence)
            if file.sha256 not in known:  # else the same failures, offered again after an error late in a commit
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
        self._publish(entry, contents)
        return entry

    def read(self, table: str) -> pa.Table:
        """Every committed row of ``table``, checked as `verify` does. Raises `StoreError`."""
        parts = [self._load(entry, file) for entry in self._entries for file in entry.files if file.table == table]
        return pa.concat_tables([SCHEMAS[table].empty_table(), *parts])

    def timed_samples(self) -> int:
        """How many timed samples are committed. Raises `StoreError` as `read` does."""
        return int(self.read("samples").filter(pc.field("phase") == "timed").num_rows)

    def replace_live(self, document: Mapping[str, Any]) -> None:
        """Say what the driver is doing, in place of what it said before. Raises `StoreError`."""
        replace(self.root / _LIVE, encode_json({**document, "schema_version": SCHEMA_VERSION}))

    def live(self) -> dict[str, Any] | None:
        """What its driver said last; None where it has said nothing. Raises `StoreError` where that is damaged."""
        path = self.root / _LIVE
        return read_json(path) if path.is_file() else None

    def verify(self) -> None:
        """Read the manifest again and every file that it lists; raises `StoreError` naming the first bad one.

        Checked: numbering, sizes, SHA-256, row counts, schema versions, schemas, values, and that rows belong to
        the visits of their entry. Files that no entry lists are ignored. One file at a time is in memory.
        """
        self.description = read_json(self.root / _DESCRIPTION)
        self._entries = read_manifest(self.root)
        for entry in self._entries:
            for file in entry.files:
                self._load(entry, file)

    def _publish(self, entry: Entry, contents: Sequence[tuple[FileEntry, bytes]]) -> None:
        manifest_path = entry_path(self.root, entry.sequence)
        try:
            for file, data in contents:
                publish(self._path(file), data)
            publish(manifest_path, encode_json(entry.model_dump(mode="json")))
        except BaseException:
            if os.path.lexists(manifest_path):  # visible, though perhaps not yet durable: it counts
                self._entries = read_manifest(self.root)
            else:
                for file, _ in contents:
                    with contextlib.suppress(OSError):  # unlisted, so it does not exist for a reader
                        self._path(file).unlink(missing_ok=True)
            raise
        self._entries.append(entry)

    def _path(self, file: FileEntry) -> Path:
        path = self.root / file.path
        if not path.resolve().is_relative_to(self.root):
            raise StoreError(f"{path}: a link leads out of the run; {RESTORE}")
        return path

    def _load(self, entry: Entry, file: FileEntry) -> pa.Table:
        path = self._path(file)
        with explained(path, "read"):
            data = path.read_bytes()
        if len(data) != file.bytes:
            raise StoreError(f"{path}: {len(data)} bytes, {file.bytes} were committed; {RESTORE}")
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise StoreError(f"{path}: not the bytes that were committed (SHA-256 differs); {RESTORE}")
        try:
            table = pq.ParquetFile(pa.BufferReader(data)).read()
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{path}: not readable as Parquet ({error}); {RESTORE}") from error
        version = (table.schema.metadata or {}).get(_VERSION_KEY, b"none").decode(errors="replace")
        if version != str(SCHEMA_VERSION):
            raise StoreError(
                f"{path}: schema version {version}, and this raybench reads {SCHEMA_VERSION}; "
                "read it with the raybench that wrote it"
            )
        if table.num_rows != file.rows:
            raise StoreError(f"{path}: {table.num_rows} rows, {file.rows} were committed; {RESTORE}")
        check_columns(file.table, table, str(path))
        check_rows(file.table, table, entry.visits, str(path))
        return table.replace_schema_metadata(None)


def _encode(name: str, rows: pa.Table, sequence: int) -> tuple[FileEntry, bytes]:
    sink = pa.BufferOutputStream()
    pq.write_table(rows.replace_schema_metadata({_VERSION_KEY: str(SCHEMA_VERSION)}), sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    return FileEntry(
        table=name,
        path=f"{name}/{sequence:08d}-{secrets.token_hex(4)}.parquet",
        sha256=hashlib.sha256(data).hexdigest(),
        rows=rows.num_rows,
        bytes=len(data),
    ), data


def _run_root(path: Path) -> Path:
    root = path.resolve()
    if not root.is_relative_to(path.parent.resolve()):
        raise InputError(f"{path}: leads outside {path.parent}; name the run's own directory")
    if not (root / _DESCRIPTION).is_file():
        raise InputError(f"{path}: no run here (no {_DESCRIPTION}); check --run-id, or start it without --resume")
    return root


def _is_unfinished(root: Path) -> bool:
    # What a driver leaves that died while it created the run: no description, and nothing in the folders.
    names = {path.name for path in root.iterdir() if not path.name.endswith(".tmp")}
    return names <= {_LOCK, *_FOLDERS} and not any(root.glob("*/*"))


def exists_already(root: Path) -> InputError:
    """What a person is told who begins a run under a name that is taken."""
    return InputError(f"{root}: exists already; go on with it by --resume, or choose another --run-id")


def _take_lock(root: Path) -> DriverLock:
    with explained(root / _LOCK, "locked"):
        return DriverLock(root / _LOCK)


def _prepare(root: Path) -> None:
    for name in _FOLDERS:  # a copy made by git lacks the empty ones
        (root / name).mkdir(exist_ok=True)
    for folder in (root, *(root / name for name in _FOLDERS)):  # what a killed driver was writing
        for path in folder.glob(".*.tmp"):
            path.unlink()
