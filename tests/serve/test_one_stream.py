"""A blocking connection to a real server: kept, opened anew, given up in time, in the words of the one over asyncio."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from machine.test_priority import needs_root
from processes import free_port
from raybench.serve import Limits, NoConnectionError, OneStream, Received, answer_of, connect
from raybench.serve.endpoint import Endpoint, endpoint_of
from raybench.serve.fine_timers import run_on_time
from raybench.serve.openai_api import Asked
from serve.certificates import made_certificate
from serve.conftest import Told, fake_server
from serve.fake_server import expected_ids, expected_text

ASKED = Asked("base", 5, token_ids=(1, 2, 3), extra={"return_token_ids": True})
WAIT_S = 0.2
PATIENT = Limits(first_byte_s=30, between_bytes_s=30, whole_s=30)


def request(endpoint: Endpoint, asked: Asked = ASKED) -> bytes:
    return endpoint.request("POST", endpoint.api(asked.path), asked.body())


@contextlib.contextmanager
def stream(endpoint: Endpoint, limits: Limits = PATIENT) -> Iterator[OneStream]:
    with contextlib.closing(OneStream(endpoint, limits)) as opened:
        yield opened


def one(endpoint: Endpoint, limits: Limits = PATIENT) -> Received:
    with stream(endpoint, limits) as opened:
        return opened.exchange(request(endpoint))


def over_asyncio(endpoint: Endpoint, limits: Limits = PATIENT) -> Received:
    async def asked() -> Received:
        connection = await connect(endpoint, limits)
        try:
            return await connection.start(request(endpoint))
        finally:
            connection.close()

    return run_on_time(asked())


@contextlib.contextmanager
def listening(talk: Callable[[socket.socket], None], family: int = socket.AF_INET) -> Iterator[Endpoint]:
    """A server whose connections ``talk`` has, one after another, until it returns."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with socket.create_server((host, 0), family=family) as server:

        def serve() -> None:
            while True:
                try:
                    accepted, _ = server.accept()
                except OSError:
                    return
                with accepted, contextlib.suppress(OSError):
                    talk(accepted)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Endpoint(host, server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)  # wakes accept
            thread.join(30)


def answer(accepted: socket.socket, body: bytes = b"data: [DONE]\n\n") -> None:
    """Reads one request without a body, and answers it."""
    told = b""
    while not told.endswith(b"\r\n\r\n"):
        read = accepted.recv(1000)
        if not read:
            raise ConnectionError
        told += read
    accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body))
    accepted.sendall(body)


def test_one_connection_answers_one_request_after_another(server: Told) -> None:
    endpoint = server.behave()
    with stream(endpoint) as opened:
        received = [opened.exchange(request(endpoint)) for _ in range(3)]
    prompt = list(ASKED.token_ids or ())
    for one in received:
        answered = answer_of(one)
        assert (answered.error, answered.status) == (None, 200)
        assert answered.token_ids == tuple(expected_ids("base", prompt, 5))
        assert answered.text == expected_text("base", prompt, 5)
    assert server.connections()[0] == 1
    assert [asked["body"] for asked in server.asked()] == [json.loads(ASKED.body())] * 3


def test_nothing_is_opened_before_the_first_request(server: Told) -> None:
    endpoint = server.behave()
    with stream(endpoint):
        assert server.connections() == (0, 0)


def test_closed_it_opens_another(server: Told) -> None:
    endpoint = server.behave()
    with stream(endpoint) as opened:
        for _ in range(2):
            assert opened.exchange(request(endpoint)).error is None
            opened.close()
    assert server.connections()[0] == 2


def test_times_are_in_order_and_no_shorter_than_the_server_waited(server: Told) -> None:
    endpoint = server.behave(ttft_ms=30, token_ms=5)
    before = time.perf_counter_ns()
    received = one(endpoint)
    after = time.perf_counter_ns()
    assert received.sent_ns is not None
    times = [before, received.sent_ns, *(ns for ns, _ in received.reads), received.ended_ns, after]
    assert times == sorted(times)
    (asked,) = server.asked()
    assert received.sent_ns <= asked["got_ns"]
    assert received.reads[0][0] - received.sent_ns >= 30e6
    assert received.ended_ns - received.sent_ns >= asked["waited_ms"] * 1e6


