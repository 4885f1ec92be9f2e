"""One request and what comes of it, however it is sent: how long a server may take, and the words of its faults."""

from __future__ import annotations

import dataclasses
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final

from raybench.serve.endpoint import Endpoint
from raybench.serve.reply import MOST_BYTES, Reply

Clock = Callable[[], int]
"""Nanoseconds from some moment on; it never goes back."""

CLOSED: Final = "the server closed the connection before its answer was complete"
BROKE: Final = "the connection broke"


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """How long a server may take, and how much it may say.

    ``first_byte_s``: from sending a request to the first bytes of its answer's body, the time in the server's queue
    included. ``between_bytes_s``: between two reads of it. ``whole_s``: from sending to the answer's end.
    """

    connect_s: float = 10.0
    first_byte_s: float = 120.0
    between_bytes_s: float = 60.0
    whole_s: float = 600.0
    most_bytes: int = MOST_BYTES

    def left_s(self, reply: Reply, sent_ns: int, last_ns: int, now_ns: int) -> float:
        """How long what is due next may still take, at most 0 where it is late. ``last_ns``: of the last read."""
        begun = bool(reply.reads)
        quiet_s, since_ns = (self.between_bytes_s, last_ns) if begun else (self.first_byte_s, sent_ns)
        return min(quiet_s - (now_ns - since_ns) / 1e9, self.whole_s - (now_ns - sent_ns) / 1e9)

    def late(self, reply: Reply, sent_ns: int, now_ns: int) -> str:
        """What is told of an answer that has no time left."""
        if (now_ns - sent_ns) / 1e9 >= self.whole_s:
            return f"the answer was not complete within {self.whole_s:g} s"
        if reply.reads:
            return f"the server sent nothing for {self.between_bytes_s:g} s after {reply.body_bytes} bytes of its body"
        return f"the server sent nothing of its answer within {self.first_byte_s:g} s"


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """What came of one request, as it came. Nanoseconds of the client's clock.

    ``sent_ns``: just before it was handed to the kernel; None where it never was. ``ended_ns``: the read that completed
    the answer, or when it was given up. ``reads``: (when, bytes) of the body. ``error``: None where the answer is a
    complete one of HTTP, whatever its status.
    """

    sent_ns: int | None
    ended_ns: int
    status: int | None = None
    content_type: str = ""
    reads: tuple[tuple[int, bytes], ...] = ()
    error: str | None = None

    @property
    def body(self) -> bytes:
        return b"".join(part for _, part in self.reads)


class NoConnectionError(Exception):
    """There is no connection to the server; the message says why in one line."""


def received(reply: Reply, sent_ns: int | None, ended_ns: int, error: str | None) -> Received:
    """What a reply came to."""
    return Received(sent_ns, ended_ns, reply.status, reply.content_type, tuple(reply.reads), error)


def broke(error: Exception) -> str:
    """What is told of a connection that ended by an error."""
    return f"{BROKE} ({_words(error)})"


def no_connection(endpoint: Endpoint, why: Exception | float) -> NoConnectionError:
    """``why``: what was raised, or the seconds within which there was none."""
    if isinstance(why, Exception):
        return NoConnectionError(f"no connection to {endpoint.authority}: {_words(why)}")
    return NoConnectionError(f"no connection to {endpoint.authority} within {why:g} s")


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):
        return os.strerror(error.errno)  # asyncio's own words are of calls
    told = error.strerror if isinstance(error, socket.gaierror) else str(error)  # its numbers are not those of errno
    return " ".join(str(told).split()) or type(error).__name__
