"""A run in a folder of a local or mounted file system: published by hard links, locked by ``flock``."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from raybench.records import InputError
from raybench.store.local_lock import DriverLock
from raybench.store.regular_file import read_regular
from raybench.store.storage import LOCK, LONGEST_JSON, RESTORE, AlreadyThereError, StoreError, exists_already

_REMEDIES: Final = {
    errno.ENOSPC: "free some space and start again (--resume keeps what is committed)",
    errno.EDQUOT: "free some space and start again (--resume keeps what is committed)",
    errno.EFBIG: "raise the file size limit (ulimit -f) and start again (--resume keeps what is committed)",
    errno.EROFS: "choose a results directory that is writable",
    errno.EACCES: "give this user access, or choose another results directory",
    errno.EPERM: "choose a results directory on a file system with hard links",
    errno.EOPNOTSUPP: "choose a results directory on a file system with hard links and locks",
}

_PROBE_BYTES: Final = 65536
"""About one commit of a small plan: less than that free is a full disk."""


class LocalStorage:
    """A run's folder. What it promises is in `storage.Storage`."""

    def __init__(self, root: Path) -> None:
        self._named = root
        self.root = root.resolve()

    def locate(self, name: str) -> Path:
        """Where ``name`` is. Raises `StoreError` where a link leads out of the run."""
        path = self.root / name
        if not path.resolve().is_relative_to(self.root):
            raise StoreError(f"{path}: a link leads out of the run; {RESTORE}")
        return path

    def enter(self) -> None:
        """Raises `InputError` where the root is a link out of its parent."""
        if not self.root.is_relative_to(self._named.parent.resolve()):
            raise InputError(f"{self._named}: leads outside {self._named.parent}; name the run's own directory")

    def begin(self, folders: Sequence[str]) -> None:
        """Make the folder. Raises `InputError` if more is there than what a driver left that died doing so."""
        with explained(self._named, "created"):
            try:
                self._named.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise exists_already(self._named) from None
            if self._named.is_symlink() or not self._is_unfinished(folders):
                raise exists_already(self._named)
            _sync_directory(self.root.parent)

    def prepare(self, folders: Sequence[str]) -> None:
        """Make ``folders``; remove temporary files."""
        with explained(self.root, "written"):
            for name in folders:  # a copy made by git lacks the empty ones
                self.locate(name).mkdir(exist_ok=True)
            for folder in (self.root, *(self.root / name for name in folders)):
                for path in folder.glob(".*.tmp"):
                    path.unlink()

    def read(self, name: str, most_bytes: int = LONGEST_JSON) -> bytes:
        """The bytes of ``name``, if it is a regular file."""
        path = self.locate(name)
        with explained(path, "read"):
            return read_regular(path, most_bytes)

    def read_many(self, files: Iterable[tuple[str, int]]) -> Iterator[bytes]:
        """One file at a time; where a folder leads is found out once."""
        folders: set[str] = set()
        for name, most_bytes in files:
            path = f"{self.root}/{name}"  # as text: of ten thousand entries, to make a Path takes longer than to read
            folder = name.rpartition("/")[0]
            if folder not in folders:
                self.locate(name)
                folders.add(folder)
            with explained(path, "read"):
                if stat.S_ISLNK(os.lstat(path).st_mode):
                    self.locate(name)
                data = read_regular(path, most_bytes)
            yield data

    def create(self, name: str, data: bytes) -> None:
        """Written under another name, made durable, then linked to its own, which fails if that is taken."""
        path = self.locate(name)
        with explained(path, "written"):
            try:
                with _temporary(path) as temporary:
                    with temporary.open("xb") as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                    os.link(temporary, path)
            except FileExistsError:
                raise AlreadyThereError(
                    f"{path}: already there; another driver wrote to this run, --resume it"
                ) from None
            _sync_directory(path.parent)

    def replace(self, name: str, data: bytes, *, courtesy: bool = False) -> None:
        """Written under another name, then renamed; its folder is made."""
        path = self.locate(name)
        with explained(path, "written"):
            path.parent.mkdir(exist_ok=True)
            with _temporary(path) as temporary:
                temporary.write_bytes(data)
                temporary.replace(path)

    def names(self, folder: str, *, may_be_missing: bool = False) -> list[str]:
        """The names in ``folder``, but for hidden ones."""
        path = self.locate(folder)
        if may_be_missing and not os.path.lexists(path):
            return []
        with explained(path, "read"), os.scandir(path) as found:
            return sorted(entry.name for entry in found if not entry.name.startswith("."))

    def exists(self, name: str) -> bool:
        """Whether anything is at ``name``, be it a link that leads nowhere."""
        return os.path.lexists(self.root / name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove ``names``; of a link, the link."""
        names = list(names)
        if names:  # a driver that was killed may have published what stands in their place, and not made it durable
            with explained(self.root, "written"), os.scandir(self.root) as found:
                for folder in [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]:
                    _sync_directory(Path(folder))
        for name in names:
            path = self.locate(name.rpartition("/")[0]) / name.rpartition("/")[2]
            with explained(path, "removed"):
                path.unlink(missing_ok=True)

    def abandon(self, names: Iterable[str]) -> None:
        """Remove ``names``, as far as the disk lets."""
        for name in names:
            with contextlib.suppress(OSError):
                (self.root / name).unlink(missing_ok=True)

    def leave(self, folders: Sequence[str]) -> list[str]:
        """A folder that is not empty stays."""
        with explained(self.root, "removed"):
            for name in folders:
                path = self.root / name
                if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
                    path.rmdir()
            left = sorted(path.name for path in self.root.iterdir())
            if not left:
                self.root.rmdir()
                _sync_directory(self.root.parent)
        return left

    def lock(self) -> DriverLock:
        """Take ``flock``. Raises `InputError` while a live driver has it."""
        with explained(self.root / LOCK, "locked"):
            return DriverLock(self.root / LOCK)

    def _is_unfinished(self, folders: Sequence[str]) -> bool:
        # What a driver leaves that died while it created the run: no description, and nothing in the folders.
        names = {path.name for path in self.root.iterdir() if not path.name.endswith(".tmp")}
        return names <= {LOCK, *folders} and not any(self.root.glob("*/*"))


def try_to_write(folder: Path) -> None:
    """Do in ``folder`` once what a run asks of its disk: some bytes, a hard link, a lock. Raises `OSError`."""
    file = folder / "probe"
    file.write_bytes(bytes(_PROBE_BYTES))
    os.link(file, folder / "link")
    with file.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def explained(path: Path | str, action: str) -> Iterator[None]:
    """Turn an `OSError` about ``path`` into a `StoreError` that names it and the remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, RESTORE if action == "read" else "check the disk and start again")
        raise StoreError(f"{path}: cannot be {action}: {error.strerror or error}; {remedy}") from error


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside ``path`` that no other writer takes; nothing is left there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):  # a disk that turned read-only; `prepare` removes it
            temporary.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    """Make the names in the directory ``path`` survive a power cut. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
