"""One request to the server of an engine, timed by when its tokens came: what `take_turns` asks for each request."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from raybench.machine import Device, Times
from raybench.model import Prompts, Request
from raybench.records import RaybenchError
from raybench.serve import Answer, Asked, Endpoint, Limits, RunningServer, answer_of, connect
from raybench.visit.serving import OPENER_TOKENS, Served

_ENDING_S: Final = 2.0


class Line:
    """A connection to one running server, kept alive, opened anew where the server has closed it."""

    def __init__(self, server: RunningServer, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.server, self._loop, self._limits = server, loop, limits
        self._endpoint = Endpoint("127.0.0.1", server.port, api_key=server.key)
        self._connection: Any = None

    def ask(self, prompts: Prompts, tokens: int, adapter: str | None, logprobs: int | None = None) -> Answer:
        """What the server answers to one prompt with ``tokens`` tokens, by ``adapter`` or by its base alone.

        Raises RaybenchError, with the end of the server's log, where there is no whole answer.
        """
        fields = self.server.request_fields(adapter)
        ids = tuple(prompts.values["input_ids"][0].tolist())
        asked = Asked(fields.pop("model"), tokens, token_ids=ids, logprobs=logprobs, extra=fields)
        body = self._endpoint.request("POST", self._endpoint.api(asked.path), asked.body())
        answer = answer_of(self._loop.run_until_complete(self._received(body)))
        if answer.error is not None:
            self._tell_end(broken_off=answer.status is None)
            raise RaybenchError(f"{self.server.process.name}: {answer.error}; {self.server.process.log.told()}")
        return answer

    def _tell_end(self, broken_off: bool) -> None:
        """Raises what the server ended by, where it has ended; one that broke an answer off may be just about to."""
        deadline = time.monotonic() + (_ENDING_S if broken_off else 0.0)
        self.server.process.check_alive()
        while time.monotonic() < deadline:
            time.sleep(0.02)
            self.server.process.check_alive()

    async def _received(self, body: bytes) -> Any:
        if self._connection is None or not self._connection.reusable:
            self._connection = await connect(self._endpoint, self._limits)
        return await self._connection.start(body)

    def close(self) -> None:
        """The connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._loop.run_until_complete(self._connection.closed)


@dataclasses.dataclass(frozen=True, slots=True)
class EngineServer:
    """What serves the requests of one configuration by a server of an engine.

    ``adapters``: the one for each of its tasks; ``by_request``: where adapters share a task, by a request's index the
    one that serves it. Both empty where the base alone answers. ``prefix_caching``: whether it was asked for.
    """

    line: Line
    adapters: Mapping[str, str]
    by_request: Mapping[int, tuple[str, ...]]
    prefix_caching: bool

    def adapter(self, request: Request) -> str | None:
        """The adapter that serves a request; None where the base alone does, or a fine-tune."""
        if self.by_request:
            return self.by_request[request.index][0]
        return self.adapters.get(request.task)

    def rows(self, request: Request) -> tuple[str, ...] | None:
        """Whom a request is for, as `serve` is told it."""
        adapter = self.adapter(request)
        return None if adapter is None else (adapter,)

    def serve(
        self, prompts: Prompts, device: Device, opener: bool = False, names: tuple[str, ...] | None = None
    ) -> Served:
        """Ask for one request's tokens and say when they came. ``names``: its adapter, as `rows` has it.

        Raises RaybenchError where there are not as many tokens as were asked for, or some came out of a cache of
        prefixes that was not asked for.
        """
        tokens = min(prompts.output_tokens, OPENER_TOKENS) if opener else prompts.output_tokens
        answer = self.line.ask(prompts, tokens, None if names is None else names[0])
        check_whole(answer, tokens, self.line.server.process.name, self.prefix_caching)
        return served(answer)


def check_whole(answer: Answer, tokens: int, name: str, prefix_caching: bool) -> None:
    """Raises RaybenchError where an answer is not the work that was asked for."""
    if answer.generated_tokens() != tokens:
        raise RaybenchError(f"{name}: {answer.generated_tokens()} tokens came, {tokens} were asked for")
    if answer.cached_tokens and not prefix_caching:
        raise RaybenchError(
            f"{name}: {answer.cached_tokens} tokens of the prompt came out of a cache, which the plan has off: that is "
            "no prefill; turn it off with an option of the engine, or set engine.prefix_caching"
        )


def served(answer: Answer) -> Served:
    """The times of an answer: of the whole until its last token, of the first token, and of each further one.

    Tokens that came together with another took no time of their own: a nanosecond, the least that can be told.
    """
    assert answer.sent_ns is not None
    gaps = [after - before for before, after in itertools.pairwise(answer.token_ns)]
    told = answer.tokens if sum(answer.tokens) == answer.generated_tokens() else _spread(answer)
    decode: list[Times] = []
    for place, count in enumerate(told):
        at = answer.token_ns[place]
        if place:
            decode.append(_times(answer.token_ns[place - 1], max(1, gaps[place - 1])))
        decode.extend(_times(at, 1) for _ in range(count - 1))
    prefill = _times(answer.sent_ns, answer.token_ns[0] - answer.sent_ns)
    return Served(_times(answer.sent_ns, answer.token_ns[-1] - answer.sent_ns), prefill, tuple(decode))


def _spread(answer: Answer) -> Sequence[int]:
    """Tokens of each event where the server only counts all of them: one each, what is more with the last."""
    more = answer.generated_tokens() - len(answer.token_ns)
    return [*[1] * (len(answer.token_ns) - 1), 1 + more]


def _times(started_ns: int, ns: int) -> Times:
    return Times(started_ns, ns, ns, None)
