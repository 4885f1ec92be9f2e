"""One connection to a real server: kept, given up in time, and told of when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import ssl
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from processes import free_port
from raybench.serve.connection import Connection, connect, fetch
from raybench.serve.endpoint import Endpoint, endpoint_of
from raybench.serve.exchange import Limits, NoConnectionError, Received
from raybench.serve.fine_timers import run_on_time
from raybench.serve.openai_api import Asked
from serve.certificates import made_certificate
from serve.conftest import Told, fake_server

T = TypeVar("T")

ASKED = Asked("base", 5, token_ids=(1, 2, 3))
WAIT_S = 0.2
PATIENT = Limits(first_byte_s=30, between_bytes_s=30, whole_s=30)


def run(work: Coroutine[Any, Any, T]) -> T:
    return run_on_time(work)


def request(endpoint: Endpoint, asked: Asked = ASKED) -> bytes:
    return endpoint.request("POST", endpoint.api(asked.path), asked.body())


async def ask(endpoint: Endpoint, limits: Limits = PATIENT, times: int = 1) -> tuple[list[Received], Connection]:
    """Answers of one connection, one after another."""
    connection = await connect(endpoint, limits)
    try:
        return [await connection.start(request(endpoint)) for _ in range(times) if connection.reusable], connection
    finally:
        connection.close()
        await connection.closed


def one(endpoint: Endpoint, limits: Limits = PATIENT) -> Received:
    (received,), _ = run(ask(endpoint, limits))
    return received


def test_a_connection_is_used_again(server: Told) -> None:
    endpoint = server.behave()
    received, connection = run(ask(endpoint, times=3))
    assert [(one.status, one.content_type, one.error) for one in received] == [(200, "text/event-stream", None)] * 3
    assert not connection.reusable
    assert server.connections()[0] == 1
    assert [asked["body"] for asked in server.asked()] == [json.loads(ASKED.body())] * 3
    assert all(one.body.endswith(b"data: [DONE]\n\n") for one in received)


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
    assert asked["waited_ms"] >= 30 + 4 * 5
    # The first event is the first read: nothing of the body comes before it.
    assert received.reads[0][0] - received.sent_ns >= 30e6
    assert received.ended_ns - received.sent_ns >= asked["waited_ms"] * 1e6


def test_the_clock_is_the_one_that_was_handed_in(server: Told) -> None:
    endpoint = server.behave()
    ticks = iter(range(0, 10**9, 1000))

    async def counted() -> Received:
        connection = await connect(endpoint, PATIENT, lambda: next(ticks))
        try:
            return await connection.start(request(endpoint))
        finally:
            connection.close()

    received = run(counted())
    # One reading for the request, and one for each read: some bring no part of the body.
    times = [ns for ns, _ in received.reads]
    assert received.sent_ns == 0
    assert times == sorted({ns for ns in times if ns > 0 and ns % 1000 == 0})
    assert received.ended_ns in range(times[-1], times[-1] + 2000, 1000)


@pytest.mark.parametrize(
    "behaviour",
    [
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
def test_the_body_is_the_same_however_it_is_framed(server: Told, behaviour: dict[str, Any]) -> None:
    plain = one(server.behave()).body
    received = one(server.behave(**behaviour))
    assert (received.status, received.error) == (200, None)
    assert received.body.replace(b"\r\n", b"\n") == plain


@pytest.mark.parametrize("behaviour", [{"framing": "close"}, {"keep_alive": False}, {"fault": "more after the end"}])
def test_a_connection_that_the_server_ends_is_not_used_again(server: Told, behaviour: dict[str, Any]) -> None:
    received, _ = run(ask(server.behave(**behaviour), times=2))
    assert [one.error for one in received[:1]] == [None]
    assert len(received) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("close", "the server closed the connection before its answer was complete, after "),
        ("reset", "the connection broke (Connection reset by peer), after "),
        ("no HTTP", "the server's answer is no HTTP that can be read: "),
        ("no HTTP within", "the server's answer is no HTTP that can be read: "),
        ("long head", "the head of the server's answer is longer than 65536 bytes"),
        ("encoded", "the server's answer is encoded ('gzip'), which was not asked for"),
    ],
)
def test_what_breaks_is_told(server: Told, fault: str, said: str) -> None:
    received = one(server.behave(fault=fault, token_ms=1))
    assert received.error is not None
    assert received.error.startswith(said)
    assert received.sent_ns is not None
    if fault in ("close", "reset"):  # what came before it is kept
        assert received.body.count(b"data: ") == 2


@pytest.mark.parametrize(
    ("fault", "limit", "said"),
    [
        ("hang before the head", "first_byte_s", "the server sent nothing of its answer within 0.2 s"),
        ("hang after the head", "first_byte_s", "the server sent nothing of its answer within 0.2 s"),
        ("hang", "between_bytes_s", "the server sent nothing for 0.2 s after "),
        ("hang", "whole_s", "the answer was not complete within 0.2 s"),
        ("hang before the head", "whole_s", "the answer was not complete within 0.2 s"),
    ],
)
def test_a_server_that_hangs_is_given_up(server: Told, fault: str, limit: str, said: str) -> None:
    received = one(server.behave(fault=fault), dataclasses.replace(PATIENT, **{limit: WAIT_S}))
    assert received.error is not None
    assert received.error.startswith(said)
    assert received.sent_ns is not None
    assert received.ended_ns - received.sent_ns >= WAIT_S * 1e9
    assert bool(received.reads) == (fault == "hang")


def test_a_slow_server_is_not_one_that_hangs(server: Told) -> None:
    endpoint = server.behave(ttft_ms=250, token_ms=100)
    received = one(endpoint, Limits(first_byte_s=5, between_bytes_s=5, whole_s=20))
    assert received.error is None
    # Each pause is within its limit, all of them together are not within that of the whole.
    assert one(endpoint, Limits(first_byte_s=5, between_bytes_s=5, whole_s=0.3)).error == (
        "the answer was not complete within 0.3 s"
    )


def test_an_endless_answer_ends(server: Told) -> None:
    received = one(server.behave(fault="endless error"), dataclasses.replace(PATIENT, most_bytes=1_000_000))
    assert (received.status, received.error) == (500, "the server's answer is longer than 1000000 bytes")
    assert received.body == (b"no " * 1000)[:2048]


def test_one_request_at_a_time(server: Told) -> None:
    endpoint = server.behave()

    async def twice() -> None:
        connection = await connect(endpoint, PATIENT)
        first = connection.start(request(endpoint))
        assert not connection.reusable
        with pytest.raises(RuntimeError, match="one request at a time"):
            connection.start(request(endpoint))
        assert (await first).error is None
        connection.close()
        second = await connection.start(request(endpoint))
        assert second.error == "the connection was closed before the request was sent"
        assert second.sent_ns is None

    run(twice())


def test_closing_answers_what_is_under_way(server: Told) -> None:
    endpoint = server.behave(fault="hang")

    async def closed() -> Received:
        connection = await connect(endpoint, PATIENT)
        answer = connection.start(request(endpoint))
        await asyncio.sleep(0.05)
        connection.close()
        return await answer

    assert run(closed()).error == "the client closed the connection before the answer was complete"


def test_what_comes_unasked_ends_the_connection() -> None:
    async def unasked() -> bool:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()

        async with await asyncio.start_server(talk, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            connection = await connect(endpoint_of(f"http://127.0.0.1:{port}"), PATIENT)
            await asyncio.wait_for(connection.closed, 30)
            return connection.reusable

    assert run(unasked()) is False


def test_small_writes_are_not_held_back(server: Told) -> None:
    endpoint = server.behave()

    async def option() -> int:
        connection = await connect(endpoint, PATIENT)
        assert connection._transport is not None
        found: int = connection._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.close()
        return found

    assert run(option()) != 0


def test_nobody_there() -> None:
    endpoint = endpoint_of(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(
        NoConnectionError, match=rf"^no connection to 127\.0\.0\.1:{endpoint.port}: Connection refused$"
    ):
        run(connect(endpoint))
    received = run(fetch(endpoint, "/health"))
    assert (received.sent_ns, received.status) == (None, None)
    assert str(received.error).startswith(f"no connection to 127.0.0.1:{endpoint.port}: ")


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
            with pytest.raises(NoConnectionError, match=r"within 0.2 s$"):
                run(connect(endpoint_of(f"http://127.0.0.1:{port}"), Limits(connect_s=WAIT_S)))


def test_what_a_server_has_beside_its_api(server: Told) -> None:
    endpoint = server.behave()
    assert run(fetch(endpoint, endpoint.beside_api("health"))).status == 200
    metrics = run(fetch(endpoint, endpoint.beside_api("metrics")))
    assert (metrics.content_type, metrics.body) == (
        "text/plain",
        b"# TYPE fake:requests counter\nfake:requests 1\n",
    )
    models = json.loads(run(fetch(endpoint, endpoint.api("models"))).body)
    assert [model["id"] for model in models["data"]] == ["base", "support", "sales"]
    missing = run(fetch(endpoint, endpoint.api("load_lora_adapter"), body=b'{"lora_name": "x"}'))
    assert (missing.status, json.loads(missing.body)) == (404, {"detail": "Not Found"})
    methods = [(asked["method"], asked["path"], asked["body"]) for asked in server.asked()]
    assert methods[0] == ("GET", "/health", None)
    assert methods[-1] == ("POST", "/v1/load_lora_adapter", {"lora_name": "x"})


def test_a_key_is_asked_for_and_given() -> None:
    with fake_server("--api-key", "sesame") as port:
        url = f"http://127.0.0.1:{port}"
        assert [one(endpoint_of(url, key)).status for key in ("sesame", None, "wrong")] == [200, 401, 401]


def test_certificates_are_checked(tmp_path: Path) -> None:
    certificate, key, authority = made_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(authority))
    with fake_server("--tls", str(certificate), str(key)) as port:
        received, _ = run(ask(endpoint_of(f"https://127.0.0.1:{port}", tls=trusting), times=2))
        assert [(one.status, one.error) for one in received] == [(200, None)] * 2
        with pytest.raises(NoConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            run(connect(endpoint_of(f"https://127.0.0.1:{port}")))
