"""A prompt as a server is told it: the ids of its tokens, a text, or a chat."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from raybench.model import Prompts, Request
from raybench.plan import PromptsAs
from raybench.serve import Asked


@dataclasses.dataclass(frozen=True, slots=True)
class ServedPrompt:
    """Exactly one of ``token_ids``, ``text`` and ``messages`` is told.

    ``tensors``: the same prompt for a model that checks what is answered; None where no model is known, or where it is
    told as a text or a chat, of which only the server knows what tokens it makes.
    """

    output_tokens: int
    token_ids: tuple[int, ...] | None = None
    text: str | None = None
    messages: tuple[Mapping[str, str], ...] | None = None
    tensors: Prompts | None = None

    @property
    def length(self) -> int:
        """By which longer prompts are told from shorter ones: tokens, or characters."""
        if self.token_ids is not None:
            return len(self.token_ids)
        return len(self.text or "") + sum(len(one["content"]) for one in self.messages or ())

    def asked(self, model: str, tokens: int, extra: Mapping[str, Any], logprobs: int | None = None) -> Asked:
        """A request for ``tokens`` tokens of what the server knows as ``model``. Raises InputError."""
        return Asked(
            model,
            tokens,
            token_ids=self.token_ids,
            text=self.text,
            messages=self.messages,
            logprobs=logprobs,
            extra=extra,
        )


def served_prompt(
    request: Request,
    prompts_as: PromptsAs,
    tensors: Prompts | None,
    text_of: Callable[[Request, Prompts | None], str],
    variant: str = "",
) -> ServedPrompt:
    """``request`` as servers are told it; ``tensors``: of its tokens, where they are known.

    Where it is to be text, it is what its file said, or what ``text_of`` makes of it. With a ``variant`` it is as long
    and begins otherwise, so that a server that has another variant of it in a cache of prefixes has to compute it anew:
    its tokens are turned about, or its text begins with the variant.
    """
    if prompts_as == "token_ids":
        assert tensors is not None
        ids = ids_of(tensors)
        if variant:
            turned = 1 + zlib.crc32(variant.encode()) % max(1, len(ids) - 1)
            return ServedPrompt(request.output_tokens, token_ids=ids[turned:] + ids[:turned])
        return ServedPrompt(request.output_tokens, token_ids=ids, tensors=tensors)
    (role, content), *rest = request.messages or (("user", text_of(request, tensors)),)
    messages = ((role, f"{variant} {content}" if variant else content), *rest)
    if prompts_as == "text":
        return ServedPrompt(request.output_tokens, text="\n".join(content for _, content in messages))
    chat = tuple({"role": role, "content": content} for role, content in messages)
    return ServedPrompt(request.output_tokens, messages=chat)


def ids_of(tensors: Prompts) -> tuple[int, ...]:
    """The ids of a prompt's tokens."""
    return tuple(tensors.values["input_ids"][0].tolist())
