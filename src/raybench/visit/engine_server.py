"""Requests to a server, one at a time or under a load, timed by when their tokens came: what turns ask for."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Final

from raybench.machine import Device
from raybench.model import Request
from raybench.records import RaybenchError
from raybench.serve import Answer, Asked, Limits, NoConnectionError, OneStream, Reached, answer_of
from raybench.visit.served_prompt import ServedPrompt
from raybench.visit.served_times import served
from raybench.visit.serving import OPENER_TOKENS, Served, adapter_for

_ENDING_S: Final = 2.0


class Line:
    """A connection to one server, kept alive, opened anew where the server has closed it."""

    def __init__(self, server: Reached, limits: Limits) -> None:
        self.server, self.limits = server, limits
        self._stream = OneStream(server.endpoint, limits)

    def asked(self, prompt: ServedPrompt, tokens: int, adapter: str | None, *, logprobs: bool = False) -> Asked:
        """A request for ``tokens`` tokens by ``adapter``, or by the base alone where that is None.

        ``logprobs``: whether to ask for those of the tokens that are chosen, where the server tells them.
        """
        fields = self.server.fields(adapter)
        told = 1 if logprobs and self.server.tells_logprobs else None
        return prompt.asked(fields.pop("model"), tokens, fields, told)

    def ask(self, prompt: ServedPrompt, tokens: int, adapter: str | None, *, logprobs: bool = False) -> Answer:
        """What the server answers to one request, as `asked` makes it.

        Raises ServerError where the server has ended, else RaybenchError with the end of its log, where there is no
        whole answer.
        """
        asked = self.asked(prompt, tokens, adapter, logprobs=logprobs)
        endpoint = self.server.endpoint
        body = endpoint.request("POST", endpoint.api(asked.path), asked.body())
        try:
            answer = answer_of(self._stream.exchange(body))
        except NoConnectionError as error:
            raise self.failed(str(error), broken_off=True) from None
        if answer.error is not None:
            raise self.failed(answer.error, broken_off=answer.status in (None, 200))
        return answer

    def failed(self, why: str, broken_off: bool) -> RaybenchError:
        """What there is to say where an answer failed. Raises ServerError where the server has ended.

        ``broken_off``: whether it may be just about to, as where an answer that had begun ended before its end.
        """
        process = self.server.process
        why = self.server.hide_key(why)
        if process is None:
            return RaybenchError(f"{self.server.name}: {why}")
        deadline = time.monotonic() + (_ENDING_S if broken_off else 0.0)
        process.check_alive()
        while time.monotonic() < deadline:
            time.sleep(0.02)
            process.check_alive()
        return RaybenchError(f"{self.server.name}: {why}; {process.log.told()}")

    def close(self) -> None:
        """The connection, if there is one."""
        self._stream.close()


@dataclasses.dataclass(frozen=True, slots=True)
class EngineServer:
    """What serves the requests of one configuration by a server.

    ``adapters``: the one for each of its tasks; ``by_request``: where adapters share a task, by a request's index the
    one that serves it. Both empty where the base alone answers. ``prefix_caching``: whether it was asked for.
    """

    line: Line
    adapters: Mapping[str, str]
    by_request: Mapping[int, tuple[str, ...]]
    prefix_caching: bool

    def adapter(self, request: Request) -> str | None:
        """The adapter that serves a request; None where the base alone does, or a fine-tune."""
        return adapter_for(request, self.adapters, self.by_request)

    def rows(self, request: Request) -> tuple[str, ...] | None:
        """Whom a request is for, as `serve` is told it."""
        adapter = self.adapter(request)
        return None if adapter is None else (adapter,)

    def serve(
        self, prompt: ServedPrompt, device: Device, opener: bool = False, names: tuple[str, ...] | None = None
    ) -> Served:
        """Ask for one request's tokens and say when they came. ``names``: its adapter, as `rows` has it.

        Raises RaybenchError where there are not as many tokens as were asked for, or some came out of a cache of
        prefixes that was not asked for.
        """
        tokens = min(prompt.output_tokens, OPENER_TOKENS) if opener else prompt.output_tokens
        answer = self.line.ask(prompt, tokens, None if names is None else names[0])
        self.check_whole(answer, tokens)
        return served(answer)

    def check_whole(self, answer: Answer, tokens: int) -> None:
        """Raises RaybenchError where an answer is not the work that was asked for."""
        name = self.line.server.name
        if answer.generated_tokens() != tokens:
            raise RaybenchError(f"{name}: {answer.generated_tokens()} tokens came, {tokens} were asked for")
        if answer.cached_tokens and not self.prefix_caching:
            raise RaybenchError(
                f"{name}: {answer.cached_tokens} tokens of the prompt came out of a cache, which the plan has off: "
                "that is no prefill; turn it off with an option of the engine, or set servers.prefix_caching"
            )


def first_failure(line: Line, answers: Sequence[Answer]) -> RaybenchError | None:
    """Of several answers, what there is to say of those that failed: the first, and how many they are.

    None where none did. Raises ServerError where the server has ended.
    """
    failed = [answer for answer in answers if answer.error is not None]
    if not failed:
        return None
    many = "" if len(answers) == 1 else f" (as {len(failed)} of {len(answers)} requests)"
    return line.failed(f"{failed[0].error}{many}", broken_off=failed[0].status in (None, 200))
