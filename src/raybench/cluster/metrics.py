"""Counters of a run for Prometheus. The kinds of counter are given: on a cluster Ray's, whose agents export them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from raybench.visit import Died, Failed, Finished, Message, Samples

_EVERY_S: Final = 1.0


class _Counter(Protocol):
    def inc(self, value: float, tags: Mapping[str, str] | None = None) -> object: ...


class _Gauge(Protocol):
    def set(self, value: float, tags: Mapping[str, str] | None = None) -> object: ...


class RunMetrics:
    """Visits, samples and failures as they come; the queue, the workers and their busy share about every second."""

    def __init__(
        self,
        counter: Callable[..., Any],
        gauge: Callable[..., Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``counter`` and ``gauge`` take a name, a description and ``tag_keys``, as `ray.util.metrics` has them."""
        self._visits: _Counter = counter("raybench_visits", "Visits that ended", tag_keys=("outcome",))
        self._samples: _Counter = counter("raybench_samples", "Samples received, warm-ups and openers included")
        self._failures: _Counter = counter("raybench_failures", "Configurations that failed", tag_keys=("kind",))
        self._queue: _Gauge = gauge("raybench_visits_waiting", "Visits that could begin if a device were free")
        self._workers: _Gauge = gauge("raybench_workers", "Workers", tag_keys=("state",))
        self._busy: _Gauge = gauge("raybench_busy_share", "Share of the devices held that are measuring")
        self._clock, self._shown_at = clock, -math.inf

    def count(self, message: Message) -> None:
        """One message of a visit."""
        match message:
            case Samples(batch):
                if batch.num_rows:
                    self._samples.inc(batch.num_rows)
            case Failed(_, kind, _):
                self._failures.inc(1, {"kind": kind})
            case Finished():
                self._visits.inc(1, {"outcome": "finished"})
            case Died():
                self._visits.inc(1, {"outcome": message.kind})

    def show(self, *, waiting: int, busy: int, idle: int, starting: int) -> None:
        """Visits that wait, and workers by what they do."""
        if self._clock() - self._shown_at < _EVERY_S:
            return
        self._shown_at = self._clock()
        self._queue.set(waiting)
        for state, number in {"busy": busy, "idle": idle, "starting": starting}.items():
            self._workers.set(number, {"state": state})
        self._busy.set(busy / (busy + idle) if busy + idle else 0.0)
