"""Ports of the loopback interface, keys, and a server on a port that is its own."""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final

from raybench.serve.server_errors import ServerError
from raybench.serve.server_process import ServerProcess

LOOPBACK: Final = "127.0.0.1"

_TRIES: Final = 5
_IN_USE: Final = re.compile(r"address already in use|EADDRINUSE|errno 98\b|couldn't bind|failed to bind", re.IGNORECASE)
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] 200\b")
_LONGEST_LINE: Final = 1024


def free_port() -> int:
    """A port of the loopback interface that the kernel gives as free; somebody may take it before it is used."""
    with socket.socket() as held:
        held.bind((LOOPBACK, 0))
        port: int = held.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether nothing listens on ``port`` of the loopback interface."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past connections that were closed do not count
        try:
            tried.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def new_key() -> str:
    """An API key that nobody can guess, for one server in one visit."""
    return secrets.token_urlsafe(32)


def answers(port: int, path: str, within_s: float = 2.0) -> bool:
    """Whether a server on ``port`` answers a GET of ``path`` with status 200, told by the first line of its answer.

    Takes ``within_s`` at most, however slowly it answers. Goes to the loopback interface, whatever proxies there are.
    """
    deadline = time.monotonic() + within_s
    line = b""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=within_s) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n".encode())
            while b"\n" not in line and len(line) < _LONGEST_LINE:
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                got = connection.recv(_LONGEST_LINE)
                if not got:
                    break
                line += got
    except OSError:
        return False
    return _STATUS_LINE.match(line) is not None


@contextlib.contextmanager
def on_free_port(
    make: Callable[[int], ServerProcess], tries: int = _TRIES, new_port: Callable[[], int] = free_port
) -> Iterator[tuple[ServerProcess, int]]:
    """The server that ``make`` makes for a port, ready, and that port.

    Where somebody else has taken the port in between, so that the server failed to bind it or another one answered
    there, it is tried again with another. Raises `ServerError`.
    """
    for attempt in range(1, tries + 1):
        port = new_port()
        server = make(port)
        with contextlib.ExitStack() as running:
            try:
                running.enter_context(server)
            except ServerError as error:
                if attempt < tries and (_IN_USE.search(error.log_tail) or not is_free(port)):
                    continue
                raise
            if server.has_to_itself(port):
                yield server, port
                return
    raise ServerError("error", f"{server.name}: on each of {tries} ports something else answered; look what takes them")
