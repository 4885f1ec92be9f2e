"""Removing a run: its own files, while nobody drives it. What else lies in its place is left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from raybench.records import InputError
from raybench.schemas import SCHEMAS
from raybench.store.documents import parse_json
from raybench.store.location import Location
from raybench.store.manifest import COMPACTED, MANIFEST
from raybench.store.results import open_storage
from raybench.store.storage import DESCRIPTION, LOCK, Storage, StoreError

_FOLDERS: Final = (*SCHEMAS, "tables", "schema", COMPACTED, MANIFEST)
_LAST: Final = (LOCK, "driver.clock")
"""Removed after all else: they keep drivers away."""
_DERIVED: Final = ("live.json", "views.sql")
_DRIVEN: Final = "; wait for it"
"""After these words a lock that is refused says what to do about beginning a run."""


class Removal:
    """A run that is held as its driver would hold it, to be removed or not; use as a context manager.

    ``files``: by name below ``root``, the run's own, but for its description and its lock.
    """

    def __init__(self, path: Location) -> None:
        """Raises `InputError` where there is no run, it is a link, or a driver has it; `StoreError`."""
        if isinstance(path, Path) and path.is_symlink():
            raise InputError(f"{path}: a link; name the run that it leads to")
        self._storage = storage = open_storage(path)
        self.root = storage.root
        storage.enter()
        if not storage.exists(DESCRIPTION) or not _is_run(storage):
            raise InputError(
                f"{path}: no run of raybench, for it lacks {DESCRIPTION} or a manifest; nothing is removed"
            )
        try:
            self._lock = storage.lock()
        except InputError as error:
            raise InputError(f"{str(error).partition(_DRIVEN)[0]}; it is not removed: stop it first") from None
        try:
            self.files = [f"{folder}/{name}" for folder in _FOLDERS for name in _names(storage, folder)]
            self.files += [name for name in storage.names("") if name in _DERIVED or name.startswith("report.")]
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def remove(self) -> Sequence[str]:
        """Remove the run. Returns what is left there, which is not its own. Raises `StoreError`."""
        storage = self._storage
        storage.prepare([folder for folder in _FOLDERS if storage.exists(folder)])  # what writers left half done
        manifest = [name for name in self.files if name.startswith((f"{MANIFEST}/", f"{COMPACTED}/"))]
        storage.remove(name for name in self.files if name not in manifest)
        storage.remove([DESCRIPTION])
        storage.remove(manifest)
        self._lock.release()
        storage.remove(_LAST)
        return storage.leave(_FOLDERS)


def _is_run(storage: Storage) -> bool:
    """Whether it has a manifest. An object store has no empty folder: there a description that is one is enough."""
    if storage.exists(MANIFEST) or any(_names(storage, folder) for folder in (MANIFEST, COMPACTED)):
        return True
    if isinstance(storage.root, Path):
        return False
    try:
        parse_json(storage.read(DESCRIPTION), storage.locate(DESCRIPTION))
    except StoreError:
        return False
    return True


def _names(storage: Storage, folder: str) -> list[str]:
    return storage.names(folder, may_be_missing=True)
