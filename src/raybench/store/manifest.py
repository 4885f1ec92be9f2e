"""What of a run is committed: numbered JSON entries, each published whole or not at all.

The one way to write here is put-if-absent (`Storage.create`), and nothing is appended to or replaced, so the same
layout holds on a file system and on an object store. A torn entry cannot come from a crash: one that does not parse
was damaged afterwards.

A numbered document of compacted commits stands for the entries that follow those of the document before it. Those
entries and the files that only they list are removed when it is durable: what is still there of them does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    model_validator,
)
from pydantic.dataclasses import dataclass

from raybench.schemas import SCHEMAS
from raybench.store.documents import parse_json, parsed_at_once, validated
from raybench.store.location import Location
from raybench.store.storage import LONGEST_JSON, RESTORE, Storage, StoreError

MANIFEST: Final = "manifest"
COMPACTED: Final = "compacted"

_NAME = re.compile(r"([0-9]{8})\.json")
_FILE_NAME = re.compile(r"([0-9]{8})-[0-9a-f]{8}\.parquet")
_PATH_PATTERN = rf"^({'|'.join(SCHEMAS)})/{_FILE_NAME.pattern}$"
_STRAY: Final = {
    MANIFEST: "not a manifest entry; move it out of the manifest",
    COMPACTED: "not a document of compacted commits; move it out of the folder",
}

_CONFIG: Final = ConfigDict(strict=True, extra="forbid")
_Number = Annotated[PositiveInt, Field(lt=10**8)]
"""Of a commit: what names have room for."""


# With slots, unlike a model, because a driver keeps one for each visit: a third of the memory.
@dataclass(frozen=True, slots=True, config=_CONFIG)
class VisitKey:
    """One finished visit: its name, and the (block, round) that is committed once or not at all."""

    visit: str
    block: str
    round: Annotated[int, Field(ge=0, lt=2**31)]
    attempt: Annotated[int, Field(ge=0, lt=2**31)] = 0


@dataclass(frozen=True, slots=True, config=_CONFIG)
class FileEntry:
    """One Parquet file of one table; ``path`` is relative to the run, ``bytes`` its size."""

    table: str
    path: Annotated[str, Field(pattern=_PATH_PATTERN)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    rows: Annotated[PositiveInt, Field(lt=2**63)]
    bytes: Annotated[PositiveInt, Field(lt=2**63)]


class Entry(BaseModel):
    """One commit. It makes all its files and visits visible at once."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    sequence: _Number
    schema_version: int
    committed_at: AwareDatetime
    files: tuple[FileEntry, ...]
    visits: tuple[VisitKey, ...]

    @model_validator(mode="after")
    def _files_are_its_own(self) -> Entry:
        for file in self.files:
            if not file.path.startswith(f"{file.table}/{self.sequence:08d}-"):
                raise ValueError(f"{file.path} is not a file of table {file.table} in entry {self.sequence}")
        return self

    @property
    def keys(self) -> set[tuple[str, int]]:
        """The (block, round) of its visits."""
        return {(visit.block, visit.round) for visit in self.visits}


class Compacted(Entry):
    """The commits from number ``first`` to number ``sequence``, in the place of their entries.

    A file is one of theirs, or has the rows of several of theirs and the last one's number. ``committed_at``: the last.
    """

    first: _Number

    @model_validator(mode="after")
    def _files_are_its_own(self) -> Compacted:
        if self.first > self.sequence:
            raise ValueError(f"entries {self.first} to {self.sequence} are none")
        for file in self.files:
            table, _, name = file.path.partition("/")
            if table != file.table or not self.first <= (sequence_of(name) or 0) <= self.sequence:
                raise ValueError(
                    f"{file.path} is not a file of table {file.table} in entries {self.first} to {self.sequence}"
                )
        return self


Listed = TypeVar("Listed", bound=Entry)


def entry_name(sequence: int) -> str:
    """The name of entry number ``sequence``; the first is 1."""
    return f"{MANIFEST}/{sequence:08d}.json"


def compacted_name(number: int) -> str:
    """The name of document number ``number`` of compacted commits; the first is 1."""
    return f"{COMPACTED}/{number:08d}.json"


def number_of(document_name: str) -> int:
    """The number that the name of an entry or a document (without its folder) says; 0 where it is no such name."""
    return int(document_name[:8]) if _NAME.fullmatch(document_name) else 0


def sequence_of(file_name: str) -> int | None:
    """The number of the entry that a file's name (without its folder) says it is of; None where it is no such name."""
    found = _FILE_NAME.fullmatch(file_name)
    return int(found[1]) if found else None