def test_the_clock_is_the_one_that_was_handed_in_and_is_read_once_a_read(server: Told) -> None:
    endpoint = server.behave()
    ticks = itertools.count(0, 1000)
    opened = OneStream(endpoint, PATIENT, lambda: next(ticks))
    received = opened.exchange(request(endpoint))
    opened.close()
    times = [ns for ns, _ in received.reads]
    assert received.sent_ns == 0
    assert times == sorted({ns for ns in times if ns > 0 and ns % 1000 == 0})
    assert received.ended_ns in range(times[-1], times[-1] + 2000, 1000)
    assert next(ticks) == received.ended_ns + 1000


@pytest.mark.parametrize(
    "behaviour",
    [
        {},
        {"cut": 1},
        {"cut": 7, "newline": "\r\n"},
        {"framing": "length"},
        {"framing": "close"},
        {"keep_alive": False},
        {"interim": True},
        {"together": 100},
    ],
    ids=str,
)
def test_the_body_is_the_one_that_asyncio_receives(server: Told, behaviour: dict[str, Any]) -> None:
    endpoint = server.behave(**behaviour)
    received, other = one(endpoint), over_asyncio(endpoint)
    assert (received.status, received.content_type, received.error) == (200, "text/event-stream", None)
    assert received.body == other.body


@pytest.mark.parametrize("behaviour", [{"framing": "close"}, {"keep_alive": False}, {"fault": "more after the end"}])
def test_a_connection_that_the_server_ends_is_not_used_again(server: Told, behaviour: dict[str, Any]) -> None:
    endpoint = server.behave(**behaviour)
    with stream(endpoint) as opened:
        assert [opened.exchange(request(endpoint)).error for _ in range(2)] == [None, None]
    assert server.connections()[0] == 2


def test_a_connection_that_was_closed_while_idle_is_opened_anew() -> None:
    with listening(answer) as endpoint, stream(endpoint) as opened:  # closes after each answer, and does not say so
        for _ in range(3):
            assert opened.exchange(endpoint.request("GET", "/v1/x")).error is None
            assert opened._socket is not None
            opened._socket.recv(1, socket.MSG_PEEK)  # until the close is here


def test_a_request_that_meets_the_end_of_an_idle_connection_is_sent_once_more() -> None:
    swallowed = []

    def talk(accepted: socket.socket) -> None:
        answer(accepted)
        swallowed.append(len(accepted.recv(1 << 16)))  # and closes it, as where it had been idle for too long

    with listening(talk) as endpoint, stream(endpoint) as opened:
        for _ in range(3):
            assert opened.exchange(endpoint.request("GET", "/v1/x")).error is None
        assert [bool(read) for read in swallowed[:2]] == [True, True]


def test_what_comes_unasked_ends_the_connection() -> None:
    idle = threading.Event()

    def talk(accepted: socket.socket) -> None:
        answer(accepted)
        idle.wait(30)
        accepted.sendall(b"hello")
        accepted.recv(1)

    with listening(talk) as endpoint, stream(endpoint) as opened:
        for _ in range(2):
            idle.clear()
            assert opened.exchange(endpoint.request("GET", "/v1/x")).body == b"data: [DONE]\n\n"
            idle.set()
            assert opened._socket is not None
            opened._socket.recv(1, socket.MSG_PEEK)


