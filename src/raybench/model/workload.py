"""The requests: which model inputs, how long, and the same for every configuration compared on them."""

from __future__ import annotations

import csv
import dataclasses
import zlib
from collections.abc import Collection, Sequence
from functools import cache
from importlib import resources
from typing import Any, Protocol

import numpy as np

from raybench.model.token_counts import Counts, TokenArray, TokenCounts

Messages = tuple[tuple[str, str], ...]
"""Role and content of each message of a chat; a text is one of a user's."""

_FIRST_WORD_ID = 3  # 0 to 2 are the padding, start and end tokens of the Llama vocabulary


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What a deployment is asked at once. ``token_ids``: None where only the length is known, the worker draws the ids.

    ``output_tokens``: to generate for each prompt; 0 for a classifier. ``batch``: the prompts that are served together,
    each a request; ``tokens`` is then what theirs add up to. Empty: the request is one prompt itself. ``messages``: a
    person's text or chat as it is, where a server is told that; None elsewhere.
    """

    task: str
    index: int
    tokens: int
    token_ids: tuple[int, ...] | None = None
    output_tokens: int = 0
    batch: tuple[Request, ...] = ()
    messages: Messages | None = None

    @property
    def prompts(self) -> tuple[Request, ...]:
        """Its prompts, in the order of the batch."""
        return self.batch or (self,)


class Workload(Protocol):
    """Where requests come from: request ``index`` of a task is always the same.

    ``notes``: what a reader should know of them, a line each.
    """

    notes: tuple[str, ...]

    def request(self, task: str, index: int) -> Request:
        """Request ``index`` (from 0, without end: a short task goes round again), of one prompt."""

    def prompt_tokens(self, task: str, count: int) -> TokenArray:
        """``tokens`` of the first ``count`` requests of a task, of shape (count,)."""

    def output_tokens(self, task: str, count: int) -> TokenArray:
        """``output_tokens`` of the first ``count`` requests of a task, of shape (count,)."""

    def largest_token_id(self, task: str, count: int) -> int | None:
        """Of the first ``count`` requests of a task; None where ids are drawn, from what the model knows."""

    def describe(self) -> dict[str, Any]:
        """What a run's description says of it."""


class GlueLengths:
    """Requests with the real token lengths of each GLUE task, in an order drawn once from a seed.

    The lengths are counts of labelled examples under the Llama-2 tokenizer (``glue_token_lengths.csv``: sst2 872,
    mrpc 408, rte 2,767 examples). Every example comes once before any comes again. ``output_tokens``: what a language
    model generates for each; None for a classifier.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, seed: int, output_tokens: Counts | None = None) -> None:
        self.seed = seed
        self._order: dict[str, list[int]] = {}
        self._outputs = TokenCounts(output_tokens, seed, "output")

    def request(self, task: str, index: int) -> Request:
        order = self._drawn(task)
        return Request(task, index, order[index % len(order)], None, self._outputs.at(task, index))

    def prompt_tokens(self, task: str, count: int) -> TokenArray:
        return np.resize(np.array(self._drawn(task), dtype=np.int32), count)  # goes round again

    def output_tokens(self, task: str, count: int) -> TokenArray:
        return self._outputs.first(task, count)

    def largest_token_id(self, task: str, count: int) -> None:
        return None

    def _drawn(self, task: str) -> list[int]:
        if task not in self._order:
            lengths = np.repeat(*np.array(glue_lengths()[task]).T)
            # Seeded by the task's name too: tasks are drawn apart, whatever else a plan holds.
            drawn = np.random.default_rng([self.seed, zlib.crc32(task.encode())]).permutation(lengths)
            self._order[task] = drawn.tolist()
        return self._order[task]

    def describe(self) -> dict[str, Any]:
        return {"source": "glue_token_lengths", "seed": self.seed, **self._outputs.describe("output_tokens")}


def request_of(workload: Workload, task: str, index: int, batch: int = 1, mixed_tasks: Sequence[str] = ()) -> Request:
    """Request ``index`` of ``task``: a batch has the prompts from ``index * batch`` on.

    In a mixed batch each prompt is of the next of ``mixed_tasks``, the first of ``task``.
    """
    if batch == 1:
        return workload.request(task, index)
    first = mixed_tasks.index(task) if mixed_tasks else 0
    tasks = [mixed_tasks[(first + i) % len(mixed_tasks)] if mixed_tasks else task for i in range(batch)]
    prompts = tuple(workload.request(tasks[i], index * batch + i) for i in range(batch))
    output_tokens = workload.request(task, index).output_tokens  # of one request: a batch goes on for all alike
    return Request(task, index, sum(p.tokens for p in prompts), None, output_tokens, prompts)


@cache
def glue_lengths() -> dict[str, list[tuple[int, int]]]:
    """For each task its (tokens, count of examples)."""
    found: dict[str, list[tuple[int, int]]] = {}
    with resources.files("raybench").joinpath("model", "glue_token_lengths.csv").open("r", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["task"], []).append((int(row["tokens"]), int(row["count"])))
    return found


def glue_tasks() -> tuple[str, ...]:
    """The tasks whose token lengths ship with the package."""
    return tuple(glue_lengths())


def draw_token_ids(request: Request, vocabulary_size: int, avoid: Collection[int] = ()) -> tuple[int, ...]:
    """The request's token ids: its own, or as many as it is long, drawn from its task and index alone.

    None of ``avoid`` is drawn as long as the vocabulary has others: where a prompt ends is told by the padding token.
    """
    if request.token_ids is not None:
        return request.token_ids
    rng = np.random.default_rng([zlib.crc32(request.task.encode()), request.index])
    first = min(_FIRST_WORD_ID, vocabulary_size - 1)
    avoided = sorted({i for i in avoid if first <= i < vocabulary_size})
    if len(avoided) >= vocabulary_size - first:
        first, avoided = 0, sorted({i for i in avoid if 0 <= i < vocabulary_size})
    if len(avoided) >= vocabulary_size:
        avoided = []
    ids = rng.integers(first, vocabulary_size - len(avoided), request.tokens)
    for special in avoided:  # in rising order: those from it on move up by one
        ids += ids >= special
    return tuple(ids.tolist())
