"""What a server is asked to generate, as the OpenAI API says it: bodies of ``completions`` and ``chat/completions``.

Everything is streamed, at temperature 0, and ends with the server's own count of tokens
(``stream_options: {"include_usage": true}``). vLLM chooses an adapter by the model's name; other engines want fields of
their own, which ``extra`` has: ``"lora": [{"id": 0, "scale": 1.0}]`` and ``"cache_prompt": false`` for llama.cpp,
``"return_token_ids": true`` for vLLM.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from raybench.records import InputError

_OWN: Final = frozenset(
    {
        *("model", "prompt", "messages", "stream", "stream_options", "temperature", "max_tokens", "ignore_eos", "seed"),
        *("logprobs", "top_logprobs"),
    }
)
_OTHER_WORK: Final = frozenset({"n", "best_of", "echo", "use_beam_search", "stop", "stop_token_ids", "tools"})
"""What would have a server give other than one sequence of as many tokens as were asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One request. Exactly one of ``token_ids``, ``text`` and ``messages`` is the prompt.

    ``model``: the name that the server knows model or adapter by. ``logprobs``: of how many tokens beside the one that
    was chosen; None for none at all. ``extra``: further fields of the body, by their names. Raises InputError.
    """

    model: str
    max_tokens: int
    token_ids: tuple[int, ...] | None = None
    text: str | None = None
    messages: tuple[Mapping[str, str], ...] | None = None
    ignore_eos: bool = True
    seed: int = 0
    logprobs: int | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        given = [name for name in ("token_ids", "text", "messages") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError(
                f"a request has one prompt: token_ids, text or messages; it has {', '.join(given) or 'none'}"
            )
        if not getattr(self, given[0]):
            raise InputError(f"a request's prompt is empty ({given[0]})")
        if self.max_tokens < 1:
            raise InputError(f"a request asks for {self.max_tokens} tokens; at least 1")
        if taken := sorted(_OWN & self.extra.keys()):
            raise InputError(f"extra fields of a request: {', '.join(taken)} is set by raybench itself; leave it out")
        if other := sorted(_OTHER_WORK & self.extra.keys()):
            raise InputError(f"extra fields of a request: with {', '.join(other)} requests do other work; leave it out")

    @property
    def path(self) -> str:
        """Below the API's base: `Endpoint.api`."""
        return "completions" if self.messages is None else "chat/completions"

    def body(self) -> bytes:
        """The JSON that is sent, ASCII. Raises InputError where ``extra`` holds what JSON cannot."""
        fields: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "seed": self.seed,
            "ignore_eos": self.ignore_eos,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.messages is not None:
            fields["messages"] = [dict(message) for message in self.messages]
        else:
            fields["prompt"] = self.text if self.token_ids is None else list(self.token_ids)
        if self.logprobs is not None:
            if self.messages is not None:
                fields |= {"logprobs": True, "top_logprobs": self.logprobs}
            else:
                fields["logprobs"] = self.logprobs
        try:
            return json.dumps(fields | dict(self.extra), allow_nan=False, separators=(",", ":")).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"a request cannot be told as JSON: {error}") from None
