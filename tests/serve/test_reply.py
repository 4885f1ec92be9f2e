"""Answers of HTTP, cut anywhere, framed in each way, and broken in many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.serve.reply import MOST_HEAD_BYTES, Reply

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n"
LENGTH = HEAD + b"Content-Length: 5\r\n\r\nabcde"


def fed(*parts: bytes, most_bytes: int = 100_000) -> Reply:
    reply = Reply(most_bytes)
    for ns, part in enumerate(parts):
        reply.feed(ns, part)
    return reply


@pytest.mark.parametrize("answer", [CHUNKED, LENGTH], ids=["chunked", "length"])
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_an_answer_is_the_same_wherever_it_is_cut(answer: bytes, size: int) -> None:
    reply = fed(*(answer[i : i + size] for i in range(0, len(answer), size)))
    assert (reply.status, reply.content_type, reply.error) == (200, "text/event-stream", None)
    assert b"".join(part for _, part in reply.reads) == b"abcde"
    assert (reply.complete, reply.keep_alive, reply.over, reply.body_bytes) == (True, True, True, 5)


def test_what_one_read_brought_has_its_time() -> None:
    assert fed(CHUNKED).reads == [(0, b"abcde")]
    first, last = CHUNKED.split(b"2;x=y")
    assert fed(first, b"2;x=y" + last).reads == [(0, b"abc"), (1, b"de")]
    assert fed(first, b"2;x=y\r\nd", b"e\r\n0\r\n", b"\r\n").reads == [(0, b"abc"), (1, b"d"), (2, b"e")]


def test_a_body_may_end_with_the_connection() -> None:
    reply = fed(HEAD + b"\r\nab", b"c")
    assert not reply.over
    reply.end("closed")
    assert (reply.complete, reply.keep_alive, reply.error) == (True, False, None)
    assert reply.reads == [(0, b"ab"), (1, b"c")]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "closed, before any byte of it"),
        ([HEAD], "closed, after 0 bytes of its body"),
        ([CHUNKED[:-6]], "closed, after 5 bytes of its body"),
        ([LENGTH[:-1]], "closed, after 4 bytes of its body"),
    ],
)
def test_other_bodies_may_not(parts: list[bytes], said: str) -> None:
    reply = fed(*parts)
    assert not reply.over
    reply.end("closed")
    assert (reply.complete, reply.keep_alive, reply.error) == (False, False, said)


def test_the_server_may_say_that_it_closes() -> None:
    reply = fed(LENGTH.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    assert (reply.complete, reply.keep_alive, reply.error) == (True, False, None)


def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Type: text/html\r\nLink: </x>\r\n\r\n"
    reply = fed(interim, LENGTH)
    assert (reply.status, reply.content_type, reply.reads) == (200, "text/event-stream", [(1, b"abcde")])
    both = fed(interim + LENGTH)
    assert (both.status, both.reads, both.keep_alive) == (200, [(0, b"abcde")], True)


@pytest.mark.parametrize("more", [b"abc", b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", b"\x00"])
@pytest.mark.parametrize("at_once", [True, False])
def test_what_comes_after_the_end_changes_nothing_but_ends_the_connection(more: bytes, at_once: bool) -> None:
    reply = fed(*([LENGTH + more] if at_once else [LENGTH, more]))
    assert (reply.status, reply.content_type, reply.reads, reply.error) == (
        200,
        "text/event-stream",
        [(0, b"abcde")],
        None,
    )
    assert (reply.complete, reply.keep_alive) == (True, False)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"\x00\xff", "the server's answer is no HTTP that can be read: "),
        (b"HTTP/1.1 999999 Oh\r\n\r\n", "the server's answer is no HTTP that can be read: "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "the server's answer is no HTTP that can be read: "),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "the server's answer is no HTTP that can be read: "),
        (HEAD + b"Content-Encoding: gzip\r\n\r\n", "the server's answer is encoded ('gzip'), which was not asked for"),
        (HEAD + b"X: " + b"x" * MOST_HEAD_BYTES, f"the head of the server's answer is longer than {MOST_HEAD_BYTES}"),
        (HEAD + b"\r\n" + b"x" * 100_000, "the server's answer is longer than 100000 bytes"),
        (
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
            "the server goes on in another protocol",
        ),
    ],
)
def test_broken_answers_are_told(answer: bytes, said: str) -> None:
    for parts in ([answer], [answer[i : i + 1000] for i in range(0, len(answer), 1000)]):
        reply = fed(*parts)
        assert reply.error is not None
        assert reply.error.startswith(said)
        assert (reply.complete, reply.keep_alive) == (False, False)


def test_other_statuses_keep_the_beginning_of_their_body() -> None:
    body = b"abcdefgh" * 1000
    reply = fed(b"HTTP/1.1 503 No\r\nContent-Length: 8000\r\n\r\n" + body[:2000], body[2000:4000], body[4000:])
    assert (reply.status, reply.complete, reply.keep_alive, reply.body_bytes) == (503, True, True, 8000)
    assert b"".join(part for _, part in reply.reads) == body[:2048]


@given(st.lists(st.binary(max_size=30), max_size=5), st.sampled_from([b"", HEAD, HEAD + b"\r\n", CHUNKED, LENGTH]))
def test_bytes_of_any_kind_raise_nothing(parts: list[bytes], first: bytes) -> None:
    reply = fed(first, *parts)
    reply.end("closed")
    assert reply.complete is (reply.error is None)
