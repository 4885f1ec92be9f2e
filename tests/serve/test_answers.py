"""Answers of a real server, read: what was generated, when, and what is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from raybench.serve.answers import Answer, answer_of
from raybench.serve.connection import fetch
from raybench.serve.exchange import Limits, Received
from raybench.serve.fine_timers import run_on_time
from raybench.serve.openai_api import Asked
from serve.conftest import Told
from serve.fake_server import expected_ids, expected_logprobs, expected_text

PROMPT = (1, 2, 3)
WITH_IDS = {"return_token_ids": True}
IDS = tuple(expected_ids("support", list(PROMPT), 6))
TEXT = expected_text("support", list(PROMPT), 6)


def answered(server: Told, asked: Asked | None = None, limits: Limits | None = None, **behaviour: Any) -> Answer:
    endpoint = server.behave(**behaviour)
    asked = asked or Asked("support", 6, token_ids=PROMPT)
    return answer_of(run_on_time(fetch(endpoint, endpoint.api(asked.path), limits, asked.body())))


def received(*reads: tuple[int, str], **changed: Any) -> Received:
    """An answer without a server: ``reads`` of (ns, bytes)."""
    given: dict[str, Any] = {"status": 200, "content_type": "text/event-stream", **changed}
    return Received(100, 900, reads=tuple((ns, part.encode()) for ns, part in reads), **given)


def event(text: str = "", usage: int | None = None, **choice: Any) -> str:
    content: dict[str, Any] = {"choices": [{"index": 0, "text": text, **choice}]}
    if usage is not None:
        content = {"choices": [], "usage": {"completion_tokens": usage}}
    return f"data: {json.dumps(content)}\n\n"


DONE = "data: [DONE]\n\n"


@pytest.mark.parametrize(
    "behaviour",
    [
        {},
        {"cut": 1},
        {"newline": "\r\n", "cut": 3},
        {"newline": "\r"},
        {"comments": True},
        {"framing": "length"},
        {"framing": "close"},
        {"together": 3},
        {"together": 100},
        {"interim": True},
        {"fault": "no last blank line"},
    ],
    ids=str,
)
def test_a_completion_is_what_was_generated(server: Told, behaviour: dict[str, Any]) -> None:
    answer = answered(server, Asked("support", 6, token_ids=PROMPT, extra=WITH_IDS), **behaviour)
    assert (answer.error, answer.status, answer.finish_reason) == (None, 200, "length")
    assert (answer.text, answer.token_ids, answer.logprobs) == (TEXT, IDS, None)
    assert (answer.tokens, answer.merged) == ((1,) * 6, 0)
    assert (answer.prompt_tokens, answer.output_tokens, answer.cached_tokens) == (3, 6, None)
    assert answer.sent_ns is not None
    times = [answer.sent_ns, *answer.token_ns, answer.ended_ns]
    assert (len(answer.token_ns), answer.first_ns) == (6, answer.token_ns[0])
    assert times == sorted(times)


def test_a_chat_begins_with_the_first_token_not_with_the_role(server: Told) -> None:
    messages = ({"role": "user", "content": "hi"},)
    asked = Asked("sales", 4, messages=messages, logprobs=2)
    answer = answered(server, asked, ttft_ms=20, token_ms=2, cached_tokens=1)
    prompt = [dict(message) for message in messages]
    assert (answer.error, answer.finish_reason) == (None, "length")
    assert answer.text == expected_text("sales", prompt, 4)
    assert (answer.token_ids, answer.logprobs) == (None, tuple(expected_logprobs("sales", prompt, 4)))
    assert (answer.tokens, answer.merged) == ((1,) * 4, 0)
    assert (answer.prompt_tokens, answer.output_tokens, answer.cached_tokens) == (1, 4, 1)
    ttft_ns = answer.ttft_ns()
    assert ttft_ns is not None
    assert ttft_ns >= 20e6
    (told,) = server.asked()
    assert told["path"] == "/v1/chat/completions"
    assert (told["body"]["messages"], told["body"]["logprobs"], told["body"]["top_logprobs"]) == (prompt, True, 2)


def test_answers_differ_by_model_and_prompt(server: Told) -> None:
    found = {
        answered(server, Asked(model, 6, token_ids=prompt)).text
        for model in ("base", "support", "sales")
        for prompt in ((1, 2, 3), (1, 2, 4))
    }
    assert len(found) == 6


def test_known_delays_come_out(server: Told) -> None:
    answer = answered(server, ttft_ms=40, token_ms=10)
    ttft_ns, tpot_ns, end_to_end_ns = answer.ttft_ns(), answer.tpot_ns(), answer.end_to_end_ns()
    assert ttft_ns is not None
    assert tpot_ns is not None
    assert end_to_end_ns is not None
    assert ttft_ns >= 40e6
    assert end_to_end_ns >= 40e6 + 5 * 10e6
    assert sum(answer.inter_token_ns()) == answer.token_ns[-1] - answer.token_ns[0]
    assert tpot_ns == sum(answer.inter_token_ns()) / 5
    assert end_to_end_ns == ttft_ns + sum(answer.inter_token_ns())
    (told,) = server.asked()
    assert end_to_end_ns >= told["waited_ms"] * 1e6


@pytest.mark.parametrize("ids_told", [True, False])
@pytest.mark.parametrize("logprobs", [None, 0])
def test_events_may_carry_several_tokens(server: Told, ids_told: bool, logprobs: int | None) -> None:
    extra = WITH_IDS if ids_told else {}
    answer = answered(server, Asked("support", 6, token_ids=PROMPT, logprobs=logprobs, extra=extra), tokens_by_event=4)
    assert (answer.error, answer.text, answer.output_tokens) == (None, TEXT, 6)
    if ids_told or logprobs is not None:
        assert (answer.tokens, answer.merged) == ((4, 2), 2)
    else:  # the server counts more than there were events: which of them had more is not known
        assert (answer.tokens, answer.merged) == ((1, 1), None)
    assert answer.token_ids == (IDS if ids_told else None)
    assert answer.tpot_ns() == (answer.token_ns[1] - answer.token_ns[0]) / 5


def test_tokens_without_text_are_seen_by_their_ids(server: Told) -> None:
    assert any(token % 2 for token in IDS)
    answer = answered(server, Asked("support", 6, token_ids=PROMPT, extra=WITH_IDS), fault="empty texts")
    assert (answer.error, len(answer.token_ns), answer.token_ids) == (None, 6, IDS)
    without = answered(server, fault="empty texts")
    seen = sum(token % 2 == 0 for token in IDS)
    assert (without.error, len(without.token_ns), without.output_tokens) == (None, seen, 6)


def test_no_usage_is_no_fault_but_nothing_is_counted(server: Told) -> None:
    answer = answered(server, fault="no usage")
    assert (answer.error, answer.text) == (None, TEXT)
    assert (answer.prompt_tokens, answer.output_tokens, answer.cached_tokens) == (None, None, None)
    assert (answer.tokens, answer.merged, answer.generated_tokens()) == ((1,) * 6, None, 6)
    assert answer.tpot_ns() == (answer.token_ns[-1] - answer.token_ns[0]) / 5


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("close", "the server closed the connection before its answer was complete, after {bytes} bytes of its body"),
        ("error event", "the server tells an error within its answer: the engine died"),
        ("old error event", "the server tells an error within its answer: the engine died"),
        ("no JSON", "the server sent an event that is no JSON (Expecting property name enclosed in double quotes: "),
        ("no UTF-8", "the server sent what is no UTF-8: invalid start byte, at byte 35 of an event"),
        ("two choices", "the server sent an event whose choices is not a list of one: "),
        ("long event", "an event of the stream is longer than 4194304 bytes"),
    ],
)
def test_what_goes_wrong_within_an_answer_is_told_and_the_rest_kept(server: Told, fault: str, error: str) -> None:
    answer = answered(server, fault=fault, at=3, token_ms=1)
    assert answer.error is not None
    assert answer.error.startswith(error.partition("{bytes}")[0])
    assert (answer.status, answer.text) == (200, expected_text("support", list(PROMPT), 3))
    assert (len(answer.token_ns), answer.tokens) == (3, (1, 1, 1))


def test_what_is_wrong_with_a_whole_answer(server: Told) -> None:
    assert answered(server, fault="wrong usage").error == (
        "the server counts 5 output tokens, and sent 6 events with text"
    )
    assert answered(server, Asked("support", 6, token_ids=PROMPT, extra=WITH_IDS), fault="wrong usage").error == (
        "the server counts 5 output tokens, and sent 6 tokens"
    )
    assert answered(server, fault="no tokens").error == "the server's answer has no token"
    assert answered(server, fault="no [DONE]").error == "the server's stream ended without [DONE] or a finish reason"
    assert answered(server, fault="no [DONE]").text == TEXT
    assert str(answered(server, fault="content type").error).startswith(
        "the server answered with 'text/html' instead of text/event-stream: data: {"
    )


@pytest.mark.parametrize("status", [429, 503])
def test_refusals(server: Told, status: int) -> None:
    answer = answered(server, fault=f"status {status}")
    assert (answer.status, answer.error) == (status, f"the server refuses: {status}: as told: [31m no room")
    assert (answer.token_ns, answer.ttft_ns(), answer.tpot_ns(), answer.end_to_end_ns()) == ((), None, None, None)


def test_other_statuses(server: Told) -> None:
    assert answered(server, fault="status 500").error == (
        "the server answered with an error: 500: as told: [31m no room"
    )
    assert answered(server, Asked("nobody", 1, text="a")).error == (
        "the server answered with an error: 404: The model `nobody` does not exist."
    )
    endless = answered(server, limits=Limits(most_bytes=100_000), fault="endless error")
    said = ("no " * 200)[:400]
    assert endless.error == (
        f"the server answered with an error: 500: {said}... (the server's answer is longer than 100000 bytes)"
    )


def test_times_are_those_of_reads() -> None:
    reads = [(200, event("a") + event("b")[:5]), (300, event("b")[5:] + event("c") + event("", finish_reason="length"))]
    answer = answer_of(received(*reads, (400, event(usage=3)), (500, DONE)))
    assert (answer.error, answer.text, answer.first_ns) == (None, "abc", 200)
    assert answer.token_ns == (200, 300, 300)
    assert (answer.ttft_ns(), answer.inter_token_ns(), answer.tpot_ns()) == (100, (100, 0), 50.0)
    assert (answer.end_to_end_ns(), answer.sent_ns, answer.ended_ns) == (200, 100, 900)


def test_one_token_has_no_time_per_token() -> None:
    answer = answer_of(received((200, event("a") + event(usage=1) + DONE)))
    assert (answer.error, answer.ttft_ns(), answer.tpot_ns(), answer.inter_token_ns()) == (None, 100, None, ())
    # Five tokens at once: what each of them took cannot be told.
    assert answer_of(received((200, event("abcde") + event(usage=5) + DONE))).tpot_ns() is None


def test_ids_that_are_told_of_some_events_only_are_not_told() -> None:
    answer = answer_of(received((200, event("a", token_ids=[1]) + event("b") + event(usage=2) + DONE)))
    assert (answer.error, answer.token_ids, answer.tokens, answer.merged) == (None, None, (1, 1), 0)


def test_a_text_may_come_with_no_token_of_its_own() -> None:
    answer = answer_of(received((200, event("a", token_ids=[1, 2]) + event("b", token_ids=[]) + event(usage=2) + DONE)))
    assert (answer.error, answer.tokens, answer.merged, answer.token_ids) == (None, (2, 0), 1, (1, 2))


def test_what_comes_after_done_is_not_read() -> None:
    assert answer_of(received((200, event("a") + DONE + "data: {broken\n\n"))).error is None


def test_what_an_answer_broke_off_in_is_no_event() -> None:
    answer = answer_of(received((200, event("a") + event("b")[:-2]), error="broke"))
    assert (answer.error, answer.text) == ("broke", "a")
    whole = answer_of(received((200, event("a") + event("b", finish_reason="stop")[:-2])))
    assert (whole.error, whole.text, whole.finish_reason) == (None, "ab", "stop")


def test_an_answer_without_a_connection() -> None:
    answer = answer_of(Received(None, 900, error="no connection to h:1: refused"))
    assert answer == Answer(None, 900, error="no connection to h:1: refused")
    assert (answer.ttft_ns(), answer.end_to_end_ns(), answer.generated_tokens()) == (None, None, 0)