@pytest.mark.parametrize(
    ("behaviour", "limits"),
    [
        ({"fault": "close", "token_ms": 1}, {}),
        ({"fault": "close", "at": 0}, {}),
        ({"fault": "reset", "token_ms": 20}, {}),
        ({"fault": "no HTTP"}, {}),
        ({"fault": "no HTTP within", "token_ms": 1}, {}),
        ({"fault": "long head"}, {}),
        ({"fault": "encoded"}, {}),
        ({"fault": "status 429"}, {}),
        ({"fault": "endless error"}, {"most_bytes": 1_000_000}),
        ({"fault": "hang before the head"}, {"first_byte_s": WAIT_S}),
        ({"fault": "hang after the head"}, {"first_byte_s": WAIT_S}),
        ({"fault": "hang"}, {"between_bytes_s": WAIT_S}),
        ({"fault": "hang"}, {"whole_s": WAIT_S}),
        ({"fault": "hang before the head"}, {"whole_s": WAIT_S}),
        ({"token_ms": 20}, {"whole_s": 0.05}),
    ],
    ids=str,
)
def test_faults_are_told_in_the_words_of_asyncio(
    server: Told, behaviour: dict[str, Any], limits: dict[str, Any]
) -> None:
    endpoint, within = server.behave(**behaviour), dataclasses.replace(PATIENT, **limits)
    received, other = one(endpoint, within), over_asyncio(endpoint, within)
    assert (received.status, received.error) == (other.status, other.error)
    assert (received.error is None) == (behaviour["fault"] == "status 429" if "fault" in behaviour else False)
    assert received.sent_ns is not None
    for name, limit in limits.items():
        assert name == "most_bytes" or received.ended_ns - received.sent_ns >= limit * 1e9
    if behaviour.get("fault") in ("close", "reset", "hang") and "at" not in behaviour:  # what came before it is kept
        assert received.body.count(b"data: ") == 2


def test_after_a_fault_another_connection_is_opened(server: Told) -> None:
    endpoint = server.behave(fault="hang")
    with stream(endpoint, dataclasses.replace(PATIENT, between_bytes_s=WAIT_S)) as opened:
        assert opened.exchange(request(endpoint)).error is not None
        server.behave()
        assert opened.exchange(request(endpoint)).error is None
    assert server.connections()[0] == 1


def test_a_slow_server_is_not_one_that_hangs(server: Told) -> None:
    endpoint = server.behave(ttft_ms=250, token_ms=100)
    assert one(endpoint, Limits(first_byte_s=5, between_bytes_s=5, whole_s=20)).error is None
    # Longer until the first byte than between any two, and all of it longer than either.
    assert one(endpoint, Limits(first_byte_s=5, between_bytes_s=0.2, whole_s=20)).error is None


