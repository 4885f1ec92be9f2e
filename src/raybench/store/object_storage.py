"""A run below a prefix of an object store: published by conditional writes, locked by a lease.

An object appears whole or not at all, and is durable and visible to all when its write was answered; so nothing here
is renamed or synced. What a failed commit wrote stays where it is: a write whose answer was lost may yet arrive, and
an entry must never list what was removed meanwhile. Readers follow the manifest and do not see it. It is removed when
its number is compacted, since such an entry does not count any more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from raybench.records import InputError
from raybench.store.location import ObjectUri
from raybench.store.object_client import BRISK, PATIENT, ChangedError, ObjectClient, Patience
from raybench.store.object_errors import is_input
from raybench.store.object_lock import LOCK_NAMES, ObjectLock
from raybench.store.storage import LOCK, LONGEST_JSON, AlreadyThereError, StoreError, exists_already

_READERS: Final = 16
"""Objects that are asked for at once: an answer takes tens of milliseconds, whatever the size."""
_CONFLICTS: Final = 5


class ObjectStorage:
    """A run's prefix. What it promises is in `storage.Storage`."""

    def __init__(self, root: ObjectUri, patience: Patience | None = None, brisk: Patience | None = None) -> None:
        """``brisk`` is for the lock and for courtesies. Defaults: `PATIENT`, `BRISK`."""
        self.root = root
        self._client = ObjectClient(root, patience or PATIENT)
        self._brisk = ObjectClient(root, brisk or BRISK)

    def locate(self, name: str) -> ObjectUri:
        """The URI of ``name``."""
        return self.root / name

    def enter(self) -> None:
        """A prefix leads nowhere else. Raises `InputError` where nothing can be read there: bucket, credentials.

        Soon, and told from a store that fails: asked for one object, a bucket that is missing looks like one without.
        """
        try:
            self._brisk.names("")
        except StoreError as error:
            if is_input(error.__cause__):
                raise InputError(str(error)) from None
            raise

    def begin(self, folders: Sequence[str]) -> None:
        """Raises `InputError` if there are objects other than those of a lock."""
        if self._client.folders() or not set(self._client.names("")) <= set(LOCK_NAMES):
            raise exists_already(self.root)

    def prepare(self, folders: Sequence[str]) -> None:
        """A store has no folders to make."""

    def read(self, name: str, most_bytes: int = LONGEST_JSON) -> bytes:
        """The bytes of ``name``."""
        return self._client.read(name, most_bytes)

    def read_many(self, files: Iterable[tuple[str, int]]) -> Iterator[bytes]:
        """Several are asked for ahead."""
        waiting: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(_READERS) as pool:
            try:
                for name, most_bytes in files:
                    waiting.append(pool.submit(self.read, name, most_bytes))
                    if len(waiting) >= 2 * _READERS:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def create(self, name: str, data: bytes) -> None:
        """A conditional write. If the bytes are there already, it is an earlier try of it whose answer was lost."""
        for conflict in range(_CONFLICTS):
            try:
                self._client.create(name, data)
                return
            except ChangedError:
                found = self._client.find(name)
            if found is not None:
                if found.data == data:
                    return
                break
            time.sleep(0.05 * 2**conflict)  # S3's 409: someone writes there at this moment
        raise AlreadyThereError(
            f"{self.locate(name)}: already there; another driver wrote to this run, --resume it"
        ) from None

    def replace(self, name: str, data: bytes, *, courtesy: bool = False) -> None:
        """Put ``data`` at ``name``."""
        (self._brisk if courtesy else self._client).replace(name, data)

    def names(self, folder: str, *, may_be_missing: bool = False) -> list[str]:
        """The names of the objects in ``folder``, which need not be there."""
        return self._client.names(folder)

    def exists(self, name: str) -> bool:
        """Whether there is an object ``name``."""
        return self._client.exists(name)

    def remove(self, names: Iterable[str]) -> None:
        """Several at once."""
        with ThreadPoolExecutor(_READERS) as pool:
            for _ in pool.map(self._client.delete, names):
                pass

    def abandon(self, names: Iterable[str]) -> None:
        """They are left; see above."""

    def leave(self, folders: Sequence[str]) -> list[str]:
        """There are no folders to remove."""
        return sorted([*self._client.names(""), *self._client.folders()])

    def lock(self) -> ObjectLock:
        """Take the lease. Raises `InputError` while a live driver has it."""
        return ObjectLock(self._brisk, LOCK)
