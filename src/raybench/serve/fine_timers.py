"""An event loop whose timers are as exact as the kernel's: that of asyncio waits in whole milliseconds.

`epoll_wait` counts milliseconds, and the selector of the standard library rounds up: a request that is due in 0.2 ms
was sent 0.8 ms late. `select` counts microseconds and can wait for an epoll descriptor.
"""

from __future__ import annotations

import asyncio
import select
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from raybench.machine import in_real_time
from raybench.records import RaybenchError

T = TypeVar("T")

_COARSE_S: Final = 0.002
_MOST_DESCRIPTORS: Final = 1024  # FD_SETSIZE: of those that select can look at


class FineSelector(selectors.EpollSelector):
    """Waits by epoll until 2 ms are left, and these by select. It may return early, with nothing."""

    def __init__(self) -> None:
        super().__init__()
        if self.fileno() >= _MOST_DESCRIPTORS:
            self.close()
            raise RaybenchError(
                f"this process has more than {_MOST_DESCRIPTORS} files open, so that requests cannot be sent on time; "
                "close some first"
            )

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if timeout > _COARSE_S:
            return super().select(timeout - _COARSE_S)  # is rounded up by less than a millisecond
        select.select([self.fileno()], [], [], timeout)
        return super().select(0)


def run_on_time(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns, in an event loop of its own with exact timers, in real time where it may be."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(FineSelector())) as runner, in_real_time():
        return runner.run(work)
