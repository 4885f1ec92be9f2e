"""Greedy generation, step by step over a model's forward, so that each step can be timed: a prefill, then decoding.

Every step does what ``generate()`` has its model do: one forward with a KV cache that returns the logits of the last
position, and the choice of the most likely token. It always generates as many tokens as it was asked for, whatever they
are: an end token ends nothing, so that all deployments do the same work.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from raybench.deploy.strategy import Deployment
from raybench.model import Prompts
from raybench.plan import KvCache
from raybench.records import RaybenchError


class Generator:
    """What generates with one deployment. ``longest``: tokens of its longest request, output included.

    With a static cache, room for ``longest`` is kept from the first request on and used by all, as a server keeps it.
    """

    def __init__(self, deployment: Deployment, kv_cache: KvCache = "dynamic", longest: int = 0) -> None:
        inner = within_peft(deployment.model)
        # PEFT's generate() calls the model that it wraps, not its own forward.
        self.forward: Callable[..., Any] = inner if deployment.forward is deployment.model else deployment.forward
        self.mixed = deployment.mixed
        taken = inspect.signature(inner.forward).parameters
        self.takes_positions = "position_ids" in taken
        self.last_only: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        self._static: Any = None
        if kv_cache == "static":
            from transformers import StaticCache

            self._static = StaticCache(config=inner.config, max_cache_len=longest)

    def cache(self) -> Any:
        """An empty cache for a request; None: the model makes a dynamic one in its prefill, as it does by itself."""
        if self._static is not None:
            self._static.reset()
        return self._static

    def begin(self, prompts: Prompts, names: tuple[str, ...] | None = None) -> Generation:
        """A request, before its prefill. ``names``: the adapter of each row of a mixed batch."""
        return Generation(self, prompts, None if names is None or self.mixed is None else self.mixed(names))


class Generation:
    """One request as it is generated: `prefill` once, then `decode` for each further token, then `close`.

    What its steps take besides tokens and cache is made beforehand, so that a step is the model's and nothing else's.
    ``around``: what a mixed batch puts around its steps; its own cost is the prefill's, as it is in PEFT. Without one
    nothing is entered: an ExitStack with a nullcontext made the prefill of a small model 0.5 % slower.
    """

    __slots__ = ("_around", "_cache", "_entered", "_forward", "_prompts", "_steps", "tokens")

    def __init__(self, generator: Generator, prompts: Prompts, around: AbstractContextManager[Any] | None) -> None:
        self._forward, self._prompts = generator.forward, prompts
        self._around = around
        self._entered: AbstractContextManager[Any] | None = None
        self._cache = generator.cache()
        self._steps = iter(_arguments(generator, prompts))
        self.tokens: list[Any] = []
        """The tokens chosen so far: integer tensors of shape (batch, 1)."""

    def prefill(self) -> Any:
        """The prompts through the model, whose outputs are returned, and the first token."""
        if self._around is not None:
            self._around.__enter__()
            self._entered = self._around
        return self._step(self._prompts.values["input_ids"])

    def decode(self) -> Any:
        """One token through the model, whose outputs are returned, and the next."""
        return self._step(self.tokens[-1])

    def close(self) -> None:
        """What a mixed batch put around its steps is taken away, also where one of them failed."""
        entered, self._entered = self._entered, None
        if entered is not None:
            entered.__exit__(None, None, None)

    def _step(self, ids: Any) -> Any:
        outputs = self._forward(input_ids=ids, past_key_values=self._cache, use_cache=True, **next(self._steps))
        self._cache = outputs.past_key_values
        if self._cache is None:
            raise RaybenchError("the model returns no past_key_values: it keeps no KV cache, and is not measured")
        self.tokens.append(outputs.logits[:, -1:].argmax(-1))
        return outputs


def _arguments(generator: Generator, prompts: Prompts) -> list[dict[str, Any]]:
    """What each step of a request takes besides its tokens and the cache, in order."""
    mask, length = prompts.values["attention_mask"], int(prompts.values["input_ids"].shape[1])
    found, first = [], 0
    for end in range(length, length + prompts.output_tokens):
        taken = {"attention_mask": mask[:, :end], **generator.last_only}
        if generator.takes_positions:
            taken["position_ids"] = prompts.values["position_ids"][:, first:end]
        found.append(taken)
        first = end
    return found


def generate(
    generator: Generator, prompts: Prompts, output_tokens: int | None = None, names: tuple[str, ...] | None = None
) -> Any:
    """The greedy tokens of a request, shape (batch, output_tokens). Raises RaybenchError where no cache is kept."""
    import torch

    generation = generator.begin(prompts, names)
    with contextlib.closing(generation):
        generation.prefill()
        for _ in range((output_tokens or prompts.output_tokens) - 1):
            generation.decode()
    return torch.cat(generation.tokens, dim=1)


def logits_after(generator: Generator, prompts: Prompts, continuation: Any | None) -> Any:
    """The logits from which each token of ``continuation`` is chosen, in one forward; None: those of the first alone.

    ``continuation``: token ids of shape (batch, count). Returns shape (batch, count, vocabulary).
    """
    import torch

    ids, count = prompts.values["input_ids"], 1 if continuation is None else int(continuation.shape[1])
    if continuation is not None:
        ids = torch.cat([ids, continuation[:, :-1]], dim=1)
    end = int(ids.shape[1])
    values = {"input_ids": ids, "attention_mask": prompts.values["attention_mask"][:, :end], "use_cache": False}
    if generator.takes_positions:
        values["position_ids"] = prompts.values["position_ids"][:, :end]
    if generator.last_only:
        values["logits_to_keep"] = count
    return generator.forward(**values).logits[:, -count:]


def within_peft(model: Any) -> Any:
    """The model that a PeftModel wraps; a plain one itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
