"""How the requests of a load are sent and their answers kept: connections that are opened, reused, and all closed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Final

from raybench.serve.connection import Connection, connect
from raybench.serve.endpoint import Endpoint
from raybench.serve.exchange import Clock, Limits, NoConnectionError, Received
from raybench.serve.openai_api import Asked

MOST_CONNECTIONS: Final = 900
"""Open at once: a process may commonly have 1,024 files open."""

MOST_KEPT_BYTES: Final = 1 << 30
"""Of the bodies of all answers of a load, which are kept until the last one has come."""


class Sending:
    """The connections of one load, and what has come on them.

    ``due_ns``, ``received``: of each request, in their order. ``beforehand``: connections opened before ``began_ns``;
    ``opened_later``: after.

    ``counted``: the places of those that count. Those before bring the load about, at least ``least_before`` of them;
    those after keep it, as long as one that counts has not been answered. The others are not sent.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        requests: Sequence[Asked],
        limits: Limits,
        clock: Clock,
        counted: range | None = None,
        least_before: int = 0,
    ) -> None:
        self._endpoint, self._limits, self._clock = endpoint, limits, clock
        self._requests = [endpoint.request("POST", endpoint.api(one.path), one.body()) for one in requests]
        self.received: list[Received | None] = [None] * len(requests)
        self.due_ns = [0] * len(requests)
        self._counted = range(len(requests)) if counted is None else counted
        self._counted_left = len(self._counted)
        self._least_before = least_before
        self._under_way = self._answered_count = 0
        self._all_sent = False
        self._kept_bytes = 0
        self._all_came = asyncio.Event()
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiting: deque[int] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self.began_ns = 0
        self.beforehand = self.opened_later = 0

    @contextlib.asynccontextmanager
    async def open(self, connections: int) -> AsyncIterator[None]:
        """Connections for the load; at the end of the block, however it ends, all are closed."""
        try:
            opened = await asyncio.gather(*(self._connect() for _ in range(connections)), return_exceptions=True)
            for one in opened:
                if isinstance(one, Connection):
                    self._idle.append(one)
                elif not isinstance(one, NoConnectionError):  # of that one, the request that wants it is told
                    raise one
            self.beforehand, self.opened_later = len(self._idle), 0
            with _no_garbage_collection():
                self.began_ns = self._clock()
                yield
        finally:
            for task in self._opening:
                task.cancel()
            for connection in self._connections:
                connection.close()
            await asyncio.gather(*self._opening, return_exceptions=True)
            await asyncio.gather(*(connection.closed for connection in self._connections))

    async def one_after_another(self, places: Iterator[int]) -> None:
        """One of the places of a closed loop: takes the next request when the one before has been answered."""
        connection = self._idle.pop() if self._idle else None
        due_ns = self.began_ns
        for place in places:
            if place >= self._counted.stop and not self._counted_left:
                return
            self.due_ns[place] = due_ns
            self._under_way += 1
            try:
                if connection is not None and not connection.reusable:
                    self._connections.discard(connection)
                    connection = None
                if connection is None:
                    connection = await self._connect()
                received = await self._start(connection, place)
            except NoConnectionError as error:
                received = Received(None, self._clock(), error=str(error))
            self._keep(place, received)
            due_ns = received.ended_ns

    async def each_at(self, offsets_ns: Sequence[int]) -> None:
        """An open loop. Moments are taken in their order, whichever requests are left out.

        One of those before is answered before the first that counts is sent, as long as there are such.
        """
        place = 0
        for offset_ns in offsets_ns:
            due_ns = self.began_ns + offset_ns
            # Once at least, also where it is late: what has come is read in between.
            await asyncio.sleep(max(0, due_ns - self._clock()) / 1e9)
            while (left_ns := due_ns - self._clock()) > 0:
                await asyncio.sleep(left_ns / 1e9)
            if self._least_before <= place < self._counted.start and self._answered_count:
                place = self._counted.start
            if place == len(self._requests) or (place >= self._counted.stop and not self._counted_left):
                break
            self.due_ns[place] = due_ns
            self._under_way += 1
            self._send(place)
            place += 1
        self._all_sent = True
        if self._under_way:
            await self._all_came.wait()

    def _send(self, place: int) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                self._send_on(connection, place)
                return
            self._connections.discard(connection)  # the server closed it
        if len(self._connections) + len(self._opening) < MOST_CONNECTIONS:
            task = asyncio.get_running_loop().create_task(self._connect_and_send(place))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self._waiting.append(place)

    async def _connect_and_send(self, place: int) -> None:
        try:
            connection = await self._connect()
        except NoConnectionError as error:
            self._keep(place, Received(None, self._clock(), error=str(error)))
            self._send_waiting()
        else:
            self._send_on(connection, place)

    def _send_on(self, connection: Connection, place: int) -> None:
        self._start(connection, place).add_done_callback(partial(self._answered, connection, place))

    def _answered(self, connection: Connection, place: int, answered: asyncio.Future[Received]) -> None:
        if answered.cancelled():
            return
        self._keep(place, answered.result())
        if connection.reusable:
            self._idle.append(connection)
        else:
            self._connections.discard(connection)
        self._send_waiting()

    def _send_waiting(self) -> None:
        if self._waiting:
            self._send(self._waiting.popleft())

    async def _connect(self) -> Connection:
        connection = await connect(self._endpoint, self._limits, self._clock)
        self._connections.add(connection)
        self.opened_later += 1
        return connection

    def _start(self, connection: Connection, place: int) -> asyncio.Future[Received]:
        if self._kept_bytes <= MOST_KEPT_BYTES:
            return connection.start(self._requests[place])
        answered: asyncio.Future[Received] = asyncio.get_running_loop().create_future()
        fault = f"not sent: the answers before it hold more than {MOST_KEPT_BYTES} bytes; ask for less in one load"
        answered.set_result(Received(None, self._clock(), error=fault))
        return answered

    def _keep(self, place: int, received: Received) -> None:
        self.received[place] = received
        self._kept_bytes += sum(len(part) for _, part in received.reads)
        self._under_way -= 1
        self._answered_count += 1
        self._counted_left -= place in self._counted
        if self._all_sent and not self._under_way:
            self._all_came.set()


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
