"""Requests of which a plan says how long they are; the worker draws their token ids."""

from __future__ import annotations

from typing import Any

from raybench.model.token_counts import Counts, TokenArray, TokenCounts
from raybench.model.workload import Request


class Lengths:
    """Requests of the lengths that a plan says, fixed or drawn for each from ``seed``, its task and its index.

    ``output_tokens``: None for a classifier.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, prompt_tokens: Counts, output_tokens: Counts | None, seed: int) -> None:
        self.seed = seed
        self._prompts = TokenCounts(prompt_tokens, seed, "prompt")
        self._outputs = TokenCounts(output_tokens, seed, "output")

    def request(self, task: str, index: int) -> Request:
        return Request(task, index, self._prompts.at(task, index), None, self._outputs.at(task, index))

    def prompt_tokens(self, task: str, count: int) -> TokenArray:
        return self._prompts.first(task, count)

    def output_tokens(self, task: str, count: int) -> TokenArray:
        return self._outputs.first(task, count)

    def largest_token_id(self, task: str, count: int) -> None:
        return None

    def describe(self) -> dict[str, Any]:
        said = self._prompts.describe("prompt_tokens") | self._outputs.describe("output_tokens")
        return {"source": "lengths", "seed": self.seed, **said}
