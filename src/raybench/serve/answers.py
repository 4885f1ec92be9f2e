"""What one request was answered with, and when.

Definitions are those of ``vllm bench serve`` (``vllm/benchmarks/serve.py``, ``lib/endpoint_request_func.py``), so that
figures can be set beside each other. What an event is differs: one that carries no token (the role that a chat begins
with, a last one with an empty text) is none here and is one there. A token with an empty text (a part of a character)
is seen here by its id, so ids are worth asking for. Events that one read brought have one time here, that of the read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TypeVar

from raybench.serve.chunks import Chunk, Usage, chunk_of
from raybench.serve.exchange import Received
from raybench.serve.faults import KEPT_BYTES, AnswerFault, status_fault, told
from raybench.serve.stream import DONE, EventReader

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request. Nanoseconds of the client's clock; None is what was not told, or did not come.

    ``sent_ns``: None where nothing could be sent. ``first_ns``: the first event that carries a token. ``token_ns``:
    each event that carries text or token ids, in order. ``ended_ns``: the end of the answer, or when it was given up.

    ``tokens``: how many each of these events carried, by their ids or log probabilities; 1 where neither is told.
    ``merged``: how many carried more than one; None where that is not known, since the server counts more tokens than
    there were events, or does not count. ``prompt_tokens``, ``output_tokens``, ``cached_tokens``: as the server counts.

    ``text``, ``token_ids``, ``logprobs`` (of the tokens chosen): all that came, also before an ``error``.
    """

    sent_ns: int | None
    ended_ns: int
    first_ns: int | None = None
    token_ns: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    merged: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    text: str = ""
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float | None, ...] | None = None
    finish_reason: str | None = None
    status: int | None = None
    error: str | None = None

    def generated_tokens(self) -> int:
        """Tokens generated: as the server counts them, or where it does not, as the events carried them."""
        return sum(self.tokens) if self.output_tokens is None else self.output_tokens

    def ttft_ns(self) -> int | None:
        """Time to first token (TTFT): from sending the request to the first event that carries a token."""
        return None if self.first_ns is None or self.sent_ns is None else self.first_ns - self.sent_ns

    def tpot_ns(self) -> float | None:
        """Time per output token (TPOT): from the first event to the last, by the number of tokens less one.

        vLLM: (latency - ttft) / (output_len - 1). None where there is no second event, or no second token.
        """
        count = self.generated_tokens()
        if len(self.token_ns) < 2 or count < 2:
            return None
        return (self.token_ns[-1] - self.token_ns[0]) / (count - 1)

    def inter_token_ns(self) -> tuple[int, ...]:
        """Inter-token latencies (ITL): between each event that carries tokens and the next.

        Not divided by the tokens of an event that carries several, as vLLM does not.
        """
        return tuple(after - before for before, after in zip(self.token_ns, self.token_ns[1:], strict=False))

    def end_to_end_ns(self) -> int | None:
        """End-to-end latency (E2EL): from sending the request to the last event that carries a token."""
        return None if not self.token_ns or self.sent_ns is None else self.token_ns[-1] - self.sent_ns


def answer_of(received: Received) -> Answer:
    """What was received, read. A fault of any kind is the answer's ``error``, the first one."""
    if received.status is None:
        return _without_events(received, received.error)
    if received.status != 200:
        also = f" ({received.error})" if received.error else ""
        return _without_events(received, status_fault(received.status, received.body) + also)
    if received.content_type != "text/event-stream":
        what = received.content_type[:80] or "no content type"
        said = told(received.body[:KEPT_BYTES])
        fault = f"the server answered with {what!a} instead of text/event-stream{f': {said}' if said else ''}"
        return _without_events(received, received.error or fault)
    reading = _Reading()
    try:
        for ns, data in _events(received):
            if data == DONE:
                reading.done = True
                break
            reading.take(ns, chunk_of(data))
    except AnswerFault as fault:
        return reading.answer(received, str(fault))
    return reading.answer(received, received.error or reading.fault())


def _without_events(received: Received, error: str | None) -> Answer:
    return Answer(received.sent_ns, received.ended_ns, status=received.status, error=error)


def _events(received: Received) -> Iterator[tuple[int, bytes]]:
    reader, ns = EventReader(), 0
    for ns, part in received.reads:
        for data in reader.feed(part):
            yield ns, data
    if received.error is None:  # what an answer was broken off in is no event
        for data in reader.close():
            yield ns, data


class _Reading:
    """Adds up what events say."""

    def __init__(self) -> None:
        self.done = False
        self.carrying: list[tuple[int, Chunk]] = []
        self.usage = Usage(None, None, None)
        self.finish_reason: str | None = None

    def take(self, ns: int, chunk: Chunk) -> None:
        if chunk.carries_tokens:
            self.carrying.append((ns, chunk))
        self.usage = chunk.usage or self.usage  # the last one counts all
        self.finish_reason = chunk.finish_reason or self.finish_reason

    def fault(self) -> str | None:
        """What is wrong with an answer that was received whole."""
        if not self.done and self.finish_reason is None:
            return "the server's stream ended without [DONE] or a finish reason"
        if not self.carrying:
            return "the server's answer has no token"
        counted, told_tokens, known = self.usage.completion_tokens, sum(self.tokens()), self._counts_are_told()
        if counted is not None and (counted < told_tokens or (known and counted != told_tokens)):
            what = "tokens" if known else "events with text"
            return f"the server counts {counted} output tokens, and sent {told_tokens} {what}"
        return None

    def tokens(self) -> tuple[int, ...]:
        return tuple(1 if chunk.tokens is None else chunk.tokens for _, chunk in self.carrying)

    def _counts_are_told(self) -> bool:
        return all(chunk.tokens is not None for _, chunk in self.carrying)

    def _merged(self) -> int | None:
        tokens = self.tokens()
        if self._counts_are_told() or self.usage.completion_tokens == sum(tokens):
            return sum(count > 1 for count in tokens)
        return None

    def answer(self, received: Received, error: str | None) -> Answer:
        chunks = [chunk for _, chunk in self.carrying]
        times = tuple(ns for ns, _ in self.carrying)
        ids = [chunk.token_ids for chunk in chunks]
        logprobs = [chunk.logprobs for chunk in chunks]
        return Answer(
            received.sent_ns,
            received.ended_ns,
            first_ns=times[0] if times else None,
            token_ns=times,
            tokens=self.tokens(),
            merged=self._merged() if times else None,
            prompt_tokens=self.usage.prompt_tokens,
            output_tokens=self.usage.completion_tokens,
            cached_tokens=self.usage.cached_tokens,
            text="".join(chunk.text for chunk in chunks),
            token_ids=_joined(ids),
            logprobs=_joined(logprobs),
            finish_reason=self.finish_reason,
            status=received.status,
            error=error,
        )


def _joined(parts: list[tuple[_T, ...] | None]) -> tuple[_T, ...] | None:
    """All parts as one; None where there is none, or one of them was not told: the others would be in wrong places."""
    if not parts or any(part is None for part in parts):
        return None
    return tuple(one for part in parts for one in part or ())
