"""One HTTP/1.1 connection that is kept alive, over asyncio.

The clock is read first thing when bytes have come, before anything is made of them, and nothing but HTTP's framing is
parsed until the answer is complete.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import cast

from raybench.serve.endpoint import Endpoint
from raybench.serve.exchange import (
    CLOSED,
    Clock,
    Limits,
    NoConnectionError,
    Received,
    broke,
    no_connection,
    received,
)
from raybench.serve.reply import Reply


class Connection(asyncio.Protocol):
    """One request at a time. ``closed`` is done once its socket is."""

    def __init__(self, limits: Limits, clock: Clock, keep_alive: bool = True) -> None:
        self.limits = limits
        self._keep_alive = keep_alive
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._reply: Reply | None = None
        self._waiting: asyncio.Future[Received] | None = None
        self._sent_ns = 0
        self._last_ns = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def reusable(self) -> bool:
        """Whether a request can be sent now."""
        return self._waiting is None and self._transport is not None and not self._transport.is_closing()

    def start(self, request: bytes) -> asyncio.Future[Received]:
        """Send ``request``; what comes of it, which is never an exception. Only where the connection is `reusable`."""
        if self._waiting is not None:
            raise RuntimeError("a connection takes one request at a time")
        self._waiting = waiting = self._loop.create_future()
        self._reply = Reply(self.limits.most_bytes)
        if self._transport is None or self._transport.is_closing():
            self._finish(self._clock(), "the connection was closed before the request was sent", sent=False)
            return waiting
        self._check_within(min(self.limits.first_byte_s, self.limits.whole_s))
        self._sent_ns = self._last_ns = self._clock()
        self._transport.write(request)
        return waiting

    def close(self) -> None:
        """Close the socket at once. A request that is under way is answered by an error."""
        if self._reply is not None:
            self._finish(self._clock(), "the client closed the connection before the answer was complete")
        if self._transport is not None:
            self._transport.abort()
        else:
            self._set_closed()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        found = transport.get_extra_info("socket")
        if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        now = self._clock()
        reply = self._reply
        if reply is None:  # nothing was asked
            self.close()
            return
        reply.feed(now, data)
        self._last_ns = now
        if reply.over:
            self._finish(now, reply.error)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._reply is not None:
            self._reply.end(CLOSED if exc is None else broke(exc))
            self._finish(self._clock(), self._reply.error)
        self._transport = None
        self._set_closed()

    def _check_within(self, seconds: float) -> None:
        # The body may begin meanwhile, and be given up sooner than an answer that has not begun.
        self._timer = self._loop.call_later(min(seconds, self.limits.between_bytes_s), self._check_time)

    def _check_time(self) -> None:
        """What is due by now: looked at when a limit may have passed, not at each read."""
        reply, now = self._reply, self._clock()
        if reply is None:
            return
        left_s = self.limits.left_s(reply, self._sent_ns, self._last_ns, now)
        if left_s > 0:
            self._check_within(left_s)
        else:
            self._finish(now, self.limits.late(reply, self._sent_ns, now))

    def _finish(self, now: int, error: str | None, *, sent: bool = True) -> None:
        reply, waiting = self._reply, self._waiting
        self._reply = self._waiting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if reply is None or waiting is None:
            return
        if not (reply.keep_alive and self._keep_alive) or error is not None:
            self.close()
        if not waiting.done():
            waiting.set_result(received(reply, self._sent_ns if sent else None, now, error))

    def _set_closed(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


async def connect(endpoint: Endpoint, limits: Limits | None = None, clock: Clock = time.perf_counter_ns) -> Connection:
    """A connection to the server. Raises `NoConnectionError`."""
    limits = limits or Limits()
    try:
        async with asyncio.timeout(limits.connect_s):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(limits, clock, endpoint.keep_alive), endpoint.host, endpoint.port, ssl=endpoint.tls
            )
    except TimeoutError:
        raise no_connection(endpoint, limits.connect_s) from None
    except (OSError, UnicodeError) as error:  # the latter: a host's name that is none
        raise no_connection(endpoint, error) from None
    return connection


async def fetch(endpoint: Endpoint, path: str, limits: Limits | None = None, body: bytes | None = None) -> Received:
    """One request on a connection of its own: GET, or POST where there is a ``body``. A fault is its ``error``."""
    clock = time.perf_counter_ns
    try:
        connection = await connect(endpoint, limits, clock)
    except NoConnectionError as error:
        return Received(None, clock(), error=str(error))
    try:
        return await connection.start(endpoint.request("GET" if body is None else "POST", path, body or b""))
    finally:
        connection.close()
        await connection.closed
