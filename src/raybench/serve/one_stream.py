"""One request at a time over a blocking socket: between a token and the time of it there is one call of the kernel.

An event loop is told by the kernel that bytes have come, finds out whose they are, and reads them: two calls, and
Python in between. Here the read itself waits. How long it may is a setting of the socket, and what is due is looked at
when that was reached, so that reads in time cost no call more.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from typing import Any, Final

from raybench.machine import in_real_time
from raybench.serve.endpoint import Endpoint
from raybench.serve.exchange import BROKE, CLOSED, Clock, Limits, Received, broke, no_connection, received
from raybench.serve.reply import Reply

_READ_BYTES: Final = 1 << 16
_LEAST_WAIT_S: Final = 1e-6
"""Told to wait for no time at all, a socket waits for ever."""

_Socket = socket.socket | ssl.SSLSocket


class OneStream:
    """A connection that is kept alive, opened by a request where there is none or the server has closed it.

    ``limits`` are held to the milliseconds of the kernel's timers; how long a name is looked up is the resolver's, and
    a signal makes a wait begin again. A request is sent whole before its answer is read, and that in real time where
    it may be (`in_real_time`). For one thread.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits | None = None, clock: Clock = time.perf_counter_ns) -> None:
        self.endpoint = endpoint
        self.limits = limits or Limits()
        self._clock = clock
        self._socket: _Socket | None = None
        self._wait_s = 0.0  # what the socket was told last, for this request

    def exchange(self, request: bytes) -> Received:
        """Send ``request``, and what comes of it. Raises `NoConnectionError` where it could not be sent to anybody.

        It is sent once, and once more on a connection of its own where the server closed the one that was there, idle,
        just as it was sent: nothing of an answer has come then. Any other end of a connection is a fault of the answer.
        """
        if self._socket is not None and not _is_quiet(self._socket):
            self.close()
        was_idle = self._socket is not None
        got = self._sent(request)
        if was_idle and self._socket is None and _was_closed_idle(got):
            got = self._sent(request)
        return got

    def _sent(self, request: bytes) -> Received:
        if self._socket is None:
            self._socket = self._open()
        self._wait_s = 0.0
        reply = Reply(self.limits.most_bytes)
        try:
            with in_real_time():
                return self._exchange(self._socket, request, reply)
        finally:  # also where it was interrupted: the rest of an answer is not the next one's
            if not (reply.complete and reply.keep_alive and self.endpoint.keep_alive):
                self.close()

    def close(self) -> None:
        """Close the socket, if there is one; another request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, connection: _Socket, request: bytes, reply: Reply) -> Received:
        limits, clock, receive = self.limits, self._clock, connection.recv
        self._wait(connection, min(limits.first_byte_s, limits.whole_s))
        sent_ns = last_ns = clock()
        try:
            self._send(connection, request, sent_ns)
        except OSError as error:
            now = clock()
            if _is_timeout(error):
                return received(reply, sent_ns, now, limits.late(reply, sent_ns, now))
            reply.end(broke(error))
        look_ns = 0  # from then on what the socket was told to wait may be too long
        while not reply.over:
            try:
                data = receive(_READ_BYTES)
                now = clock()
            except OSError as error:
                now = clock()
                if not _is_timeout(error):
                    reply.end(broke(error))
                    break
            else:
                if not data:
                    reply.end(CLOSED)
                    break
                reply.feed(now, data)
                last_ns = now
                if now < look_ns or reply.over:
                    continue
            left_s = limits.left_s(reply, sent_ns, last_ns, now)
            if left_s <= 0:
                return received(reply, sent_ns, now, limits.late(reply, sent_ns, now))
            self._wait(connection, left_s)
            if reply.reads:
                look_ns = sent_ns + int((limits.whole_s - left_s) * 1e9)
        return received(reply, sent_ns, now, reply.error)

    def _send(self, connection: _Socket, request: bytes, sent_ns: int) -> None:
        """At once what the kernel takes at once, which is nearly always all."""
        if isinstance(connection, ssl.SSLSocket):
            sent = connection.send(request)
        else:
            try:
                sent = connection.send(request, socket.MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
        if sent == len(request):
            return
        within_s = min(self.limits.first_byte_s, self.limits.whole_s)
        while sent < len(request):
            connection.settimeout(max(within_s - (self._clock() - sent_ns) / 1e9, _LEAST_WAIT_S))
            sent += connection.send(memoryview(request)[sent:])
        connection.settimeout(None)
        self._wait_s = 0.0
        self._wait(connection, within_s)

    def _wait(self, connection: _Socket, seconds: float) -> None:
        """From now on a read takes so long at most, and then raises what `_is_timeout` knows."""
        if seconds == self._wait_s:
            return
        self._wait_s = seconds
        if isinstance(connection, ssl.SSLSocket):  # asks again and again where the socket below has its own limit
            connection.settimeout(max(seconds, _LEAST_WAIT_S))
        else:
            whole, part = divmod(max(1, round(seconds * 1e6)), 1_000_000)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", whole, part))

    def _open(self) -> _Socket:
        """By the first of the server's addresses that accepts."""
        deadline = time.monotonic() + self.limits.connect_s
        failed: Exception = OSError("its name has no address")
        try:
            found = socket.getaddrinfo(self.endpoint.host, self.endpoint.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # the latter: a name that is none
            raise no_connection(self.endpoint, error) from None
        for family, kind, protocol, _, address in found:
            try:
                return self._connected(socket.socket(family, kind, protocol), address, deadline)
            except TimeoutError:
                raise no_connection(self.endpoint, self.limits.connect_s) from None
            except (OSError, UnicodeError) as error:
                failed = error
        raise no_connection(self.endpoint, failed)

    def _connected(self, opened: socket.socket, address: tuple[Any, ...], deadline: float) -> _Socket:
        connection: _Socket = opened
        try:
            opened.settimeout(max(deadline - time.monotonic(), _LEAST_WAIT_S))
            opened.connect(address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.endpoint.tls is not None:
                opened.settimeout(max(deadline - time.monotonic(), _LEAST_WAIT_S))
                connection = self.endpoint.tls.wrap_socket(opened, server_hostname=self.endpoint.host)
            else:
                opened.settimeout(None)
        except BaseException:
            opened.close()
            raise
        return connection


def _was_closed_idle(got: Received) -> bool:
    """Whether nothing came before the server's end of the connection, which broke or was closed."""
    return got.status is None and not got.reads and got.error is not None and got.error.startswith((CLOSED, BROKE))


def _is_timeout(error: OSError) -> bool:
    """Whether it says that a socket waited as long as it was told to. The kernel's own timeouts have a number."""
    return isinstance(error, BlockingIOError) or (isinstance(error, TimeoutError) and error.errno is None)


def _is_quiet(connection: _Socket) -> bool:
    """Whether a request can be sent: the server has neither closed the connection nor said what it was not asked."""
    try:
        if isinstance(connection, ssl.SSLSocket):  # what came may be the protocol's own
            connection.settimeout(0)
            connection.recv(1)
        else:
            connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False
