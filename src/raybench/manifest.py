"""What of a run is committed: numbered JSON entries, each published whole or not at all.

The one way to write here is put-if-absent (`publish`), and nothing is appended to or replaced, so the same layout
holds on an object store. A torn entry cannot come from a crash: one that does not parse was damaged afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from raybench.records import SCHEMA_VERSION, SCHEMAS, RaybenchError

MANIFEST: Final = "manifest"
RESTORE: Final = "restore it from a copy, or measure again under another --run-id"

_ENTRY_NAME = re.compile(r"([0-9]{8})\.json")
_PATH_PATTERN = rf"^({'|'.join(SCHEMAS)})/[0-9]{{8}}-[0-9a-f]{{8}}\.parquet$"
_REMEDIES = {
    errno.ENOSPC: "free some space and start again (--resume keeps what is committed)",
    errno.EDQUOT: "free some space and start again (--resume keeps what is committed)",
    errno.EFBIG: "raise the file size limit (ulimit -f) and start again (--resume keeps what is committed)",
    errno.EROFS: "choose a results directory that is writable",
    errno.EACCES: "give this user access, or choose another results directory",
    errno.EPERM: "choose a results directory on a file system with hard links",
    errno.EOPNOTSUPP: "choose a results directory on a file system with hard links and locks",
}


class StoreError(RaybenchError):
    """A run directory cannot be written, is damaged, or would hold rows that cannot be true."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class VisitKey(_Model):
    """One finished visit: its name, and the (block, round) that is committed once or not at all."""

    visit: str
    block: str
    round: NonNegativeInt
    attempt: NonNegativeInt = 0


class FileEntry(_Model):
    """One Parquet file of one table; ``path`` is relative to the run, ``bytes`` its size."""

    table: str
    path: Annotated[str, Field(pattern=_PATH_PATTERN)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    rows: PositiveInt
    bytes: PositiveInt


class Entry(_Model):
    """One commit. It makes all its files and visits visible at once."""

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


def entry_path(root: Path, sequence: int) -> Path:
    """Where entry number ``sequence`` (the first is 1) of the run at ``root`` lies."""
    return root / MANIFEST / f"{sequence:08d}.json"


def read_manifest(root: Path) -> list[Entry]:
    """Every entry of the run at ``root``, in order. Safe while a driver commits.

    Raises `StoreError` for a gap, a stray or damaged entry, an unknown schema version, and for a visit or a file
    that is listed twice.
    """
    with explained(root / MANIFEST, "read"):
        names = sorted(path.name for path in (root / MANIFEST).iterdir() if not path.name.startswith("."))
    if stray := [name for name in names if not _ENTRY_NAME.fullmatch(name)]:
        raise StoreError(f"{root / MANIFEST / stray[0]}: not a manifest entry; move it out of the manifest")
    # An entry is published after the one before it, so every number below a listed one can be opened.
    entries = [_read_entry(root, sequence) for sequence in range(1, int(names[-1][:8]) + 1 if names else 1)]
    seen: dict[object, int] = {}
    for entry in entries:
        visits: list[tuple[str, object]] = [(visit.visit, (visit.block, visit.round)) for visit in entry.visits]
        for label, key in visits + [(file.path, file.sha256) for file in entry.files]:
            if key in seen:
                where = entry_path(root, entry.sequence)
                raise StoreError(f"{where}: {label} is a copy of one in entry {seen[key]:08d}; {RESTORE}")
            seen[key] = entry.sequence
    return entries


def _read_entry(root: Path, sequence: int) -> Entry:
    path = entry_path(root, sequence)
    try:
        entry = Entry.model_validate_json(json.dumps(read_json(path)))  # strict, but arrays and dates are JSON's
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "entry"
        raise StoreError(f"{path}: {place}: {first['msg']} (found {first['input']!r:.100}); {RESTORE}") from error
    if entry.sequence != sequence:
        raise StoreError(f"{path}: holds entry {entry.sequence}: a copy; {RESTORE}")
    return entry


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``. Raises `StoreError` if it is missing, damaged or of another schema version."""
    with explained(path, "read"):
        data = path.read_bytes()
    try:
        document = json.loads(data, parse_constant=_finite, parse_float=_finite)
        if not isinstance(document, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise StoreError(f"{path}: damaged JSON ({error}); {RESTORE}") from error
    if (version := document.get("schema_version")) != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: schema version {version!r}, and this raybench reads {SCHEMA_VERSION}; "
            "read it with the raybench that wrote it"
        )
    return document


def encode_json(document: Mapping[str, Any]) -> bytes:
    """``document`` as raybench writes JSON. Raises `ValueError` or `TypeError` for what JSON cannot hold."""
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def publish(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` if nothing is there: durable and whole, or absent. Raises `StoreError`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with explained(path, "written"):
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        except FileExistsError:
            raise StoreError(f"{path}: already there; another driver wrote to this run, --resume it") from None
        finally:
            with contextlib.suppress(OSError):  # a disk that turned read-only; `RunStore.resume` removes it
                temporary.unlink(missing_ok=True)
        sync_directory(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, whatever is there: for what can be made again. Raises `StoreError`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with explained(path, "written"):
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Make the names in the directory ``path`` survive a power cut. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def explained(path: Path, action: str) -> Iterator[None]:
    """Turn an `OSError` about ``path`` into a `StoreError` that names it and the remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, RESTORE if action == "read" else "check the disk and start again")
        raise StoreError(f"{path}: cannot be {action}: {error.strerror or error}; {remedy}") from error


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return value
