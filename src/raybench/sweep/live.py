"""What a driver says of itself while it runs: one small file, replaced every few seconds, for whoever watches."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, ValidationError

from raybench.records import RaybenchError
from raybench.store import RunStore, StoreError

EVERY_S: Final = 5.0

State = Literal["running", "complete", "incomplete", "stopped", "failed"]


class LiveWorker(BaseModel):
    """A worker as its driver sees it; ``visit`` and ``for_s`` where it is busy, the rest once it has a device."""

    model_config = ConfigDict(frozen=True)
    state: Literal["starting", "idle", "busy"]
    host: str | None = None
    device: str | None = None
    device_name: str | None = None
    visit: str | None = None
    for_s: NonNegativeFloat | None = None


class LiveReport(BaseModel):
    """The driver's last word: ``waiting`` visits could begin if a device were free. Times are UTC."""

    model_config = ConfigDict(frozen=True)
    began_at: AwareDatetime
    updated_at: AwareDatetime
    state: State
    host: str
    pid: int
    waiting: NonNegativeInt
    workers: tuple[LiveWorker, ...] = ()


class Live:
    """Keeps a run's ``live.json`` up to date. It is a courtesy: where it cannot be written, the run goes on."""

    def __init__(
        self,
        store: RunStore,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._clock, self._now = store, clock, now
        self._written_at = -EVERY_S
        self._began_at = now()
        self._last: tuple[Sequence[dict[str, Any]], int] = ((), 0)

    def beat(self, workers: Sequence[dict[str, Any]], waiting: int) -> None:
        """What the workers are doing, and how many visits wait for one; written at most every `EVERY_S`."""
        self._last = workers, waiting
        if self._clock() - self._written_at >= EVERY_S:
            self._write("running")

    def end(self, state: State) -> None:
        """The driver stops here."""
        self._last = (), self._last[1]
        self._write(state)

    def _write(self, state: State) -> None:
        self._written_at = self._clock()
        workers, waiting = self._last
        report = LiveReport(
            began_at=self._began_at,
            updated_at=self._now(),
            state=state,
            host=socket.gethostname(),
            pid=os.getpid(),
            waiting=waiting,
            workers=tuple(LiveWorker(**worker) for worker in workers),
        )
        with contextlib.suppress(RaybenchError):
            self._store.replace_live(report.model_dump(mode="json"))


def read_report(store: RunStore) -> LiveReport | None:
    """The driver's last word, None where there is none yet. Raises StoreError where it is damaged."""
    document = store.live()
    if document is None:
        return None
    try:
        return LiveReport.model_validate(document)
    except ValidationError as error:
        what = error.errors()[0]
        where = ".".join(map(str, what["loc"]))
        raise StoreError(
            f"{store.root}: live.json cannot be right ({where}: {what['msg']}); remove it, nothing depends on it"
        ) from None
