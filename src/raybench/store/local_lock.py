"""One live driver for a run, on any machine that shares the file system."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import weakref
from datetime import UTC, datetime
from pathlib import Path

from raybench.records import InputError
from raybench.store.holder import Holder
from raybench.store.regular_file import refuse_irregular

_held: weakref.WeakSet[DriverLock] = weakref.WeakSet()


class DriverLock:
    """An exclusive ``flock`` on a file whose JSON content names its holder: host, pid, started_at.

    The kernel releases it when the holder dies, however it dies, so what the file says is only for people. The
    file is never removed: a lock on a removed file excludes nobody.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises `InputError` when a live driver has it, `OSError` when the disk refuses."""
        self._fd: int | None = None
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)  # Python closes it on exec
        try:
            refuse_irregular(path, os.fstat(fd).st_mode)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left = _read(fd)
            started_at = datetime.now(UTC).isoformat(timespec="seconds")
            holder = Holder(host=socket.gethostname(), pid=os.getpid(), started_at=started_at)
            os.ftruncate(fd, 0)
            os.pwrite(fd, holder.encode(), 0)
        except BlockingIOError:
            message = f"{path.parent}: {_holder(fd)}; wait for it, stop it, or choose another --run-id"
            os.close(fd)
            raise InputError(message) from None
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        # Who releases it empties the file: a name in it is that of one who could not.
        self.notice: str | None = f"{left} is gone and did not release this run: taken over." if left else None
        _held.add(self)

    def check(self) -> None:
        """Nobody takes a file's lock from a process that lives."""

    @property
    def held(self) -> bool:
        """Whether this process holds the lock (a forked child never does)."""
        return self._fd is not None

    def release(self) -> None:
        """Let the next driver in. Does nothing the second time, or in a forked child."""
        if self._fd is None:
            return
        with contextlib.suppress(OSError):  # the content is a courtesy; a full disk must not keep the lock
            os.ftruncate(self._fd, 0)
        # Not left to the closing: a program that is being started shares the descriptor until its exec is through.
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._forget()

    def _forget(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        _held.discard(self)


def _holder(fd: int) -> str:
    if (found := _read(fd)) is None:  # taken an instant ago: its name is not written yet
        return "another process drives this run"
    return f"{found} drives this run since {found.started_at}"


def _read(fd: int) -> Holder | None:
    """Whom the file names; None where it names nobody."""
    return Holder.parse(os.pread(fd, 4096, 0))


def _forget_in_child() -> None:
    # A forked child shares the lock and would keep it after the driver's death. Closing only the child's copy
    # leaves the driver's lock in place.
    for lock in list(_held):
        lock._forget()


os.register_at_fork(after_in_child=_forget_in_child)
