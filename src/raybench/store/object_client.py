"""One prefix of an S3 or Google Cloud Storage bucket, through ``obstore``: the only module that imports it.

Its conditional writes are what a run rests on: `create` if nothing is there, `update` if it is still the version that
was read. S3: ``If-None-Match`` and ``If-Match`` on the ETag; GCS: ``x-goog-if-generation-match``. A store that does
not honour them is refused by `check_writable`.

Credentials, region and endpoint are found as obstore finds them: environment variables, a container's or an
instance's role; for GCS also application default credentials. Those of ``~/.aws`` are not read.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import GCSStore, S3Store

from raybench.records import InputError
from raybench.store.location import ObjectUri
from raybench.store.object_errors import explain
from raybench.store.storage import LONGEST_JSON, StoreError, too_long

if TYPE_CHECKING:
    from obstore import GetResult, UpdateVersion
    from obstore.store import ClientConfig, RetryConfig

T = TypeVar("T")

_FAILURES: Final = (BaseError, OSError)  # obstore raises FileNotFoundError for what is not there


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a store may fail before that is an error. Seconds.

    ``request_s`` bounds one request, its body included; ``total_s`` the time after which none is tried again.
    """

    request_s: float
    retries: int
    total_s: float
    first_pause_s: float = 0.1
    longest_pause_s: float = 15.0


PATIENT: Final = Patience(request_s=30.0, retries=10, total_s=180.0)
"""What a commit waits rather than end a sweep."""
BRISK: Final = Patience(request_s=10.0, retries=3, total_s=20.0)
"""Before anything is started, and for what nothing depends on."""


class ChangedError(Exception):
    """A conditional write met something else than its condition; it may be what an earlier try of it wrote."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object as it was read. ``modified_at`` is by the store's clock."""

    data: bytes
    version: UpdateVersion
    modified_at: datetime


class ObjectClient:
    """Objects below ``root``, by names relative to it. Raises `StoreError`: what, where, and the remedy."""

    CLOCK: Final = "driver.clock"
    """The object that `now` leaves."""

    def __init__(self, root: ObjectUri, patience: Patience = PATIENT) -> None:
        self.root, self.patience = root, patience
        self._store = _open(root, patience)

    def read(self, name: str, most_bytes: int = LONGEST_JSON) -> bytes:
        """The bytes of ``name``; where there are more than ``most_bytes``, none is fetched."""
        return self._insist(name, "read", lambda: self._bytes(name, self._store.get(name), most_bytes))

    def find(self, name: str, most_bytes: int = LONGEST_JSON) -> Found | None:
        """The bytes of ``name`` and the version they are; None if nothing is there."""

        def get() -> Found | None:
            try:
                found = self._store.get(name)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None
            meta = found.meta
            data = self._bytes(name, found, most_bytes)
            return Found(data, _version(meta.get("e_tag"), meta.get("version")), meta["last_modified"])

        return self._insist(name, "read", get)

    def create(self, name: str, data: bytes) -> UpdateVersion:
        """Put ``data`` where nothing is. Raises `ChangedError` where something is."""
        return self._put_if(name, data, None)

    def update(self, name: str, data: bytes, version: UpdateVersion) -> UpdateVersion:
        """Put ``data`` in the place of that ``version``. Raises `ChangedError` where that is not there any more.

        No two writes may have the same bytes: on S3 the version is a digest of them.
        """
        return self._put_if(name, data, version)

    def replace(self, name: str, data: bytes) -> None:
        """Put ``data``, whatever is there."""
        with self._explained(name, "written"):
            self._store.put(name, data, use_multipart=False)

    def delete(self, name: str) -> None:
        """Remove ``name``, if it is there."""
        with self._explained(name, "removed"):
            try:
                self._store.delete(name)
            except FileNotFoundError as error:  # as GCS answers, S3 does not
                if "NoSuchBucket" in str(error):
                    raise

    def exists(self, name: str) -> bool:
        """Whether anything is at ``name``."""
        with self._explained(name, "read"):
            try:
                self._store.head(name)
            except FileNotFoundError:
                return False
            return True

    def names(self, folder: str) -> list[str]:
        """The names of the objects directly in ``folder``, sorted."""
        found = self._insist(folder, "listed", lambda: self._store.list_with_delimiter(folder)["objects"])
        return sorted(meta["path"].rpartition("/")[2] for meta in found)

    def folders(self) -> list[str]:
        """The names that objects are below, sorted."""
        found = self._insist("", "listed", lambda: self._store.list_with_delimiter("")["common_prefixes"])
        return sorted(prefix.rstrip("/") for prefix in found)

    def now(self) -> datetime:
        """What time it is by the store's own clock, which alone dates its objects; leaves an object to tell it."""
        self.replace(self.CLOCK, secrets.token_bytes(8))
        with self._explained(self.CLOCK, "read"):
            return self._store.head(self.CLOCK)["last_modified"]

    def _bytes(self, name: str, found: GetResult, most_bytes: int) -> bytes:
        if (size := found.meta["size"]) > most_bytes:
            raise too_long(self.root / name, size, most_bytes)
        return bytes(found.bytes())

    def _put_if(self, name: str, data: bytes, version: UpdateVersion | None) -> UpdateVersion:
        def put() -> UpdateVersion:
            done = self._store.put(name, data, mode="create" if version is None else version)
            return _version(done.get("e_tag"), done.get("version"))

        try:
            return self._insist(name, "written", put)
        except StoreError as error:
            if isinstance(error.__cause__, AlreadyExistsError | PreconditionError):
                raise ChangedError from error
            raise

    def _insist(self, name: str, action: str, request: Callable[[], T]) -> T:
        # obstore repeats what was answered by an error or a dropped connection; not a conditional write that was not
        # answered in time, nor a read or a list that was broken off within its bytes.
        deadline = time.monotonic() + self.patience.total_s
        for retry in range(self.patience.retries + 1):
            try:
                with self._explained(name, action):
                    return request()
            except StoreError as error:
                if retry == self.patience.retries or time.monotonic() >= deadline or not _unanswered(error.__cause__):
                    raise
        raise AssertionError

    @contextlib.contextmanager
    def _explained(self, name: str, action: str) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            where = f"{self.root}/{name}".rstrip("/")
            reason, remedy = explain(error)
            raise StoreError(f"{where}: cannot be {action}: {reason}; {remedy}") from error


