"""One live driver for a run on an object store: a lease that its holder renews.

Ages are differences of the store's own times, so no machine's clock matters. A holder that has not renewed for
`LEASE_S` is taken over, by a write on the condition that the lock is as it was read: of two that try, one succeeds,
and a holder that renews meanwhile keeps it. The lock spares people a mistake; what keeps a run whole even without it
is that manifest entries are put-if-absent.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from raybench.records import InputError
from raybench.store.holder import Holder
from raybench.store.object_client import ChangedError, Found, ObjectClient
from raybench.store.storage import LOCK, StoreError

LEASE_S: Final = 120.0
RENEW_S: Final = 20.0
LOCK_NAMES: Final = (LOCK, ObjectClient.CLOCK)

_TRIES: Final = 4


class _Leaseholder(Holder):
    """``machine`` and ``process`` tell on the same machine whether the holder lives."""

    token: str
    machine: str = ""
    process: str = ""
    renewed: int = 0
    released: bool = False

    def is_dead(self) -> bool:
        """Whether it surely is: it ran on this machine, and its process is gone."""
        return bool(self.machine) and self.machine == _machine() and _process(self.pid) != self.process


class ObjectLock:
    """The lease of the object ``name``, held and renewed by a thread until `release`, or until another has it."""

    def __init__(self, client: ObjectClient, name: str, lease_s: float = LEASE_S, renew_s: float = RENEW_S) -> None:
        """Take it. Raises `InputError` while a live driver has it, `StoreError` where the store refuses."""
        self._client, self._name, self._lease_s = client, name, lease_s
        self._pid = os.getpid()
        self._holder = _Leaseholder(
            host=socket.gethostname(),
            pid=self._pid,
            token=secrets.token_hex(16),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=_machine(),
            process=_process(self._pid),
        )
        self.notice: str | None = None
        self._lost: str | None = None
        self._mutex, self._stop = threading.Lock(), threading.Event()
        self._version = self._take()
        self._renewed_at = time.monotonic()
        self._thread = threading.Thread(target=self._renew_until_stopped, args=(renew_s,), daemon=True)
        self._thread.start()

    @property
    def held(self) -> bool:
        """Whether this process took it and has not released it (a forked child never holds it)."""
        return self._pid == os.getpid() and not self._stop.is_set()

    def check(self) -> None:
        """Raises `StoreError` where another driver has it; asks the store where it was not asked lately."""
        if time.monotonic() - self._renewed_at > self._lease_s / 2:  # this process was stopped, or the store away
            self.renew()
        if self._lost is not None:
            raise StoreError(self._lost)

    def renew(self) -> None:
        """Show that the holder lives. Raises `StoreError` where the store cannot be reached."""
        with self._mutex:
            if self._lost is not None or not self.held:
                return
            renewed = self._holder.model_copy(update={"renewed": self._holder.renewed + 1})
            try:
                self._version = self._client.update(self._name, renewed.encode(), self._version)
            except ChangedError:
                found = self._client.find(self._name)
                holder = None if found is None else _Leaseholder.parse(found.data)
                if found is None or holder is None or holder.token != self._holder.token:
                    by = "its lock was removed" if found is None else f"{holder or 'another driver'} took it over"
                    self._lost = (
                        f"{self._client.root}: {by}; this driver commits no more, what is committed is kept. "
                        "Go on by --resume when the other has ended"
                    )
                    return
                self._version = found.version  # the answer to an earlier renewal was lost
            self._holder, self._renewed_at = renewed, time.monotonic()

    def release(self) -> None:
        """Let the next driver in. Does nothing the second time, or in a forked child."""
        if not self.held:
            return
        self._stop.set()
        with self._mutex:
            if self._lost is None:
                # Not removed: that knows no condition, and would remove the lock of who took it over.
                with contextlib.suppress(StoreError, ChangedError):  # else it is stale in a while
                    data = self._holder.model_copy(update={"released": True}).encode()
                    self._client.update(self._name, data, self._version)
        self._thread.join()

    def _take(self) -> Any:
        for _ in range(_TRIES):
            found = self._client.find(self._name)
            try:
                if found is None:
                    return self._client.create(self._name, self._holder.encode())
                holder = _Leaseholder.parse(found.data)
                if holder is not None and holder.token == self._holder.token:
                    return found.version  # the answer to an earlier try was lost
                self.notice = self._refuse_if_live(holder, found)
                return self._client.update(self._name, self._holder.encode(), found.version)
            except ChangedError:
                continue  # another was faster, or it was this very write: look again
        raise InputError(f"{self._client.root}: several drivers want this run; let one of them go on with it")

    def _refuse_if_live(self, holder: _Leaseholder | None, found: Found) -> str | None:
        if holder is not None and holder.released:
            return None
        who = f"{holder or 'a driver that left no name'}"
        if holder is not None and holder.is_dead():
            return f"{who} is gone and did not release this run: taken over."
        age_s = (self._client.now() - found.modified_at).total_seconds()
        if age_s >= self._lease_s:
            return f"{who} has not renewed its lock for {age_s:,.0f} s: taken over."
        since = "" if holder is None else f" since {holder.started_at}"
        raise InputError(
            f"{self._client.root}: {who} drives this run{since}, seen {max(0.0, age_s):.0f} s ago; wait for it, stop "
            f"it, or choose another --run-id. If it is dead, its lock ends in {self._lease_s - age_s:.0f} s"
        )

    def _renew_until_stopped(self, renew_s: float) -> None:
        while self._lost is None and not self._stop.wait(renew_s):
            with contextlib.suppress(StoreError):  # out of reach: again at the next time
                self.renew()


def _machine() -> str:
    """What tells this machine, since it was booted, from others, and its process numbers from a container's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _process(pid: int) -> str:
    """When process ``pid`` was started, in ticks since boot; empty if there is none, or only its exit status."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
