"""Ports: the kernel's, and what happens where somebody else was faster."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raybench.serve.ports import answers, free_port, is_free, new_key, on_free_port
from raybench.serve.server_errors import ServerError
from serve.servers import get, made, nothing_left


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with nothing_left(tmp_path):
        yield tmp_path


@contextmanager
def listener(answer: Callable[[socket.socket], None] = lambda connection: None) -> Iterator[int]:
    """Something that listens on a port and gives each connection to ``answer``."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        held.settimeout(0.05)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = held.accept()
                except TimeoutError:
                    continue
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield held.getsockname()[1]
        finally:
            over.set()
            thread.join()


def ok(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_a_free_port_is_free_and_one_that_is_listened_on_is_not() -> None:
    assert is_free(free_port())
    with listener() as port:
        assert not is_free(port)


def test_keys_differ_and_are_long() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert min(map(len, keys)) >= 43


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.0 200\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n", False),
        (b"HTTP/1.1 2000 OK\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"\xff" * 5000, False),
        (b"", False),
    ],
)
def test_only_status_200_is_an_answer(line: bytes, expected: bool) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(line)

    with listener(answer) as port:
        assert answers(port, "/health") is expected
    assert not answers(port, "/health")


def test_a_server_that_drips_is_not_waited_for() -> None:
    def drip(connection: socket.socket) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK and so on and on and on\r\n":
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass

    with listener(drip) as port:
        assert not answers(port, "/health", within_s=0.3)


def test_a_port_that_was_taken_in_between_is_left_for_another() -> None:
    with listener() as taken:
        ports = iter([taken, free_port()])
        with on_free_port(lambda port: made(port=port), new_port=lambda: next(ports)) as (_, port):
            assert port != taken
            assert get(port, "/anything") == "hello"


def test_what_another_one_answers_is_not_taken_for_the_server() -> None:
    """The server itself never listens: it hangs, while somebody else answers that all is well."""
    with listener(ok) as taken:
        ports = iter([taken, free_port()])

        def make(port: int) -> object:
            return made(*(["--never-bind"] if port == taken else []), port=port)

        with on_free_port(make, new_port=lambda: next(ports)) as (_, port):
            assert port != taken


def test_a_port_that_another_server_shares_is_left_for_another() -> None:
    """As vLLM's servers would: half of the requests would be answered by the other one."""
    with made("--reuse-port", port=free_port()) as first:
        port = int(first.command.words[3])
        ports = iter([port, free_port()])
        with on_free_port(lambda port: made("--reuse-port", port=port), new_port=lambda: next(ports)) as (_, second):
            assert second != port


def test_where_each_port_is_taken_that_is_told() -> None:
    with listener(ok) as taken, pytest.raises(ServerError, match=r"^small: on each of 2 ports something else answered"):
        on_free_port(lambda port: made("--never-bind", port=port), 2, lambda: taken).__enter__()
    in_use = r"^small: did not start: exit code 1; .*Address already in use"
    with listener() as taken, pytest.raises(ServerError, match=in_use):
        on_free_port(lambda port: made(port=port), 2, lambda: taken).__enter__()


def test_another_failure_is_not_tried_again() -> None:
    tried = []

    def make(port: int) -> object:
        tried.append(port)
        return made("--exit", 2, port=port)

    with pytest.raises(ServerError, match="exit code 2"):
        on_free_port(make).__enter__()
    assert len(tried) == 1