@pytest.mark.parametrize("limit", ["first_byte_s", "whole_s"])
def test_a_server_that_trickles_is_ended(limit: str) -> None:
    """A byte each few milliseconds, of the head or of the body, for ever."""

    def talk(accepted: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        accepted.sendall(head if limit == "first_byte_s" else head + b"\r\n")
        while True:
            accepted.sendall(b"x")
            time.sleep(0.005)

    with listening(talk) as endpoint:
        received = one(endpoint, dataclasses.replace(PATIENT, **{limit: WAIT_S}))
    assert received.error == (
        "the server sent nothing of its answer within 0.2 s"
        if limit == "first_byte_s"
        else "the answer was not complete within 0.2 s"
    )
    assert bool(received.reads) == (limit == "whole_s")


def test_a_request_that_the_server_does_not_read_is_given_up() -> None:
    done = threading.Event()
    with listening(lambda accepted: done.wait(30) and None) as endpoint:
        with stream(endpoint, dataclasses.replace(PATIENT, first_byte_s=WAIT_S)) as opened:
            received = opened.exchange(endpoint.request("POST", "/v1/x", bytes(64 << 20)))
        done.set()
    assert received.error == "the server sent nothing of its answer within 0.2 s"


def test_a_large_request_is_sent_whole(server: Told) -> None:
    endpoint = server.behave()
    asked = dataclasses.replace(ASKED, text="x" * (20 << 20), token_ids=None)
    with stream(endpoint) as opened:
        for _ in range(2):
            assert opened.exchange(request(endpoint, asked)).error is None
    assert [len(told["body"]["prompt"]) for told in server.asked()] == [20 << 20] * 2


def test_interrupted_it_leaves_no_half_answer_to_the_next(server: Told) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    endpoint = server.behave(token_ms=400)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with stream(endpoint) as opened:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                opened.exchange(request(endpoint))
            server.behave()
            assert answer_of(opened.exchange(request(endpoint))).error is None
    finally:
        signal.signal(signal.SIGALRM, before)


def test_small_writes_are_not_held_back(server: Told) -> None:
    endpoint = server.behave()
    with stream(endpoint) as opened:
        opened.exchange(request(endpoint))
        assert opened._socket is not None
        assert opened._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_no_socket_is_left(server: Told) -> None:
    before = psutil.Process().num_fds()
    endpoint = server.behave(fault="close")
    opened = OneStream(endpoint, PATIENT)
    for _ in range(3):
        assert opened.exchange(request(endpoint)).error is not None
    assert psutil.Process().num_fds() == before


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_nobody_there(host: str) -> None:
    endpoint = endpoint_of(f"http://{host}:{free_port()}")
    with pytest.raises(NoConnectionError) as caught:
        one(endpoint)
    with pytest.raises(NoConnectionError) as other:
        over_asyncio(endpoint)
    told = str(caught.value)
    assert told.startswith(f"no connection to {host}:{endpoint.port}: ")
    assert host == "localhost" or told == str(other.value)  # of several addresses asyncio tells all


@pytest.mark.parametrize("host", ["nobody.invalid", "a" * 64 + ".invalid"])
def test_a_name_that_nobody_has(host: str) -> None:
    endpoint = Endpoint(host, 80)
    with pytest.raises(NoConnectionError) as caught:
        one(endpoint)
    with pytest.raises(NoConnectionError) as other:
        over_asyncio(endpoint)
    assert str(caught.value) == str(other.value)
    assert "Unknown error" not in str(caught.value)


def test_a_server_that_accepts_nothing_is_given_up() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with contextlib.ExitStack() as held:
            for _ in range(3):  # its queue: what is more is not answered
                waiting = held.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", port))
            with pytest.raises(NoConnectionError, match=r"^no connection to 127\.0\.0\.1:\d+ within 0.2 s$"):
                one(endpoint_of(f"http://127.0.0.1:{port}"), Limits(connect_s=WAIT_S))


def test_addresses_of_six_groups_and_names() -> None:
    try:
        with listening(answer, socket.AF_INET6) as endpoint, stream(endpoint_of(f"http://{endpoint.authority}")) as six:
            assert six.exchange(endpoint.request("GET", "/v1/x")).error is None
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with listening(answer) as endpoint:
        named = endpoint_of(f"http://localhost:{endpoint.port}")  # may stand for ::1 too, where nobody listens
        with stream(named) as opened:
            assert opened.exchange(named.request("GET", "/v1/x")).error is None


def test_over_tls_all_is_as_without(tmp_path: Path) -> None:
    certificate, key, authority = made_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(authority))
    with fake_server("--tls", str(certificate), str(key)) as port:
        endpoint = endpoint_of(f"https://127.0.0.1:{port}", tls=trusting)
        with stream(endpoint) as opened:
            assert [opened.exchange(request(endpoint)).error for _ in range(3)] == [None] * 3
            asked = dataclasses.replace(ASKED, text="x" * (20 << 20), token_ids=None)
            assert opened.exchange(request(endpoint, asked)).error is None
        with pytest.raises(NoConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            one(endpoint_of(f"https://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("behaviour", "limits", "said"),
    [
        ({"fault": "hang"}, {"between_bytes_s": WAIT_S}, "the server sent nothing for 0.2 s after "),
        ({"fault": "hang before the head"}, {"first_byte_s": WAIT_S}, "the server sent nothing of its answer within"),
        ({"token_ms": 20}, {"whole_s": 0.05}, "the answer was not complete within 0.05 s"),
        ({"fault": "close"}, {}, "the server closed the connection before its answer was complete"),
    ],
    ids=str,
)
def test_over_tls_servers_are_given_up_too(
    tmp_path: Path, behaviour: dict[str, Any], limits: dict[str, Any], said: str
) -> None:
    certificate, key, authority = made_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(authority))
    with fake_server("--tls", str(certificate), str(key), "--behaviour", json.dumps(behaviour)) as port:
        received = one(endpoint_of(f"https://127.0.0.1:{port}", tls=trusting), dataclasses.replace(PATIENT, **limits))
    assert str(received.error).startswith(said)


@needs_root
def test_answers_are_read_in_real_time_and_nothing_else_is_done_in_it(server: Told) -> None:
    policies: list[int] = []

    def clock() -> int:
        policies.append(os.sched_getscheduler(0))
        return time.perf_counter_ns()

    endpoint = server.behave()
    with contextlib.closing(OneStream(endpoint, PATIENT, clock)) as opened:
        assert opened.exchange(request(endpoint)).error is None
    assert set(policies) == {os.SCHED_FIFO}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
