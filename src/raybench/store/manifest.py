"""What of a run is committed: numbered JSON entries, each published whole or not at all.

The one way to write here is put-if-absent (`Storage.create`), and nothing is appended to or replaced, so the same
layout holds on a file system and on an object store. A torn entry cannot come from a crash: one that does not parse
was damaged afterwards.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

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

_ENTRY_NAME = re.compile(r"([0-9]{8})\.json")
_PATH_PATTERN = rf"^({'|'.join(SCHEMAS)})/[0-9]{{8}}-[0-9a-f]{{8}}\.parquet$"


_CONFIG: Final = ConfigDict(strict=True, extra="forbid")


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

    sequence: PositiveInt
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


def entry_name(sequence: int) -> str:
    """The name of entry number ``sequence``; the first is 1."""
    return f"{MANIFEST}/{sequence:08d}.json"


def read_manifest(storage: Storage, version: int) -> list[Entry]:
    """Every entry of a run of schema ``version``, in order. Safe while a driver commits.

    Raises `StoreError` for a gap, a stray or damaged entry, one of another schema version, and for a visit or a file
    that is listed twice.
    """
    names = storage.names(MANIFEST)
    if stray := [name for name in names if not _ENTRY_NAME.fullmatch(name)]:
        where = storage.locate(f"{MANIFEST}/{stray[0]}")
        raise StoreError(f"{where}: not a manifest entry; move it out of the manifest")
    # An entry is published after the one before it, so every number below a listed one can be opened.
    sequences = range(1, int(names[-1][:8]) + 1 if names else 1)
    contents = storage.read_many((entry_name(sequence), LONGEST_JSON) for sequence in sequences)
    entries = [
        _parse_entry(data, sequence, version, storage.root) for sequence, data in zip(sequences, contents, strict=True)
    ]
    seen: dict[object, int] = {}
    for entry in entries:
        visits: list[tuple[str, object]] = [(visit.visit, (visit.block, visit.round)) for visit in entry.visits]
        for label, key in visits + [(file.path, file.sha256) for file in entry.files]:
            if key in seen:
                where = storage.locate(entry_name(entry.sequence))
                raise StoreError(f"{where}: {label} is a copy of one in entry {seen[key]:08d}; {RESTORE}")
            seen[key] = entry.sequence
    return entries


def _parse_entry(data: bytes, sequence: int, version: int, root: Location) -> Entry:
    entry = parsed_at_once(Entry, data)
    if entry is not None and (entry.sequence, entry.schema_version) == (sequence, version):
        return entry
    where = root / entry_name(sequence)
    entry = validated(Entry, parse_json(data, where), where)
    if entry.sequence != sequence:
        raise StoreError(f"{where}: holds entry {entry.sequence}: a copy; {RESTORE}")
    if entry.schema_version != version:
        raise StoreError(f"{where}: schema version {entry.schema_version} in a run of version {version}; {RESTORE}")
    return entry
