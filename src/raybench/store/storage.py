"""What a run asks of the place that keeps it. `local_storage` and `object_storage` are two such places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from raybench.records import InputError, RaybenchError
from raybench.store.location import Location

DESCRIPTION: Final = "run.json"
LOCK: Final = "driver.lock"
RESTORE: Final = "restore it from a copy, or measure again under another --run-id"
LONGEST_JSON: Final = 128 * 2**20
"""Bytes. The description of the largest plan, 10,000 configurations, takes about a tenth."""


class StoreError(RaybenchError):
    """A run cannot be written, is damaged, or would hold rows that cannot be true."""


class AlreadyThereError(StoreError):
    """What was to be created is there already, with other bytes: another driver wrote to the run."""


class Lock(Protocol):
    """One live driver for a run. Taken where it is made: that raises `InputError` while a live driver has it."""

    @property
    def held(self) -> bool:
        """Whether this process took it and has not released it (a forked child never holds it)."""

    @property
    def notice(self) -> str | None:
        """Whom it was taken over from, for people, where that is known."""

    def check(self) -> None:
        """Raises `StoreError` where another driver has taken it over since."""

    def release(self) -> None:
        """Let the next driver in. Does nothing the second time."""


class Storage(Protocol):
    """One run's files, by names relative to its root: ``manifest/00000001.json``.

    Whatever cannot be done raises `StoreError`: what, where, and the remedy.
    """

    @property
    def root(self) -> Location:
        """Where the run is."""

    def locate(self, name: str) -> Location:
        """Where ``name`` is, for people and for other programs."""

    def enter(self) -> None:
        """Raises `InputError` where no run can be looked for: the root is a link out of its parent, or out of reach."""

    def begin(self, folders: Sequence[str]) -> None:
        """Make room for a new run, of ``folders``. Raises `InputError` where more is there than an empty beginning."""

    def prepare(self, folders: Sequence[str]) -> None:
        """Before writing: make what the files need, and remove what a dead driver was in the midst of writing."""

    def read(self, name: str, most_bytes: int = LONGEST_JSON) -> bytes:
        """The bytes of ``name``; where there are more than ``most_bytes``, none is read."""

    def read_many(self, files: Iterable[tuple[str, int]]) -> Iterator[bytes]:
        """The bytes of each of ``files``, a name and its most bytes, in order; few at a time are in memory."""

    def create(self, name: str, data: bytes) -> None:
        """Put ``data`` at ``name`` if nothing is there: durable and whole when this returns, or absent.

        Raises `AlreadyThereError` where other bytes are there. After any other error it may be there all the same.
        """

    def replace(self, name: str, data: bytes, *, courtesy: bool = False) -> None:
        """Put ``data`` at ``name``, whatever is there: for what can be made again.

        ``courtesy``: give up soon, since nothing depends on it.
        """

    def names(self, folder: str, *, may_be_missing: bool = False) -> list[str]:
        """The names of the files in ``folder``, sorted. ``may_be_missing``: a folder that is not there has none."""

    def exists(self, name: str) -> bool:
        """Whether anything is at ``name``."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove ``names``, those that are there: files that do not count any more, nor ever will."""

    def abandon(self, names: Iterable[str]) -> None:
        """Of a commit that failed: no entry lists ``names``, nor ever will. They may be removed or left."""

    def leave(self, folders: Sequence[str]) -> list[str]:
        """After a run's files were removed: remove ``folders`` and the root, where they are empty.

        Returns the names that are left in the root.
        """

    def lock(self) -> Lock:
        """Become the run's driver. Raises `InputError` while a live one has it."""


def exists_already(root: Location) -> InputError:
    """What a person is told who begins a run under a name that is taken."""
    return InputError(f"{root}: exists already; go on with it by --resume, or choose another --run-id")


def too_long(where: Location | str, found_bytes: int, most_bytes: int) -> StoreError:
    """What a person is told of a file that is longer than it can be."""
    return StoreError(f"{where}: {found_bytes} bytes, {most_bytes} are the most it can have; {RESTORE}")