def named(entries: Sequence[Entry]) -> Iterator[tuple[str, Entry]]:
    """Each of what `read_manifest` returned, with its name."""
    for number, entry in enumerate(entries, 1):
        yield compacted_name(number) if isinstance(entry, Compacted) else entry_name(entry.sequence), entry


def compacted_documents(storage: Storage) -> int:
    """How many documents of compacted commits there are. Raises `StoreError` for a stray one."""
    return _last_number(storage, COMPACTED)


def read_manifest(storage: Storage, version: int) -> list[Entry]:
    """Every commit of a run of schema ``version``, in order: those compacted, then the entries after them.

    Safe while a driver commits and compacts. Raises `StoreError` for a gap, a stray or damaged entry or document, one
    of another schema version, documents that do not follow each other, for a visit or a file that is listed twice, and
    where what is there says that a part of the manifest is missing.
    """
    while True:
        # In this order: a file is there before its entry, and an entry that is removed before it is looked for is in a
        # document by the next look.
        begun = _last_begun(storage)
        last = _last_number(storage, MANIFEST)
        documents = compacted_documents(storage)
        if not last and not documents:
            storage.names(MANIFEST)  # which has to be there, as long as nothing is compacted
        try:
            entries = _read_entries(storage, version, documents, last)
        except StoreError:
            if compacted_documents(storage) == documents:
                raise
            continue  # the driver compacted meanwhile
        _check_once(storage, entries)
        committed = entries[-1].sequence if entries else 0
        number, path = begun
        if number > committed + 1:  # the next may have been begun and never published
            raise StoreError(
                f"{storage.root / path}: of commit {number}, and the manifest ends with {committed or 'none'}: what "
                "lists those between is missing, as from a copy that was made while a driver compacted; move the file "
                f"out if it is none of the run's, else {RESTORE}"
            )
        return entries


def _last_begun(storage: Storage) -> tuple[int, str]:
    """The highest number of a commit of which a file is there, and that file."""
    paths = [(name, f"{table}/{name}") for table in SCHEMAS for name in storage.names(table, may_be_missing=True)]
    return max(((sequence_of(name) or 0, path) for name, path in paths), default=(0, ""))


def _last_number(storage: Storage, folder: str) -> int:
    names = storage.names(folder, may_be_missing=True)
    if stray := [name for name in names if not _NAME.fullmatch(name)]:
        raise StoreError(f"{storage.locate(f'{folder}/{stray[0]}')}: {_STRAY[folder]}")
    return number_of(names[-1]) if names else 0


def _read_entries(storage: Storage, version: int, documents: int, last: int) -> list[Entry]:
    """``documents`` documents, then the entries after them up to number ``last``."""
    found: list[Entry] = []
    before = 0
    names = [compacted_name(number) for number in range(1, documents + 1)]
    for name, data in zip(names, storage.read_many((name, LONGEST_JSON) for name in names), strict=True):
        document = _parse(Compacted, data, version, storage.root / name)
        if document.first != before + 1:
            where = storage.locate(name)
            raise StoreError(f"{where}: begins with entry {document.first}, and {before + 1} comes next; {RESTORE}")
        found.append(document)
        before = document.sequence
    # An entry is published after the one before it, so every number below a listed one can be opened.
    sequences = range(before + 1, last + 1)
    contents = storage.read_many((entry_name(sequence), LONGEST_JSON) for sequence in sequences)
    for sequence, data in zip(sequences, contents, strict=True):
        entry = _parse(Entry, data, version, where := storage.root / entry_name(sequence))
        if entry.sequence != sequence:
            raise StoreError(f"{where}: holds entry {entry.sequence}: a copy; {RESTORE}")
        found.append(entry)
    return found


def _check_once(storage: Storage, entries: Sequence[Entry]) -> None:
    seen: dict[object, str] = {}
    for name, entry in named(entries):
        visits: list[tuple[str, object]] = [(visit.visit, (visit.block, visit.round)) for visit in entry.visits]
        for label, key in visits + [(file.path, file.sha256) for file in entry.files]:
            if key in seen:
                raise StoreError(f"{storage.locate(name)}: {label} is a copy of one in {seen[key]}; {RESTORE}")
            seen[key] = _said(name, entry)


def _said(name: str, entry: Entry) -> str:
    return name if isinstance(entry, Compacted) else f"entry {entry.sequence:08d}"


def _parse(model: type[Listed], data: bytes, version: int, where: Location) -> Listed:
    entry = parsed_at_once(model, data)
    if entry is not None and entry.schema_version == version:
        return entry
    entry = validated(model, parse_json(data, where), where)
    if entry.schema_version != version:
        raise StoreError(f"{where}: schema version {entry.schema_version} in a run of version {version}; {RESTORE}")
    return entry
