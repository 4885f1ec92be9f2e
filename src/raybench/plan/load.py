"""How requests come to a server: so many at all times, or each at its moment."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import PurePath
from typing import Any, Final

_DIGEST: Final = 12
"""Hexadecimal digits that tell the moments of one trace from those of another."""


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """Exactly one of ``concurrency``, ``rate_per_s`` and ``trace``.

    ``concurrency``: requests under way at all times, a closed loop. ``rate_per_s``: of an open loop, whose intervals
    follow a gamma distribution of shape ``burstiness``: 1 is a Poisson process, less comes in bursts. ``trace``: a file
    of arrivals, and ``offsets_ns`` those of a round, once it has been read.
    """

    concurrency: int | None = None
    rate_per_s: float | None = None
    burstiness: float = 1.0
    trace: str | None = None
    offsets_ns: tuple[int, ...] = dataclasses.field(default=(), repr=False)

    @property
    def name(self) -> str:
        """In names of configurations: ``c8``, ``r2.5`` or ``trace``."""
        if self.concurrency is not None:
            return f"c{self.concurrency}"
        return "trace" if self.rate_per_s is None else f"r{self.rate_per_s:.10g}"

    def describe(self) -> dict[str, Any]:
        """As JSON values. Of a trace its moments too, as a digest: another file may have the same name."""
        if self.concurrency is not None:
            return {"concurrency": self.concurrency}
        if self.rate_per_s is not None:
            return {"rate_per_s": self.rate_per_s, "burstiness": self.burstiness}
        moments = hashlib.sha256(",".join(map(str, self.offsets_ns)).encode()).hexdigest()
        return {"trace": self.trace, "requests": len(self.offsets_ns), "digest": moments[:_DIGEST]}

    def words(self) -> str:
        """For people, and what tells it from other loads of a plan: ``8 at once``."""
        if self.concurrency is not None:
            return f"{self.concurrency} at once"
        if self.rate_per_s is None:
            return f"as traced in {PurePath(self.trace or '').stem}"
        return f"{self.rate_per_s:.10g} a second" + (
            "" if self.burstiness == 1 else f", burstiness {self.burstiness:g}"
        )


ONE_AT_A_TIME: Final = "c1"
"""In names, where a configuration is asked one request at a time and has no load."""


@dataclasses.dataclass(frozen=True, slots=True)
class Goodput:
    """What a request must keep to count: the time to its first token, and the mean time of each further one.

    Milliseconds; None: no such limit.
    """

    ttft_ms: float | None = None
    tpot_ms: float | None = None