def check_writable(results: ObjectUri, patience: Patience = BRISK) -> None:
    """Refuse a place that cannot be written, listed and read, or whose writes are not conditional.

    Raises `InputError`. Leaves nothing, where it may remove what it wrote.
    """
    client, probe = ObjectClient(results, patience), f".probe-{secrets.token_hex(8)}"
    try:
        first = client.create(probe, b"1")
        client.update(probe, b"2", first)
        if not (
            _is_refused(lambda: client.create(probe, b"3")) and _is_refused(lambda: client.update(probe, b"4", first))
        ):
            raise StoreError(
                f"{results}: this store writes over what is there although told not to (it knows no If-None-Match or "
                "no If-Match); choose another store, or a file system"
            )
        client.names("")
        client.read(probe)
    except ChangedError:  # an answer was lost on the way: what was written is there
        pass
    except StoreError as error:
        raise InputError(f"--results {error}".replace(f"/{probe}", "")) from None
    finally:
        with contextlib.suppress(StoreError):
            client.delete(probe)


def _is_refused(write: Callable[[], UpdateVersion]) -> bool:
    try:
        write()
    except ChangedError:
        return True
    return False


def _open(root: ObjectUri, patience: Patience) -> S3Store | GCSStore:
    endpoints = [os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")]
    client: ClientConfig = {
        "timeout": timedelta(seconds=patience.request_s),
        "connect_timeout": timedelta(seconds=min(5.0, patience.request_s)),
    }
    if root.scheme == "s3" and any(url.startswith("http://") for url in endpoints):  # who sets one means it
        client["allow_http"] = True
    retry: RetryConfig = {
        "max_retries": patience.retries,
        "retry_timeout": timedelta(seconds=patience.total_s),
        "backoff": {
            "init_backoff": timedelta(seconds=patience.first_pause_s),
            "max_backoff": timedelta(seconds=patience.longest_pause_s),
            "base": 2,
        },
    }
    prefix = root.key or None
    try:
        if root.scheme == "s3":
            return S3Store(root.bucket, prefix=prefix, client_options=client, retry_config=retry)
        return GCSStore(root.bucket, prefix=prefix, client_options=client, retry_config=retry)
    except BaseError as error:
        raise InputError(f"{root}: cannot be opened: {explain(error)[0]}; check the credentials' variables") from None


def _version(e_tag: str | None, version: str | None) -> UpdateVersion:
    found: UpdateVersion = {}  # obstore takes no None
    if e_tag is not None:
        found["e_tag"] = e_tag
    if version is not None:
        found["version"] = version
    return found


def _unanswered(error: BaseException | None) -> bool:
    answered = isinstance(error, AlreadyExistsError | PreconditionError) or "status code" in str(error)
    return isinstance(error, BaseError) and not answered
