"""Letting the servers of a visit that are not asked come to rest, before one is.

Engines go on computing after an answer: a worker of vLLM looks for work for a second without sleeping (`SpinCondition`
of its shm_broadcast.py, 0.32), on a CPU on the core that every other such server uses as well. A request that comes
while servers beside its own do that is timed with it, and shorter turns of more servers have more of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

_LOOK_S: Final = 0.04
_IDLE_CORES: Final = 0.4
"""Of one look: the kernel tells the time of a process in ticks of 10 ms, so that an idle server may seem to use one."""
_AT_MOST_S: Final = 3.0


class Computes(Protocol):
    """What uses processor time, as `ServerProcess` does."""

    def cpu_ns(self) -> int:
        """Processor time that it has used up to now."""


class Rest:
    """Waits for the others of ``servers``, by name. One that never rests is waited for once, and is in `never_idle`.

    ``clock``: seconds; ``sleep``: waits for so many.
    """

    def __init__(
        self,
        servers: Mapping[str, Computes],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._servers = dict(servers)
        self._clock, self._sleep = clock, sleep
        self._last: str | None = None
        self.never_idle: dict[str, None] = {}

    def before(self, name: str) -> None:
        """Return once no other server computes, or those that do were waited for in vain.

        Where ``name`` was the last to be asked the others have rested already.
        """
        if name == self._last:
            return
        self._last = name
        awaited = {n: s for n, s in self._servers.items() if n != name and n not in self.never_idle}
        deadline = self._clock() + _AT_MOST_S
        while awaited:
            before, since = {n: server.cpu_ns() for n, server in awaited.items()}, self._clock()
            self._sleep(_LOOK_S)
            looked_ns = (self._clock() - since) * 1e9
            busy = {n: s for n, s in awaited.items() if s.cpu_ns() - before[n] > _IDLE_CORES * looked_ns}
            if busy and self._clock() >= deadline:
                self.never_idle.update(dict.fromkeys(busy))
                return
            awaited = busy
