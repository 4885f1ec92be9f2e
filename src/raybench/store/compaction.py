"""Which commits are compacted together, and what is left of them afterwards: many small files become a few.

A commit every few seconds makes files of some hundred rows, ten thousand of them in a night. Compaction reads those,
writes their rows as one file of each table, and puts a document in the place of their entries (`manifest.Compacted`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from raybench.schemas import SCHEMAS
from raybench.store.manifest import MANIFEST, Compacted, Entry, FileEntry, number_of, sequence_of
from raybench.store.storage import Storage

MOST_ENTRIES: Final = 256
"""Entries that a reader opens one by one at most, while the driver gets on with it."""
MOST_ROWS, MOST_BYTES = 2**19, 2**26
"""In small files: as many are compacted at a time, which bounds the memory that it takes."""
_LARGE_ROWS, _LARGE_BYTES = 2**16, 2**24
"""A file of as many rows or bytes stays as it is."""


def is_due(entries: Sequence[Entry]) -> bool:
    """Whether so much is not compacted that it is to be now."""
    left = _left(entries)
    small = [_small(entry) for entry in left]
    full = _is_full(sum(rows for rows, _ in small), sum(size for _, size in small))
    return len(left) >= MOST_ENTRIES or (len(left) > 1 and full)


def spans(entries: Sequence[Entry], apart: int) -> Iterator[list[Entry]]:
    """What is not compacted, so much at a time as one document is to stand for; a last entry by itself is left.

    Entries up to number ``apart`` are not mixed with those after it.
    """
    span: list[Entry] = []
    rows = size = 0
    for entry in _left(entries):
        span.append(entry)
        more_rows, more_bytes = _small(entry)
        rows, size = rows + more_rows, size + more_bytes
        if entry.sequence == apart or _is_full(rows, size):
            yield span
            span, rows, size = [], 0, 0
    if len(span) > 1:
        yield span


def kept_and_merged(span: Sequence[Entry], table: str) -> tuple[list[FileEntry], list[tuple[Entry, FileEntry]]]:
    """The files of ``table`` that stay as they are, and those whose rows are merged, with their entries."""
    files = [(entry, file) for entry in span for file in entry.files if file.table == table]
    small = [(entry, file) for entry, file in files if _is_small(file)]
    if len(small) < 2:
        return [file for _, file in files], []
    return [file for _, file in files if not _is_small(file)], small


def leftovers(storage: Storage, entries: Sequence[Entry]) -> list[str]:
    """The files and then the entries that are still there and do not count any more, since others replace them.

    Told by their numbers alone: what belongs to an entry that is compacted and is not listed by now never will be. None
    where a file is missing that counts, as in a copy of a part of the run: that is to be seen with all that is there.
    """
    last = max((entry.sequence for entry in entries if isinstance(entry, Compacted)), default=0)
    if not last:
        return []
    listed = {file.path for entry in entries for file in entry.files}
    there = {f"{table}/{name}": name for table in SCHEMAS for name in storage.names(table, may_be_missing=True)}
    if not listed <= there.keys():
        return []
    numbers = {path: sequence_of(name) for path, name in there.items() if path not in listed}
    files = [path for path, number in numbers.items() if number is not None and number <= last]
    replaced = [name for name in storage.names(MANIFEST, may_be_missing=True) if 0 < number_of(name) <= last]
    return [*files, *(f"{MANIFEST}/{name}" for name in replaced)]


def _left(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if not isinstance(entry, Compacted)]


def _small(entry: Entry) -> tuple[int, int]:
    """Rows and bytes of its small files."""
    small = [file for file in entry.files if _is_small(file)]
    return sum(file.rows for file in small), sum(file.bytes for file in small)


def _is_full(rows: int, size: int) -> bool:
    return rows >= MOST_ROWS or size >= MOST_BYTES


def _is_small(file: FileEntry) -> bool:
    return file.rows < _LARGE_ROWS and file.bytes < _LARGE_BYTES
