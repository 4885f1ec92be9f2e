"""Requests sent as a load asks for: so many at all times, or each at its moment, whatever became of those before.

All of it runs in one event loop, and while it does nothing is parsed but HTTP's framing and no garbage is collected:
answers are read when the last one has come.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raybench.records import InputError
from raybench.serve.answers import Answer, answer_of
from raybench.serve.endpoint import Endpoint
from raybench.serve.exchange import Clock, Limits
from raybench.serve.openai_api import Asked
from raybench.serve.sending import MOST_CONNECTIONS, Sending


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A request and what came of it. ``place``: among those of the load; ``due_ns``: when it should have been sent.

    In an open loop that is its offset after the start; in a closed loop when the answer before it, on the same
    connection, had ended, or the start.
    """

    place: int
    asked: Asked
    due_ns: int
    answer: Answer

    @property
    def late_ns(self) -> int | None:
        """How much later than it was due the request was sent: the client's doing. None where it was not sent."""
        return None if self.answer.sent_ns is None else self.answer.sent_ns - self.due_ns


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What came of a load. ``outcomes`` in the order of its requests, of those that were sent.

    ``connections``: opened before it began. ``opened_later``: further ones, because none was free (open loop) or the
    server had closed one; the requests that were sent on them waited for that.
    """

    outcomes: tuple[Outcome, ...]
    began_ns: int
    connections: int
    opened_later: int


async def closed_loop(
    endpoint: Endpoint,
    requests: Sequence[Asked],
    concurrency: int,
    limits: Limits | None = None,
    clock: Clock = time.perf_counter_ns,
    counted: range | None = None,
) -> Load:
    """``concurrency`` requests under way at all times, in the order of ``requests``, until none is left.

    ``counted``: the places of those that count; the ones after them are sent only as long as one that counts has not
    been answered. None: all count. Faults of the server are errors of answers. Cancelled, it closes all connections.
    Raises InputError.
    """
    if not 1 <= concurrency <= MOST_CONNECTIONS:
        raise InputError(f"concurrency: expected 1 to {MOST_CONNECTIONS}, found {concurrency}")
    sending = Sending(endpoint, requests, limits or Limits(), clock, counted)
    async with sending.open(min(concurrency, len(requests))):
        places = iter(range(len(requests)))
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(sending.one_after_another(places))
    return _read(requests, sending)


async def open_loop(
    endpoint: Endpoint,
    requests: Sequence[Asked],
    offsets_ns: NDArray[np.int64],
    connections: int,
    limits: Limits | None = None,
    clock: Clock = time.perf_counter_ns,
    counted: range | None = None,
    least_before: int = 0,
) -> Load:
    """Each request at its offset after the start, whether or not earlier ones have been answered.

    ``offsets_ns``, of shape (requests,), does not fall. ``connections`` are opened before the start; where none is free
    one more is, up to `MOST_CONNECTIONS`: then requests wait for one, and are late. Of those before the ones that
    count at least ``least_before`` are sent, and more until one has been answered; requests that are left out leave
    their moments to the next. Otherwise as `closed_loop`.
    """
    if not 0 <= connections <= MOST_CONNECTIONS:
        raise InputError(f"connections: expected 0 to {MOST_CONNECTIONS}, found {connections}")
    if offsets_ns.shape != (len(requests),):
        raise InputError(f"{len(requests)} requests need as many offsets, found an array of shape {offsets_ns.shape}")
    if len(requests) and (offsets_ns[0] < 0 or np.any(np.diff(offsets_ns) < 0)):
        raise InputError("offsets: expected nanoseconds from the start on that do not fall")
    sending = Sending(endpoint, requests, limits or Limits(), clock, counted, least_before)
    async with sending.open(connections):
        await sending.each_at(offsets_ns.tolist())
    return _read(requests, sending)


def _read(requests: Sequence[Asked], sending: Sending) -> Load:
    came = zip(requests, sending.due_ns, sending.received, strict=True)
    outcomes = tuple(
        Outcome(place, asked, due_ns, answer_of(received))
        for place, (asked, due_ns, received) in enumerate(came)
        if received
    )
    return Load(outcomes, sending.began_ns, sending.beforehand, sending.opened_later)
