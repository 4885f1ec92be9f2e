"""What a driver says of itself while it runs: one small file, replaced every few seconds, for whoever watches."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from raybench.records import RaybenchError
from raybench.store import RunStore

EVERY_S: Final = 5.0

State = Literal["running", "complete", "incomplete", "stopped", "failed"]


class Live:
    """Keeps a run's ``live.json`` up to date. It is a courtesy: where it cannot be written, the run goes on."""

    def __init__(self, store: RunStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._written_at = -EVERY_S
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
        with contextlib.suppress(RaybenchError):
            self._store.replace_live(
                {
                    "updated_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                    "state": state,
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                    "waiting": waiting,
                    "workers": list(workers),
                }
            )
